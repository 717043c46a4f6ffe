"""What the authority remembers, and the port through which it does.

`AuthorityStore` is implemented by `pki.store`. Every method is one transaction: it has happened
altogether or not at all, and what it returns is already durable. It raises only StoreError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from pki.wire import CertificateKind, RefusalReason


class StoreError(Exception):
    """Base of what the store raises.

    StoreError
    ├── StoreUnavailable  the database is away
    ├── AlreadyThere      a unique value is taken: key, request, registration
    │   └── SerialTaken   that serial number stands in the books already
    └── IntentClosed      the intent was abandoned meanwhile: deliver nothing
    """


class StoreUnavailable(StoreError):
    pass


class AlreadyThere(StoreError):
    pass


class SerialTaken(AlreadyThere):
    pass


class IntentClosed(StoreError):
    pass


class AuditAction(StrEnum):
    """What the PKI writes down, success and refusal alike."""

    REGISTER_STATION = "register_station"
    OPEN_INTENT = "open_intent"
    ISSUE_CERTIFICATE = "issue_certificate"
    ABANDON_INTENT = "abandon_intent"
    REVOKE_CERTIFICATE = "revoke_certificate"
    HOLD_CEREMONY = "hold_ceremony"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    at: datetime
    action: AuditAction
    subject: str
    reason: RefusalReason | None = None  # None: it was done
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Who asked for what, in a form that can be compared: one request id, one content."""

    request_id: UUID
    kind: CertificateKind
    holder: str  # "station:<uuid>", "server:<host name>", "caller:<role>"
    content_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Stored before the signature exists, so that no crash leaves an unknown certificate (C09)."""

    ask: Ask
    issuer: str
    serial: str
    public_key_sha256: str
    tbs_sha256: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCertificate:
    request_id: UUID
    kind: CertificateKind
    holder: str
    issuer: str
    serial: str
    fingerprint_sha256: str
    public_key_sha256: str
    common_name: str
    not_before: datetime
    not_after: datetime
    der: bytes = field(repr=False)
    revoked_at: datetime | None = None
    revocation_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that bears on one ask: read together, decided by `registration.decide`."""

    request: Ask | None  # what this request id was used for
    request_certificate: StoredCertificate | None
    key_holder: str | None
    key_blocked: bool
    key_certificate: StoredCertificate | None  # the newest that certifies this key


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAuthority:
    """One CA certificate of the hierarchy; `name` is root, stations, servers or callers."""

    name: str
    der: bytes = field(repr=False)
    key_id: str
    created_at: datetime


class AuthorityStore(Protocol):
    async def register(self, station_id: UUID, serial_number: str, *, audit: AuditEntry) -> None:
        """One serial number for each station, and one station for each; the same pair again
        changes nothing. Raises AlreadyThere while a valid certificate, or an open intent, of the
        station or of the serial number's holder speaks against another pair.
        """

    async def serial_number_of(self, station_id: UUID) -> str | None: ...

    async def what_is_known(self, *, request_id: UUID, public_key_sha256: str) -> Known: ...

    async def refuse(self, ask: Ask | None, *, audit: AuditEntry) -> None:
        """The audit row, and the request id as used for that content if it was still free."""

    async def open_intent(self, intent: Intent, *, audit: AuditEntry) -> None:
        """Reserves serial, key and request id. Raises AlreadyThere."""

    async def store_certificate(self, certificate: StoredCertificate, *, audit: AuditEntry) -> None:
        """Closes the certificate's intent as issued. Raises IntentClosed."""

    async def abandon_intent(self, intent: Intent, *, audit: AuditEntry) -> None:
        """Closes it without a certificate; closed already: changes nothing."""

    async def open_intents(self, *, opened_before: datetime) -> Sequence[Intent]: ...

    async def find_certificate(self, *, issuer: str, serial: str) -> StoredCertificate | None: ...

    async def revoke(
        self,
        certificate: StoredCertificate,
        *,
        reason: str,
        revoked_at: datetime,
        block_key: bool,
        audit: AuditEntry,
    ) -> None:
        """The first revocation stands. `block_key`: all certificates of that key are revoked."""

    async def hierarchy(self) -> Sequence[StoredAuthority]:
        """Oldest first; empty before the ceremony."""

    async def save_hierarchy(
        self, authorities: Sequence[StoredAuthority], *, audit: AuditEntry
    ) -> None:
        """Raises AlreadyThere when there is one."""
