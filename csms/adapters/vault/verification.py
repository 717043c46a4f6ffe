"""`csms vault verify`: does Vault still stand as planned, and does anybody hold too much?

It reads and reports, and repairs nothing. Every finding is a sentence with the next step's subject
in front. The `csms-provisioner` identity may read all that is needed. It cannot see what other
policies and identities of the server grant at our paths: that is the Vault administrator's ground.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from csms.adapters.vault.connection import VaultConnection
from csms.adapters.vault.plan import (
    APPROLE,
    MOUNTS,
    PEPPER_METADATA,
    TRANSIT,
    Key,
    Networks,
    Role,
    approle,
    planned_keys,
)
from csms.adapters.vault.policy import PolicyUnreadable, load_policies, objections
from csms.adapters.vault.provisioning import (
    key_defects,
    key_looseness,
    lockout_is_off,
    role_differences,
)


class Problem(StrEnum):
    """The kinds of finding."""

    MISSING = "missing"
    DIFFERS = "differs"
    TOO_WIDE = "too_wide"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as planned."""

    what: str
    problem: Problem
    detail: str = ""


def verify(
    connection: VaultConnection,
    *,
    policies_dir: Path,
    networks: Networks = Networks(),  # noqa: B008  (frozen)
    login_tuned: bool = False,
    certification: bool = False,
) -> list[Finding]:
    """All findings; an empty list is the good answer. Raises VaultError when it cannot look.

    `login_tuned`: that it should be, by the API (see `apply`). The RSA keys may be missing unless
    `certification`; those that stand there are looked at.
    """
    texts = load_policies(policies_dir)
    findings = _mounts(connection)
    if login_tuned and not lockout_is_off(connection):
        findings.append(Finding("login lockout", Problem.DIFFERS, "five failures lock a role out"))
    for role in Role:
        findings += _policy(connection, role, texts[role])
        findings += _approle(connection, role, networks)
    planned = planned_keys(certification=certification)
    for key in Key:
        findings += _key(connection, key, planned=key in planned)
    if connection.read(PEPPER_METADATA) is None:
        findings.append(Finding("pepper", Problem.MISSING))
    return findings + _strangers(connection)


def _mounts(connection: VaultConnection) -> list[Finding]:
    standing = (connection.read("sys/mounts") or {"data": {}})["data"]
    findings = []
    for name, wanted in MOUNTS.items():
        found = standing.get(f"{name}/")
        if found is None:
            findings.append(Finding(f"mount {name}", Problem.MISSING))
        elif found["type"] != wanted["type"]:
            findings.append(Finding(f"mount {name}", Problem.DIFFERS, f"is a {found['type']}"))
    return findings


def _policy(connection: VaultConnection, role: Role, text: str) -> list[Finding]:
    what = f"policy {role}"
    found = connection.read(f"sys/policies/acl/{role}")
    if found is None:
        return [Finding(what, Problem.MISSING)]
    standing = found["data"]["policy"]
    try:
        wide = objections(role, standing)
    except PolicyUnreadable as error:
        wide = [f"cannot be read: {error}"]
    findings = [Finding(what, Problem.TOO_WIDE, why) for why in wide]
    if standing.strip() != text.strip():
        findings.append(Finding(what, Problem.DIFFERS, "is not the text of the file"))
    return findings


def _approle(connection: VaultConnection, role: Role, networks: Networks) -> list[Finding]:
    what = f"role {role}"
    found = connection.read(f"{APPROLE}/role/{role}")
    if found is None:
        return [Finding(what, Problem.MISSING)]
    held = set(found["data"]["token_policies"] or ()) | set(found["data"].get("policies") or ())
    findings = [
        Finding(what, Problem.TOO_WIDE, f"gives the policy {name}")
        for name in sorted(held - {role.value})
    ]
    different = role_differences(found["data"], approle(role, networks))
    if different:
        findings.append(Finding(what, Problem.DIFFERS, ", ".join(different)))
    return findings


def _key(connection: VaultConnection, key: Key, *, planned: bool) -> list[Finding]:
    what = f"key {key}"
    found = connection.read(f"{TRANSIT}/keys/{key}")
    if found is None:
        return [Finding(what, Problem.MISSING)] if planned else []
    wrong = key_defects(found["data"], key) + key_looseness(found["data"])
    return [Finding(what, Problem.DIFFERS, why) for why in wrong]


def _strangers(connection: VaultConnection) -> list[Finding]:
    """Policies and AppRoles under our prefix that are not ours, such as a left-over csms-setup."""
    listed = {"policy": "sys/policies/acl", "role": f"{APPROLE}/role"}
    return [
        Finding(f"{kind} {name}", Problem.UNKNOWN, "is not one of ours")
        for kind, path in listed.items()
        for name in connection.list_keys(path)
        if name.startswith("csms-") and name not in list(Role)
    ]
