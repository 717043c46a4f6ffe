"""Stores and the unit of work.

Repositories return domain objects and never commit: one request, message or job is one
`UnitOfWork`, and only its edge commits it. A `UnitOfWork` left without `commit` has done nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from csms.domain.audit import AuditEntry, AuditRecord
from csms.domain.certificate import (
    CertificateRecord,
    CertificateRequest,
    CertificateStatus,
    RequestStatus,
)
from csms.domain.password import PasswordRecord
from csms.domain.security_event import SecurityEvent
from csms.domain.station import SecurityProfile, Station, StationIdentity
from csms.ports.records import (
    Boot,
    ConnectionAttempt,
    ConnectorStatus,
    IdempotentAnswer,
    Job,
    JobKind,
    OAuthClient,
    Operation,
    OperationState,
    OutboxEvent,
    StationFilter,
    StationOverview,
    StationSession,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page and where the next begins; `next` is opaque to callers, None at the end."""

    items: Sequence[T]
    next: str | None


class CursorInvalid(ValueError):
    """The cursor did not come from us."""


class StoreError(Exception):
    """Base of what stores raise.

    StoreError
    ├── AlreadyExists     a unique key is taken
    ├── Superseded        the epoch moved: somebody else holds the station now
    └── StoreUnavailable  the database is away
    """


class AlreadyExists(StoreError):
    pass


class Superseded(StoreError):
    pass


class StoreUnavailable(StoreError):
    pass


class Stations(Protocol):
    async def add(self, station: Station) -> None:
        """Raises AlreadyExists for a taken identity or serial number."""

    async def by_identity(self, identity: StationIdentity) -> Station | None: ...

    async def by_id(self, station_id: UUID) -> Station | None: ...

    async def update(self, station: Station, *, was: Station) -> None:
        """Write the fields of the registration that differ from `was`, and only those: what others
        have changed meanwhile stays (not proven_profile, booted_as, last_seen_at, passwords).

        Raises AlreadyExists for a taken serial number.
        """

    async def delete(self, station_id: UUID) -> None: ...

    async def overview(self, identity: StationIdentity) -> StationOverview | None: ...

    async def page(
        self, where: StationFilter, *, limit: int, cursor: str | None
    ) -> Page[StationOverview]:
        """Ordered by identity."""

    async def record_boot(self, station_id: UUID, boot: Boot) -> None: ...

    async def record_connector(self, status: ConnectorStatus) -> None:
        """Newest per (station, EVSE, connector) wins by reported_at."""

    async def connectors(self, station_id: UUID) -> Sequence[ConnectorStatus]: ...

    async def for_admission(
        self, identity: StationIdentity, fingerprint_sha256: str | None
    ) -> tuple[Station | None, CertificateRecord | None]:
        """The one indexed read of an upgrade (decision 2): the station of that identity and the
        certificate of that fingerprint, whosever it is.
        """

    async def replace_passwords(
        self, station_id: UUID, passwords: Sequence[PasswordRecord]
    ) -> None: ...


class Sessions(Protocol):
    async def claim(
        self,
        *,
        station_id: UUID,
        node: str,
        profile: SecurityProfile,
        certificate_id: UUID | None,
        peer: str,
        at: datetime,
    ) -> tuple[StationSession, StationSession | None]:
        """Take the station for a new connection: the next epoch, and whom it displaced.

        Raises the station's proven_profile to `profile` when that is higher, and last_seen_at.
        """

    async def release(self, station_id: UUID, epoch: int) -> bool:
        """Compare-and-delete: False when a newer connection holds the station (A03)."""

    async def release_node(self, node: str) -> int:
        """Forget every session of a node that has just started: none of them can be alive."""

    async def current(self, station_id: UUID) -> StationSession | None: ...

    async def require(self, station_id: UUID, epoch: int) -> None:
        """Raises Superseded when (station, epoch) is not the current session any more."""


class Certificates(Protocol):
    async def add(self, record: CertificateRecord) -> None: ...

    async def by_id(self, certificate_id: UUID) -> CertificateRecord | None: ...

    async def by_request(self, request_id: UUID) -> CertificateRecord | None: ...

    async def of_station(
        self, station_id: UUID, statuses: Sequence[CertificateStatus] = ()
    ) -> Sequence[CertificateRecord]:
        """Newest first; all statuses when none is named."""

    async def update_status(
        self,
        certificate_id: UUID,
        *,
        was: CertificateStatus,
        becomes: CertificateStatus,
        first_seen_at: datetime | None = None,
        revoked_at: datetime | None = None,
        revocation_reason: str | None = None,
    ) -> None:
        """Compare-and-set; raises Superseded when the status is not `was` any more."""

    async def page(
        self,
        *,
        station_id: UUID | None,
        status: CertificateStatus | None,
        expires_before: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page[CertificateRecord]: ...


class CertificateRequests(Protocol):
    async def add(self, request: CertificateRequest) -> None: ...

    async def by_id(self, request_id: UUID) -> CertificateRequest | None: ...

    async def open_of(self, station_id: UUID, use: str) -> CertificateRequest | None: ...

    async def by_csr(self, station_id: UUID, csr_sha256: str) -> CertificateRequest | None: ...

    async def count_open(self, *, enough: int) -> int:
        """Of all stations; counting ends at `enough`."""

    async def set_status(
        self, request_id: UUID, status: RequestStatus, detail: str | None = None
    ) -> None: ...

    async def page(
        self, *, status: RequestStatus | None, limit: int, cursor: str | None
    ) -> Page[CertificateRequest]: ...


class SecurityEvents(Protocol):
    async def add(self, event: SecurityEvent) -> None: ...

    async def page(
        self, *, station_id: UUID | None, limit: int, cursor: str | None
    ) -> Page[SecurityEvent]:
        """Newest received first."""


class ConnectionAttempts(Protocol):
    async def add_all(self, attempts: Sequence[ConnectionAttempt]) -> None: ...

    async def of_identity(
        self, identity: StationIdentity, *, limit: int, cursor: str | None
    ) -> Page[ConnectionAttempt]:
        """Newest first; attempts that claimed this identity, let in or not."""

    async def admitted_lately(self, *, among: int) -> Sequence[tuple[str, str]]:
        """Identity and peer of each admission among the latest so many attempts, oldest first."""
        ...


class AuditLog(Protocol):
    async def add(self, record: AuditRecord) -> None: ...

    async def page(
        self, *, after_index: int | None, limit: int, action: str | None, subject: str | None
    ) -> Page[AuditEntry]:
        """Ascending by index."""


class Jobs(Protocol):
    async def add(self, job: Job) -> bool:
        """False when an unfinished job of this (kind, key) exists already."""

    async def add_again(self, job: Job) -> None:
        """The same for what is asked for anew: an unfinished job is due at that time, with this
        payload. Whoever works on it just now loses the lease, so that it is done once more.
        """

    async def claim(
        self,
        *,
        now: datetime,
        lease_until: datetime,
        limit: int,
        kinds: Collection[JobKind] = tuple(JobKind),
        not_of: Collection[UUID] = (),
    ) -> Sequence[Job]:
        """Due jobs, oldest first, leased to the caller: nobody else gets them until then. `not_of`:
        stations whose jobs are left where they are.

        The claim itself counts as a run, so that a job that kills its worker is counted too. A job
        that cannot be read fails here, or it would be claimed for ever.
        """

    async def finish(self, job: Job) -> None:
        """Raises Superseded, as do `retry` and `fail`, when the lease is not the job's any more:
        it had run out, and somebody else has claimed the job.
        """

    async def retry(self, job: Job, *, run_at: datetime, note: str, counts: bool = True) -> None:
        """Give the lease back; a run that could not even begin does not count."""

    async def fail(self, job: Job, *, note: str) -> None:
        """The end: kept for people to see, never run again."""

    async def end_leases(self) -> int:
        """Free what a killed process had claimed; only for who knows that no other runs."""

    async def wake(self, station_id: UUID, *, now: datetime) -> int:
        """Make the station's waiting jobs due: it has just connected."""

    async def wake_kind(self, kind: JobKind, *, now: datetime) -> int:
        """Make all waiting jobs of that kind due, oldest first: what they wait for is back."""


class Operations(Protocol):
    async def add(self, operation: Operation) -> None: ...

    async def by_id(self, operation_id: UUID) -> Operation | None: ...

    async def open_of(self, station_id: UUID, kind: str) -> Operation | None: ...

    async def advance(
        self,
        operation_id: UUID,
        *,
        state: OperationState,
        progress: str,
        at: datetime,
        result: Mapping[str, Any] | None = None,
    ) -> None: ...


class Outbox(Protocol):
    async def add(self, topic: str, payload: Mapping[str, Any]) -> None: ...

    async def after(self, sequence: int, *, limit: int) -> Sequence[OutboxEvent]: ...

    async def last_sequence(self) -> int: ...


class OAuthClients(Protocol):
    async def add(self, client: OAuthClient) -> None: ...

    async def by_id(self, client_id: str) -> OAuthClient | None: ...

    async def page(self, *, limit: int, cursor: str | None) -> Page[OAuthClient]: ...

    async def remove(self, client_id: str) -> bool: ...


class IdempotencyKeys(Protocol):
    async def find(self, client_id: str, key: str) -> IdempotentAnswer | None: ...

    async def keep(
        self, client_id: str, key: str, answer: IdempotentAnswer, *, at: datetime
    ) -> None:
        """Raises AlreadyExists when another request with this key got there first."""


class UnitOfWork(Protocol):
    """One transaction and the repositories that live in it. Raises StoreUnavailable anywhere."""

    @property
    def stations(self) -> Stations: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def certificates(self) -> Certificates: ...
    @property
    def certificate_requests(self) -> CertificateRequests: ...
    @property
    def security_events(self) -> SecurityEvents: ...
    @property
    def connection_attempts(self) -> ConnectionAttempts: ...
    @property
    def audit(self) -> AuditLog: ...
    @property
    def jobs(self) -> Jobs: ...
    @property
    def operations(self) -> Operations: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def oauth_clients(self) -> OAuthClients: ...
    @property
    def idempotency_keys(self) -> IdempotencyKeys: ...

    async def commit(self) -> None: ...


class Store(Protocol):
    """Where units of work come from. `reading` never takes the writer's lock."""

    def writing(self) -> AbstractAsyncContextManager[UnitOfWork]: ...

    def reading(self) -> AbstractAsyncContextManager[UnitOfWork]: ...
