"""Registrations, requests, keys, intents, certificates, hierarchy, audit."""

import sqlalchemy as sa
from alembic import op

from pki.store.tables import UTCDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _schema() -> str | None:
    return "pki" if op.get_bind().dialect.name == "postgresql" else None


def upgrade() -> None:
    schema = _schema()
    op.create_table(
        "registrations",
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.Column("serial_number", sa.String(25), nullable=False),
        sa.Column("registered_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("station_id", name="pk_registrations"),
        sa.UniqueConstraint("serial_number", name="uq_registrations_serial_number"),
        schema=schema,
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("holder", sa.String(96), nullable=False),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("received_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_requests"),
        schema=schema,
    )
    op.create_table(
        "public_keys",
        sa.Column("public_key_sha256", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(96), nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column("first_seen_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("public_key_sha256", name="pk_public_keys"),
        schema=schema,
    )
    _intents(schema)
    _certificates(schema)
    op.create_table(
        "authorities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(200), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_authorities"),
        sa.UniqueConstraint("name", "generation", name="uq_authorities_name_generation"),
        schema=schema,
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UTCDateTime(), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(96), nullable=False),
        sa.Column("reason", sa.String(32), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        schema=schema,
    )


def _intents(schema: str | None) -> None:
    op.create_table(
        "intents",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("holder", sa.String(96), nullable=False),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("issuer", sa.String(16), nullable=False),
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("public_key_sha256", sa.String(64), nullable=False),
        sa.Column("tbs_sha256", sa.String(64), nullable=False),
        sa.Column("opened_at", UTCDateTime(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("closed_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_intents"),
        sa.UniqueConstraint("issuer", "serial", name="uq_intents_issuer_serial"),
        schema=schema,
    )
    op.create_index(
        "uq_intents_open_key",
        "intents",
        ["public_key_sha256"],
        unique=True,
        schema=schema,
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )


def _certificates(schema: str | None) -> None:
    op.create_table(
        "certificates",
        sa.Column("fingerprint_sha256", sa.String(64), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("holder", sa.String(96), nullable=False),
        sa.Column("issuer", sa.String(16), nullable=False),
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("public_key_sha256", sa.String(64), nullable=False),
        sa.Column("common_name", sa.String(64), nullable=False),
        sa.Column("not_before", UTCDateTime(), nullable=False),
        sa.Column("not_after", UTCDateTime(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("revoked_at", UTCDateTime(), nullable=True),
        sa.Column("revocation_reason", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("fingerprint_sha256", name="pk_certificates"),
        sa.UniqueConstraint("issuer", "serial", name="uq_certificates_issuer_serial"),
        sa.UniqueConstraint("request_id", name="uq_certificates_request_id"),
        schema=schema,
    )
    op.create_index(
        "ix_certificates_public_key_sha256", "certificates", ["public_key_sha256"], schema=schema
    )
    op.create_index(
        "uq_certificates_station_key",
        "certificates",
        ["public_key_sha256"],
        unique=True,
        schema=schema,
        sqlite_where=sa.text("kind = 'station'"),
        postgresql_where=sa.text("kind = 'station'"),
    )
