"""`csms vault apply`: brings an OpenBao or Vault to what `plan.py` and `policies/vault/*.hcl` say.

Idempotent, and safe to stop anywhere: every step looks first and makes only what is missing.

1. AppRole login enabled, without lockout; the two mounts
2. policies, keys, pepper (create-only), AppRoles
3. an audit device, on Vault (OpenBao refuses the API and declares it in its configuration)
4. on request, role id and secret id files for every role but the ceremony's

What the identity at hand may not change is reported as DRIFTED and left to an administrator; the
`csms-provisioner` identity may do the mounts, the keys and the first pepper, nothing else.
"""

import base64
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from csms.adapters.vault.connection import VaultConnection, VaultRefused, VaultRejected
from csms.adapters.vault.identities import (
    secret_files_are_good,
    secret_id_file,
    write_secret_files,
)
from csms.adapters.vault.plan import (
    APPROLE,
    KEY_TYPES,
    KV,
    LOGIN_TUNING,
    MOUNTS,
    PEPPER_DATA,
    PEPPER_METADATA,
    TRANSIT,
    Key,
    Networks,
    Role,
    approle,
    planned_keys,
)
from csms.adapters.vault.policy import load_policies

KV_UPGRADE_SECONDS: Final = 10.0  # a fresh KV v2 mount refuses writes for a moment


class Outcome(StrEnum):
    """What `apply` did about one item."""

    UNCHANGED = "unchanged"
    CREATED = "created"
    CHANGED = "changed"
    DRIFTED = "drifted"  # not as planned, and not for this identity to change


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that should stand in Vault."""

    what: str
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """Every item, in the order in which it was looked at."""

    items: tuple[Item, ...]

    def having(self, outcome: Outcome) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.outcome is outcome)

    @property
    def changed(self) -> bool:
        return bool(self.having(Outcome.CREATED) or self.having(Outcome.CHANGED))


def apply(
    connection: VaultConnection,
    *,
    policies_dir: Path,
    secrets_dir: Path | None = None,
    networks: Networks = Networks(),  # noqa: B008  (frozen)
    audit_file: Path | None = None,
    tune_login: bool = False,
    certification: bool = False,
) -> ApplyReport:
    """Provision, by the module's steps. `audit_file` is a path on the server, for Vault only.
    `tune_login`: by the API, which takes an administrator; the bundled server's configuration has
    it. `certification` makes the RSA keys too.
    """
    policies = load_policies(policies_dir)
    items = [_login_method(connection)]
    if tune_login:
        items.append(_login_lockout(connection))
    items += [*(_mount(connection, name) for name in MOUNTS)]
    items += [_policy(connection, role, policies[role]) for role in Role]
    items += [_key(connection, key) for key in planned_keys(certification=certification)]
    items.append(_pepper(connection))
    items += [_approle(connection, role, networks) for role in Role]
    items.append(_audit_device(connection, audit_file))
    if secrets_dir is not None:
        secrets_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        secrets_dir.chmod(0o700)
        running = [role for role in Role if role is not Role.CEREMONY]
        items += [_secret_files(connection, role, secrets_dir) for role in running]
    return ApplyReport(tuple(items))


def role_differences(found: Mapping[str, Any], wanted: Mapping[str, object]) -> list[str]:
    """The fields of an AppRole that are not as planned; networks only when some are planned."""
    return [
        name
        for name, value in wanted.items()
        if not (name.endswith("_cidrs") and not value)
        and _normal(found.get(name)) != _normal(value)
    ]


def key_defects(found: Mapping[str, Any], key: Key) -> list[str]:
    """What is wrong with a key as the server describes it, and cannot be undone."""
    defects = [] if found["type"] == KEY_TYPES[key] else [f"type is {found['type']}"]
    flags = ("exportable", "allow_plaintext_backup", "derived", "imported_key")
    return defects + [f"{flag} is set" for flag in flags if found.get(flag)]


def key_looseness(found: Mapping[str, Any]) -> list[str]:
    """What is wrong with a key and can be put right.

    A key that rotates by itself would sign with a version that no certificate of ours names.
    """
    flags = ("deletion_allowed", "auto_rotate_period")
    return [f"{flag} is set" for flag in flags if found.get(flag)]


def is_openbao(connection: VaultConnection) -> bool:
    """Vault tells of its edition in `sys/health`, OpenBao has none."""
    return "enterprise" not in connection.health()


def _login_method(connection: VaultConnection) -> Item:
    what = "login method approle"
    enabled = (connection.read("sys/auth") or {"data": {}})["data"]
    if "approle/" in enabled:
        return Item(what, Outcome.UNCHANGED)
    return _make(
        what, Outcome.CREATED, lambda: connection.write("sys/auth/approle", {"type": "approle"})
    )


def _login_lockout(connection: VaultConnection) -> Item:
    what = "login lockout"
    if lockout_is_off(connection):
        return Item(what, Outcome.UNCHANGED)
    path = f"sys/{APPROLE}/tune"
    return _make(what, Outcome.CHANGED, lambda: connection.write(path, LOGIN_TUNING))


def lockout_is_off(connection: VaultConnection) -> bool:
    """Whether AppRole logins are never locked out, by the mount's own word."""
    mounts = (connection.read("sys/auth") or {"data": {}})["data"]
    config = mounts.get("approle/", {}).get("config", {}).get("user_lockout_config") or {}
    return bool(config.get("user_lockout_disable"))


def _mount(connection: VaultConnection, name: str) -> Item:
    what, wanted = f"mount {name}", MOUNTS[name]
    found = (connection.read("sys/mounts") or {"data": {}})["data"].get(f"{name}/")
    if found is None:
        return _make(what, Outcome.CREATED, lambda: connection.write(f"sys/mounts/{name}", wanted))
    version = (found.get("options") or {}).get("version")
    if found["type"] != wanted["type"] or (name == KV and version != "2"):
        return Item(what, Outcome.DRIFTED, f"is a {found['type']} {version or ''}".rstrip())
    return Item(what, Outcome.UNCHANGED)


def _policy(connection: VaultConnection, role: Role, text: str) -> Item:
    path = f"sys/policies/acl/{role}"
    found = connection.read(path)
    if found is not None and found["data"]["policy"].strip() == text.strip():
        return Item(f"policy {role}", Outcome.UNCHANGED)
    return _make(
        f"policy {role}",
        Outcome.CREATED if found is None else Outcome.CHANGED,
        lambda: connection.write(path, {"policy": text}),
    )


def _key(connection: VaultConnection, key: Key) -> Item:
    what, path = f"key {key}", f"{TRANSIT}/keys/{key}"
    found = connection.read(path)
    if found is None:
        # Neither exportable nor with plaintext backup: both are off unless asked for, for ever.
        return _make(
            what, Outcome.CREATED, lambda: connection.write(path, {"type": KEY_TYPES[key]})
        )
    if defects := key_defects(found["data"], key):
        return Item(what, Outcome.DRIFTED, ", ".join(defects))
    if loose := key_looseness(found["data"]):
        safe = {"deletion_allowed": False, "auto_rotate_period": 0}
        why = ", ".join(loose)
        return _make(what, Outcome.CHANGED, lambda: connection.write(f"{path}/config", safe), why)
    return Item(what, Outcome.UNCHANGED)


def _pepper(connection: VaultConnection) -> Item:
    if connection.read(PEPPER_METADATA) is not None:
        return Item("pepper", Outcome.UNCHANGED)
    first = {"versions": {"1": base64.b64encode(secrets.token_bytes(32)).decode()}, "current": 1}
    body = {"options": {"cas": 0}, "data": first}  # create-only: passwords depend on the old one
    return _make("pepper", Outcome.CREATED, lambda: _write_to_new_mount(connection, body))


def _write_to_new_mount(connection: VaultConnection, body: Mapping[str, object]) -> None:
    give_up_at = time.monotonic() + KV_UPGRADE_SECONDS
    while True:
        try:
            connection.write(PEPPER_DATA, body)
        except VaultRejected as error:
            if "pgrading" not in str(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)
        else:
            return


def _approle(connection: VaultConnection, role: Role, networks: Networks) -> Item:
    what, path, wanted = f"role {role}", f"{APPROLE}/role/{role}", approle(role, networks)
    found = connection.read(path)
    if found is None:
        return _make(what, Outcome.CREATED, lambda: connection.write(path, wanted))
    different = role_differences(found["data"], wanted)
    if not different:
        return Item(what, Outcome.UNCHANGED)
    wanted = {name: wanted[name] for name in different}
    return _make(
        what, Outcome.CHANGED, lambda: connection.write(path, wanted), ", ".join(different)
    )


def _audit_device(connection: VaultConnection, audit_file: Path | None) -> Item:
    what = "audit device"
    if is_openbao(connection):  # it refuses the API: "use declarative … management"
        return Item(what, Outcome.UNCHANGED, "OpenBao declares it in its configuration")
    try:
        devices = (connection.read("sys/audit") or {"data": {}})["data"]
    except VaultRefused:
        return Item(what, Outcome.DRIFTED, "this identity may not list audit devices")
    if devices:
        return Item(what, Outcome.UNCHANGED)
    if audit_file is None:
        return Item(what, Outcome.DRIFTED, "none; name a file on the server")
    body = {"type": "file", "options": {"file_path": str(audit_file)}}
    return _make(what, Outcome.CREATED, lambda: connection.write("sys/audit/csms", body))


def _secret_files(connection: VaultConnection, role: Role, secrets_dir: Path) -> Item:
    what = f"secret id {role}"
    if secret_files_are_good(connection, role, secrets_dir):
        return Item(what, Outcome.UNCHANGED)
    known = secret_id_file(secrets_dir, role).exists()
    write_secret_files(connection, role, secrets_dir)
    return Item(what, Outcome.CHANGED if known else Outcome.CREATED)


def _make(what: str, outcome: Outcome, act: Callable[[], object], why: str = "") -> Item:
    try:
        act()
    except VaultRefused:
        return Item(what, Outcome.DRIFTED, why or "needs an administrator")
    return Item(what, outcome, why)


def _normal(value: object) -> object:
    """Vault answers a one-address network without its length, and an empty list as null."""
    if isinstance(value, (list, tuple)):
        return sorted(str(entry).removesuffix("/32").removesuffix("/128") for entry in value)
    return [] if value is None else value
