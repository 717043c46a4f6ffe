"""Vault policies as data: read from HCL, and refused when wider than a role of ours may ever be.

`objections` is an allow-list, independent of the files: a rule passes only if it is one of the few
shapes this product needs. It judges our own files before they are applied and the server's copies
when they are verified. It knows the subset of HCL that our files use and refuses what it cannot
read.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from csms.adapters.vault.plan import (
    KEY_TYPES,
    KV,
    MAY_READ_PEPPER,
    MAY_SIGN,
    PEPPER_DATA,
    PEPPER_METADATA,
    TRANSIT,
    Key,
    Role,
)

TOKEN_SELF: Final[Mapping[str, frozenset[str]]] = {
    "auth/token/lookup-self": frozenset({"read"}),
    "auth/token/renew-self": frozenset({"update"}),
    "auth/token/revoke-self": frozenset({"update"}),
}
CAPABILITIES: Final = frozenset(
    {"create", "read", "update", "patch", "delete", "list", "scan", "deny", "sudo", "subscribe"}
)
HASHES: Final = frozenset({"sha2-256", "sha2-384", "sha2-512"})
_TOKEN: Final = re.compile(r'\s+|#[^\n]*|(?P<text>"[^"\\\n]*")|(?P<word>\w+)|(?P<mark>[{}\[\]=,])')

Parameters = Mapping[str, tuple[str, ...]]


class PolicyUnreadable(Exception):
    """The text is not the HCL subset of `policies/vault/*.hcl`."""


class PolicyTooWide(Exception):
    """A policy grants what no role of ours may have."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One `path` block."""

    path: str
    capabilities: frozenset[str]
    parameters: Mapping[str, Parameters]  # "allowed_parameters" and "denied_parameters"


def load_policies(directory: Path) -> dict[Role, str]:
    """The text of every role's policy, judged. Raises PolicyTooWide or PolicyUnreadable."""
    texts: dict[Role, str] = {}
    for role in Role:
        try:
            text = (directory / f"{role}.hcl").read_text(encoding="utf-8")
        except OSError as error:
            raise PolicyUnreadable(f"{directory / role}.hcl cannot be read") from error
        if found := objections(role, text):
            raise PolicyTooWide(f"{role}.hcl: {found[0]}")
        texts[role] = text
    return texts


def objections(role: Role, text: str) -> list[str]:
    """Why this policy is too wide for the role; empty when it is not."""
    return [
        f"{rule.path}: {', '.join(sorted(rule.capabilities)) or 'nothing'} is not for {role}"
        for rule in parse(text)
        if not _fits(role, rule)
    ]


def _fits(role: Role, rule: Rule) -> bool:
    if TOKEN_SELF.get(rule.path) == rule.capabilities:
        return True
    # Everything below compares whole paths, so no `*` and no `+` can pass.
    match rule.path.split("/"):
        case [mount, "sign", key, *rest] if mount == TRANSIT:
            known = any(key == mine for mine in MAY_SIGN[role])
            hashed = not rest or (len(rest) == 1 and rest[0] in HASHES)
            single = "batch_input" in rule.parameters.get("denied_parameters", {})
            return known and hashed and single and rule.capabilities == {"update"}
        case [mount, "keys", key] if mount == TRANSIT and key in list(Key):
            return _fits_key(role, Key(key), rule)
        case [mount, *_] if mount == KV:
            return _fits_pepper(role, rule)
    return role is Role.PROVISIONER and _fits_provisioner(rule)


def _fits_key(role: Role, key: Key, rule: Rule) -> bool:
    if rule.capabilities == {"read"}:
        return key in MAY_SIGN[role] or role in {Role.CEREMONY, Role.PROVISIONER}
    # Without this limit the first writer could make the key exportable.
    only_type = rule.parameters == {"allowed_parameters": {"type": (KEY_TYPES[key],)}}
    return (
        role is Role.PROVISIONER and only_type and rule.capabilities <= {"create", "read", "update"}
    )


def _fits_pepper(role: Role, rule: Rule) -> bool:
    if role in MAY_READ_PEPPER:
        return rule.path == PEPPER_DATA and rule.capabilities == {"read"}
    if role is Role.PROVISIONER:
        granted = (rule.path, *sorted(rule.capabilities))
        return granted in {(PEPPER_DATA, "create"), (PEPPER_METADATA, "read")}
    return False


def _fits_provisioner(rule: Rule) -> bool:
    match rule.path.split("/"):
        case ["sys", "mounts", mount] if mount in {TRANSIT, KV}:
            limited = "type" in rule.parameters.get("allowed_parameters", {})
            return limited and rule.capabilities <= {"create", "update"}
        case ["sys", "auth" | "mounts"]:
            return rule.capabilities == {"read"}
        case ["sys", "policies", "acl"] | ["auth", "approle", "role"]:
            return rule.capabilities == {"list"}
        case ["sys", "policies", "acl", "csms-setup"] | ["auth", "approle", "role", "csms-setup"]:
            return rule.capabilities == {"delete"}
        case ["sys", "policies", "acl", name] | ["auth", "approle", "role", name]:
            return name in list(Role) and rule.capabilities == {"read"}
    return False


def parse(text: str) -> list[Rule]:
    """The rules of a policy. Raises PolicyUnreadable."""
    tokens = _tokens(text)
    rules: list[Rule] = []
    for token in tokens:
        if token != "path":  # noqa: S105  (a token of HCL)
            raise PolicyUnreadable(f"expected a path block, found {token}")
        path = _text(next(tokens, ""))
        _expect(tokens, "{")
        rules.append(_rule(path, tokens))
    return rules


def _rule(path: str, tokens: Iterator[str]) -> Rule:
    capabilities: frozenset[str] = frozenset()
    parameters: dict[str, Parameters] = {}
    for token in tokens:
        match token:
            case "}":
                return Rule(path, capabilities, parameters)
            case "capabilities":
                _expect(tokens, "=")
                capabilities = frozenset(_texts(tokens))
                if unknown := capabilities - CAPABILITIES:
                    raise PolicyUnreadable(f"{path}: capability {min(unknown)}")
            case "allowed_parameters" | "denied_parameters":
                _expect(tokens, "=")
                _expect(tokens, "{")
                parameters[token] = _parameters(tokens)
            case _:  # min_wrapping_ttl, policy, control_group …: not ours
                raise PolicyUnreadable(f"{path}: {token}")
    raise PolicyUnreadable(f"{path}: the block does not end")


def _parameters(tokens: Iterator[str]) -> Parameters:
    found: dict[str, tuple[str, ...]] = {}
    for token in tokens:
        if token == "}":  # noqa: S105  (a token of HCL)
            return found
        _expect(tokens, "=")
        found[_text(token)] = tuple(_texts(tokens))
    raise PolicyUnreadable("the parameters do not end")


def _texts(tokens: Iterator[str]) -> Iterator[str]:
    _expect(tokens, "[")
    for token in tokens:
        if token == "]":  # noqa: S105  (a token of HCL)
            return
        if token != ",":  # noqa: S105  (a token of HCL)
            yield _text(token)
    raise PolicyUnreadable("the list does not end")


def _text(token: str) -> str:
    if not token.startswith('"'):
        raise PolicyUnreadable(f"expected a text, found {token or 'the end'}")
    return token[1:-1]


def _expect(tokens: Iterator[str], mark: str) -> None:
    if (found := next(tokens, "the end")) != mark:
        raise PolicyUnreadable(f"expected {mark}, found {found}")


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise PolicyUnreadable(f"unexpected {text[at]!r}")
        at = match.end()
        if match.lastgroup:
            yield match.group()
