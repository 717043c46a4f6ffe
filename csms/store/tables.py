"""The tables: one class per table, the same on SQLite and PostgreSQL.

What the gateway's database role writes is kept apart from what only people and their operations
may change: `stations` holds the registration, `station_sessions` and `station_boots` what a
connection proves about it (architecture, second wall). Tables whose rows outlive a registration
(certificates, events, audit) carry the station's id without a foreign key.
"""

# SQLModel reads annotations when the class is made: no postponed evaluation in this module.

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import FetchedValue, Index, MetaData, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from csms.store.column_types import Counter, JSONText, UTCDateTime, Words

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Row(SQLModel, registry=registry(metadata=MetaData(naming_convention=NAMING))):
    """Base of our tables, with metadata of its own: pki's tables live in another schema."""


class StationRow(Row, table=True):
    __tablename__ = "stations"

    id: UUID = Field(primary_key=True)
    # The canonical, lower-case identity: cs1 and CS1 cannot both exist (T8).
    identity: str = Field(sa_type=Words, unique=True)
    registered_as: str = Field(sa_type=Words)
    serial_number: str = Field(sa_type=Words, unique=True)
    security_profile: int
    minimum_security_profile: int
    registration_status: str = Field(sa_type=Words)
    blocked: bool
    # Inline, so that one read admits: [{"salt", "digest", "pepper_version", "pending"}].
    passwords: Any = Field(sa_type=JSONText, nullable=False)
    groups: Any = Field(sa_type=JSONText, nullable=False)
    created_at: datetime | None = Field(sa_type=UTCDateTime)


class StationGroupRow(Row, table=True):
    """An index by hand over `stations.groups`, written with it."""

    __tablename__ = "station_groups"

    name: str = Field(sa_type=Words, primary_key=True)
    station_id: UUID = Field(
        primary_key=True, foreign_key="stations.id", ondelete="CASCADE", index=True
    )


class StationSessionRow(Row, table=True):
    """One row per station that ever connected. `node` is null while nobody holds the station;
    `epoch` outlives that and only ever grows (decision 6).
    """

    __tablename__ = "station_sessions"

    station_id: UUID = Field(primary_key=True, foreign_key="stations.id", ondelete="CASCADE")
    epoch: int = Field(sa_type=Counter)
    node: str | None = Field(sa_type=Words, index=True)
    profile: int | None
    certificate_id: UUID | None
    peer: str | None = Field(sa_type=Words)
    connected_at: datetime | None = Field(sa_type=UTCDateTime)
    proven_profile: int | None
    last_seen_at: datetime | None = Field(sa_type=UTCDateTime)


class StationBootRow(Row, table=True):
    __tablename__ = "station_boots"

    station_id: UUID = Field(primary_key=True, foreign_key="stations.id", ondelete="CASCADE")
    vendor_name: str = Field(sa_type=Words)
    model: str = Field(sa_type=Words)
    serial_number: str | None = Field(sa_type=Words)
    firmware_version: str | None = Field(sa_type=Words)
    reason: str = Field(sa_type=Words)
    status: str = Field(sa_type=Words)
    at: datetime = Field(sa_type=UTCDateTime)


class ConnectorStatusRow(Row, table=True):
    __tablename__ = "connector_statuses"

    station_id: UUID = Field(primary_key=True, foreign_key="stations.id", ondelete="CASCADE")
    evse_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    connector_id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    status: str = Field(sa_type=Words)
    reported_at: datetime = Field(sa_type=UTCDateTime)
    received_at: datetime = Field(sa_type=UTCDateTime)


class CertificateRow(Row, table=True):
    __tablename__ = "certificates"
    __table_args__ = (
        Index("uq_certificates_issuer_serial", "issuer", "serial", unique=True),
        Index("ix_certificates_not_after_id", "not_after", "id"),
    )

    id: UUID = Field(primary_key=True)
    station_id: UUID = Field(index=True)
    use: str = Field(sa_type=Words)
    issuer: str = Field(sa_type=Words)
    serial: str = Field(sa_type=Words)
    fingerprint_sha256: str = Field(sa_type=Words, unique=True)
    status: str = Field(sa_type=Words)
    not_before: datetime = Field(sa_type=UTCDateTime)
    not_after: datetime = Field(sa_type=UTCDateTime)
    certificate_pem: str = Field(sa_type=Words)
    chain_pem: str = Field(sa_type=Words)
    # One request is answered by one certificate, however often its job runs.
    request_id: UUID | None = Field(unique=True)
    created_at: datetime | None = Field(sa_type=UTCDateTime)
    first_seen_at: datetime | None = Field(sa_type=UTCDateTime)
    revoked_at: datetime | None = Field(sa_type=UTCDateTime)
    revocation_reason: str | None = Field(sa_type=Words)


_OPEN: Final = text("status = 'open'")


class CertificateRequestRow(Row, table=True):
    __tablename__ = "certificate_requests"
    __table_args__ = (
        Index(
            "uq_certificate_requests_open",
            "station_id",
            "use",
            unique=True,
            sqlite_where=_OPEN,
            postgresql_where=_OPEN,
        ),
        Index("ix_certificate_requests_station_id_csr_sha256", "station_id", "csr_sha256"),
        Index("ix_certificate_requests_received_at_id", "received_at", "id"),
    )

    id: UUID = Field(primary_key=True)
    station_id: UUID
    use: str = Field(sa_type=Words)
    certificate_type: str | None = Field(sa_type=Words)
    csr_pem: str = Field(sa_type=Words)
    csr_sha256: str = Field(sa_type=Words)
    status: str = Field(sa_type=Words)
    received_at: datetime = Field(sa_type=UTCDateTime)
    detail: str | None = Field(sa_type=Words)


class SecurityEventRow(Row, table=True):
    __tablename__ = "security_events"
    __table_args__ = (
        Index("ix_security_events_received_at_id", "received_at", "id"),
        Index("ix_security_events_station_id_received_at_id", "station_id", "received_at", "id"),
    )

    id: UUID = Field(primary_key=True)
    station_id: UUID
    type: str = Field(sa_type=Words)
    occurred_at: datetime = Field(sa_type=UTCDateTime)
    received_at: datetime = Field(sa_type=UTCDateTime)
    tech_info: str | None = Field(sa_type=Words)
    source: str = Field(sa_type=Words)


class ConnectionAttemptRow(Row, table=True):
    __tablename__ = "connection_attempts"
    __table_args__ = (Index("ix_connection_attempts_identity_at_id", "identity", "at", "id"),)

    id: int | None = Field(default=None, sa_type=Counter, primary_key=True)
    at: datetime = Field(sa_type=UTCDateTime, index=True)
    peer: str = Field(sa_type=Words)
    listener: str = Field(sa_type=Words)
    outcome: str = Field(sa_type=Words)
    failing_check: str | None = Field(sa_type=Words)
    detail: str | None = Field(sa_type=Words)
    station_id: UUID | None
    identity: str | None = Field(sa_type=Words)
    tls_version: str | None = Field(sa_type=Words)
    tls_cipher: str | None = Field(sa_type=Words)
    certificate: str | None = Field(sa_type=Words)
    http_status: int | None


class AuditEntryRow(Row, table=True):
    """Append-only by trigger. The database gives the index: SQLite its next rowid, PostgreSQL by
    trigger under an advisory lock, so that indexes have no gap and ascend in commit order.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_action_entry_index", "action", "entry_index"),
        Index("ix_audit_entries_subject_entry_index", "subject", "entry_index"),
    )

    entry_index: int | None = Field(
        default=None,
        sa_type=Counter,
        primary_key=True,
        sa_column_kwargs={"autoincrement": False, "server_default": FetchedValue()},
    )
    at: str = Field(sa_type=Words)  # ISO 8601 as hashed, to the letter
    actor: str = Field(sa_type=Words)
    action: str = Field(sa_type=Words)
    subject: str = Field(sa_type=Words)
    outcome: str = Field(sa_type=Words)
    reason: str | None = Field(sa_type=Words)
    details: Any = Field(sa_type=JSONText, nullable=False)
    hash: str = Field(sa_type=Words)


_WAITING: Final = text("state = 'waiting'")


class JobRow(Row, table=True):
    """A finished job is deleted (what it did is in the audit log); a failed one stays."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "uq_jobs_unfinished",
            "kind",
            "key",
            unique=True,
            sqlite_where=_WAITING,
            postgresql_where=_WAITING,
        ),
        Index("ix_jobs_state_run_at", "state", "run_at"),
    )

    id: UUID = Field(primary_key=True)
    kind: str = Field(sa_type=Words)
    key: str = Field(sa_type=Words)
    station_id: UUID | None = Field(index=True)
    payload: Any = Field(sa_type=JSONText, nullable=False)
    attempts: int
    run_at: datetime = Field(sa_type=UTCDateTime)
    created_at: datetime = Field(sa_type=UTCDateTime)
    state: str = Field(sa_type=Words)
    leased_until: datetime | None = Field(sa_type=UTCDateTime)
    note: str | None = Field(sa_type=Words)


class OperationRow(Row, table=True):
    __tablename__ = "operations"
    __table_args__ = (Index("ix_operations_station_id_kind", "station_id", "kind"),)

    id: UUID = Field(primary_key=True)
    kind: str = Field(sa_type=Words)
    station_id: UUID | None
    state: str = Field(sa_type=Words)
    progress: str = Field(sa_type=Words)
    created_at: datetime = Field(sa_type=UTCDateTime)
    updated_at: datetime = Field(sa_type=UTCDateTime)
    scope: str = Field(sa_type=Words)
    result: Any = Field(sa_type=JSONText, nullable=False)


class OutboxRow(Row, table=True):
    """Sequences ascend in commit order and are never used again, so a cursor misses nothing."""

    __tablename__ = "outbox"
    __table_args__ = {"sqlite_autoincrement": True}

    sequence: int | None = Field(default=None, sa_type=Counter, primary_key=True)
    topic: str = Field(sa_type=Words)
    payload: Any = Field(sa_type=JSONText, nullable=False)


class OAuthClientRow(Row, table=True):
    __tablename__ = "oauth_clients"

    client_id: str = Field(sa_type=Words, primary_key=True)
    name: str = Field(sa_type=Words)
    scopes: Any = Field(sa_type=JSONText, nullable=False)
    roles: Any = Field(sa_type=JSONText, nullable=False)
    secret_sha256: str = Field(sa_type=Words)
    created_at: datetime = Field(sa_type=UTCDateTime)


class IdempotencyKeyRow(Row, table=True):
    __tablename__ = "idempotency_keys"

    client_id: str = Field(sa_type=Words, primary_key=True)
    key: str = Field(sa_type=Words, primary_key=True)
    request_sha256: str = Field(sa_type=Words)
    status: int
    body: Any = Field(sa_type=JSONText, nullable=False)
    at: datetime = Field(sa_type=UTCDateTime, index=True)


metadata: Final = Row.metadata
stations: Final = metadata.tables["stations"]
station_groups: Final = metadata.tables["station_groups"]
station_sessions: Final = metadata.tables["station_sessions"]
station_boots: Final = metadata.tables["station_boots"]
connector_statuses: Final = metadata.tables["connector_statuses"]
certificates: Final = metadata.tables["certificates"]
certificate_requests: Final = metadata.tables["certificate_requests"]
security_events: Final = metadata.tables["security_events"]
connection_attempts: Final = metadata.tables["connection_attempts"]
audit_entries: Final = metadata.tables["audit_entries"]
jobs: Final = metadata.tables["jobs"]
operations: Final = metadata.tables["operations"]
outbox: Final = metadata.tables["outbox"]
oauth_clients: Final = metadata.tables["oauth_clients"]
idempotency_keys: Final = metadata.tables["idempotency_keys"]
