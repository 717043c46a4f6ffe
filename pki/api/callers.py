"""Which role may ask for what: policies/callers.toml, deny by default.

The TLS context has proved that the client certificate chains to the caller issuing CA. `identify`
looks at what TLS leaves open (M2, M3): no CA, clientAuth, our organization; the common name is the
role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.x509.names import NameInvalid, parse_caller_role, single_attribute


class Operation(StrEnum):
    REGISTER_STATION = "register_station"
    ISSUE_STATION_CERTIFICATE = "issue_station_certificate"
    ISSUE_SERVER_CERTIFICATE = "issue_server_certificate"
    ISSUE_CALLER_CERTIFICATE = "issue_caller_certificate"
    REVOKE = "revoke"
    TRUST_ANCHORS = "trust_anchors"


class CallersInvalid(ValueError):
    """policies/callers.toml names an operation or a role that does not exist."""


class CallerForbidden(Exception):
    """Not one of our roles, or not allowed to ask that."""


@dataclass(frozen=True, slots=True)
class CallerPolicy:
    roles_of: Mapping[Operation, frozenset[str]]

    def permit(self, role: str, operation: Operation) -> None:
        """Raises CallerForbidden."""
        if role not in self.roles_of[operation]:
            raise CallerForbidden(f"{role} may not {operation}")


def load_callers(toml: bytes) -> CallerPolicy:
    """Raises CallersInvalid; an operation that is not named is nobody's."""
    try:
        config = msgspec.toml.decode(toml, type=dict[Operation, list[str]])
        roles_of = {
            operation: frozenset(parse_caller_role(role) for role in config.get(operation, []))
            for operation in Operation
        }
    except (msgspec.DecodeError, UnicodeDecodeError, NameInvalid) as error:
        raise CallersInvalid(f"callers: {error}") from error
    return CallerPolicy(roles_of)


def identify(certificate_der: bytes | None, *, organization: str) -> str:
    """The role that the client certificate was issued to. Raises CallerForbidden."""
    if certificate_der is None:
        raise CallerForbidden("no client certificate")
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        owner = single_attribute(certificate.subject, NameOID.ORGANIZATION_NAME)
        role = parse_caller_role(single_attribute(certificate.subject, NameOID.COMMON_NAME) or "")
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise CallerForbidden("not a caller's certificate") from error
    if constraints.ca or list(usage) != [ExtendedKeyUsageOID.CLIENT_AUTH] or owner != organization:
        raise CallerForbidden("not a caller's certificate")
    return role
