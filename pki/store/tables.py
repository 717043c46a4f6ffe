"""Tables of the PKI: its own schema `pki` on PostgreSQL, its own file on SQLite.

Rows are written by `pki.store.repository` only. What must be unique is unique here: (issuer,
serial), the holder of a key, a station's serial number, one open intent per key.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

SCHEMA: Final = "pki"

metadata: Final = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC outside; SQLite keeps no zone, so it is taken off and put back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone is no time we store")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 -- the base class's own
    ) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


class _Base(SQLModel):
    metadata = metadata


class Registration(_Base, table=True):
    __tablename__ = "registrations"
    __table_args__ = (UniqueConstraint("serial_number"),)

    station_id: UUID = Field(primary_key=True)
    serial_number: str = Field(max_length=25)
    registered_at: datetime = Field(sa_type=UTCDateTime)


class Request(_Base, table=True):
    __tablename__ = "requests"

    request_id: UUID = Field(primary_key=True)
    kind: str = Field(max_length=16)
    holder: str = Field(max_length=96)
    content_sha256: str = Field(max_length=64)
    received_at: datetime = Field(sa_type=UTCDateTime)


class PublicKey(_Base, table=True):
    """Whose key it is, for ever: a key is never given to a second holder (C06)."""

    __tablename__ = "public_keys"

    public_key_sha256: str = Field(primary_key=True, max_length=64)
    holder: str = Field(max_length=96)
    blocked: bool
    first_seen_at: datetime = Field(sa_type=UTCDateTime)


class IntentRow(_Base, table=True):
    __tablename__ = "intents"
    __table_args__ = (
        UniqueConstraint("issuer", "serial"),
        # One at a time per key, whichever process works on it.
        Index(
            "uq_intents_open_key",
            "public_key_sha256",
            unique=True,
            sqlite_where=text("outcome IS NULL"),
            postgresql_where=text("outcome IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    request_id: UUID
    kind: str = Field(max_length=16)
    holder: str = Field(max_length=96)
    content_sha256: str = Field(max_length=64)
    issuer: str = Field(max_length=16)
    serial: str = Field(max_length=40)
    public_key_sha256: str = Field(max_length=64)
    tbs_sha256: str = Field(max_length=64)
    opened_at: datetime = Field(sa_type=UTCDateTime)
    outcome: str | None = Field(default=None, max_length=16)  # issued, abandoned
    closed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)


class CertificateRow(_Base, table=True):
    __tablename__ = "certificates"
    __table_args__ = (
        UniqueConstraint("issuer", "serial"),
        UniqueConstraint("request_id"),
        Index("ix_certificates_public_key_sha256", "public_key_sha256"),
        # A station's new certificate is a re-key: one certificate per key (A02.FR.02).
        Index(
            "uq_certificates_station_key",
            "public_key_sha256",
            unique=True,
            sqlite_where=text("kind = 'station'"),
            postgresql_where=text("kind = 'station'"),
        ),
    )

    fingerprint_sha256: str = Field(primary_key=True, max_length=64)
    request_id: UUID
    kind: str = Field(max_length=16)
    holder: str = Field(max_length=96)
    issuer: str = Field(max_length=16)
    serial: str = Field(max_length=40)
    public_key_sha256: str = Field(max_length=64)
    common_name: str = Field(max_length=64)
    not_before: datetime = Field(sa_type=UTCDateTime)
    not_after: datetime = Field(sa_type=UTCDateTime)
    der: bytes
    revoked_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    revocation_reason: str | None = Field(default=None, max_length=32)


class AuthorityRow(_Base, table=True):
    __tablename__ = "authorities"
    __table_args__ = (UniqueConstraint("name", "generation"),)

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=16)
    generation: int
    der: bytes
    key_id: str = Field(max_length=200)
    created_at: datetime = Field(sa_type=UTCDateTime)


class AuditRow(_Base, table=True):
    __tablename__ = "audit"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_type=UTCDateTime)
    action: str = Field(max_length=32)
    subject: str = Field(max_length=96)
    reason: str | None = Field(default=None, max_length=32)  # none: it was done
    details: Mapping[str, Any] = Field(sa_column=Column(JSON, nullable=False))


def _table(model: type[SQLModel]) -> Table:
    table: Table = model.__table__  # type: ignore[attr-defined] # SQLModel does not type it
    return table


registrations: Final = _table(Registration)
requests: Final = _table(Request)
public_keys: Final = _table(PublicKey)
intents: Final = _table(IntentRow)
certificates: Final = _table(CertificateRow)
authorities: Final = _table(AuthorityRow)
audit: Final = _table(AuditRow)
