"""Records that the stores keep and that carry no rule of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from uuid import UUID

from csms.domain.access import Scope
from csms.domain.admission import RefusalReason
from csms.domain.station import RegistrationStatus, SecurityProfile, Station


@dataclass(frozen=True, slots=True, kw_only=True)
class StationFilter:
    connected: bool | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StationSession:
    """The one live session of a station: (station, epoch) fences every act for it (decision 6)."""

    station_id: UUID
    epoch: int
    node: str
    profile: SecurityProfile
    certificate_id: UUID | None
    peer: str
    connected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StationOverview:
    """A station as the API shows it: the registration and its session."""

    station: Station
    session: StationSession | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What BootNotification said (B01)."""

    vendor_name: str
    model: str
    serial_number: str | None
    firmware_version: str | None
    reason: str
    status: RegistrationStatus
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorStatus:
    station_id: UUID
    evse_id: int
    connector_id: int
    status: str
    reported_at: datetime
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionAttempt:
    """One try to get in, and how it ended; what `station doctor` reads."""

    at: datetime
    peer: str
    listener: str  # "1", "2", "3"
    outcome: str  # "admitted" or "refused"
    failing_check: RefusalReason | None = None
    detail: str | None = None  # OpenSSL's reason, a parser's word; never a secret
    station_id: UUID | None = None
    identity: str | None = None  # as claimed; at most 48 characters of the grammar
    tls_version: str | None = None
    tls_cipher: str | None = None
    certificate: str | None = None  # fingerprint of what was presented
    http_status: HTTPStatus | None = None


class OperationState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A job that a person or a schedule asked for and can watch (`GET /operations/{id}`)."""

    id: UUID
    kind: str  # "renew_certificate", …
    station_id: UUID | None
    state: OperationState
    progress: (
        str  # a word: "triggered", "csr_received", "signed", "delivered", "accepted", "active"
    )
    created_at: datetime
    updated_at: datetime
    scope: Scope  # what one must hold to see it: the scope of the act
    result: Mapping[str, Any] = field(default_factory=dict)


class JobKind(StrEnum):
    ISSUE_CERTIFICATE = "issue_certificate"
    DELIVER_CERTIFICATE = "deliver_certificate"
    TRIGGER_RENEWAL = "trigger_renewal"
    SESSION_SEEN = "session_seen"  # a gateway saw a certificate or a profile in a handshake
    REVOKE_AT_CA = "revoke_at_ca"  # the CA learns of a revocation that already took effect here


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that must happen once, survives any crash, and has an end."""

    id: UUID
    kind: JobKind
    key: str  # at most one unfinished job per (kind, key)
    station_id: UUID | None
    payload: Mapping[str, Any]
    attempts: int  # runs before this one, those that killed their worker included
    run_at: datetime
    created_at: datetime
    # Whose run this is: set by the claim, and what the claimer must show to say how it ended.
    leased_until: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """Something every node must hear; the bus only hints, this table is the truth (decision 12)."""

    sequence: int
    topic: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """A confidential client; the secret is random (256 bit), so its plain SHA-256 is kept."""

    client_id: str
    name: str
    scopes: frozenset[Scope]
    roles: tuple[str, ...]
    secret_sha256: str = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentAnswer:
    """What a POST with an Idempotency-Key answered the first time; secrets left out."""

    request_sha256: str
    status: int
    body: Mapping[str, Any]
