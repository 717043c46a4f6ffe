"""Who may do what: scopes, roles (sets of scopes), principals.

Scopes say what; on which stations is the access policy's word, which a later capability adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Scope(StrEnum):
    STATIONS_READ = "stations:read"
    STATIONS_WRITE = "stations:write"
    COMMANDS_SEND = "commands:send"
    # Dangerous acts have a scope of their own, whichever way they are asked for.
    COMMANDS_DANGEROUS = "commands:dangerous"
    CERTIFICATES_READ = "certificates:read"
    CERTIFICATES_ISSUE = "certificates:issue"
    CERTIFICATES_REVOKE = "certificates:revoke"
    TRUST_ANCHORS_WRITE = "trust-anchors:write"
    SECURITY_EVENTS_READ = "security-events:read"
    AUDIT_READ = "audit:read"
    CLIENTS_MANAGE = "clients:manage"


class Role(StrEnum):
    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    INSTALLER = "installer"
    SERVICE = "service"


READ_SCOPES: Final = frozenset(scope for scope in Scope if scope.value.endswith(":read"))
ROLE_SCOPES: Final[Mapping[Role, frozenset[Scope]]] = MappingProxyType(
    {
        Role.ADMINISTRATOR: frozenset(Scope),
        Role.OPERATOR: READ_SCOPES - {Scope.AUDIT_READ}
        | {
            Scope.STATIONS_WRITE,
            Scope.COMMANDS_SEND,
            Scope.COMMANDS_DANGEROUS,
            Scope.CERTIFICATES_ISSUE,
            Scope.CERTIFICATES_REVOKE,
        },
        Role.AUDITOR: READ_SCOPES,
        Role.INSTALLER: frozenset(
            {
                Scope.STATIONS_READ,
                Scope.STATIONS_WRITE,
                Scope.COMMANDS_SEND,
                Scope.CERTIFICATES_READ,
                Scope.CERTIFICATES_ISSUE,
            }
        ),
        Role.SERVICE: frozenset({Scope.STATIONS_READ, Scope.COMMANDS_SEND}),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is acting; comes only out of token validation."""

    client_id: str
    name: str
    scopes: frozenset[Scope]

    @property
    def actor(self) -> str:
        """How the audit log calls it."""
        return f"client:{self.client_id}"
