"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Spelt out here, not imported: a migration must mean tomorrow what it means today.
WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.Text()
INSTANT = sa.DateTime(timezone=True)
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ORDER_LOCK = 0x4353_4D53  # csms.store.transaction.ORDER_LOCK

_APPEND_ONLY_SQLITE = (
    (
        "CREATE TRIGGER audit_entries_refuse_update BEFORE UPDATE ON audit_entries "
        "BEGIN SELECT RAISE(ABORT, 'audit_entries is append-only'); END"
    ),
    (
        "CREATE TRIGGER audit_entries_refuse_delete BEFORE DELETE ON audit_entries "
        "BEGIN SELECT RAISE(ABORT, 'audit_entries is append-only'); END"
    ),
)
# The function that numbers entries runs with its owner's rights: roles need INSERT and no more.
_APPEND_ONLY_POSTGRESQL = (
    """
    CREATE FUNCTION audit_entries_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'audit_entries is append-only';
    END $$
    """,
    (
        "CREATE TRIGGER audit_entries_refuse_change BEFORE UPDATE OR DELETE ON audit_entries "
        "FOR EACH ROW EXECUTE FUNCTION audit_entries_refuse()"
    ),
    (
        "CREATE TRIGGER audit_entries_refuse_truncate BEFORE TRUNCATE ON audit_entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_refuse()"
    ),
    f"""
    CREATE FUNCTION audit_entries_number() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        PERFORM pg_catalog.pg_advisory_xact_lock({ORDER_LOCK});
        EXECUTE pg_catalog.format(
            'SELECT coalesce(max(entry_index), 0) + 1 FROM %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME
        ) INTO NEW.entry_index;
        RETURN NEW;
    END $$
    """,  # noqa: S608 -- a constant of this file
    "ALTER FUNCTION audit_entries_number() SET search_path = pg_catalog, pg_temp",
    (
        "CREATE TRIGGER audit_entries_number BEFORE INSERT ON audit_entries "
        "FOR EACH ROW EXECUTE FUNCTION audit_entries_number()"
    ),
)


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column(
            "entry_index",
            COUNTER,
            server_default=sa.FetchedValue(),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at", WORDS, nullable=False),
        sa.Column("actor", WORDS, nullable=False),
        sa.Column("action", WORDS, nullable=False),
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("outcome", WORDS, nullable=False),
        sa.Column("reason", WORDS, nullable=True),
        sa.Column("details", JSON, nullable=False),
        sa.Column("hash", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("entry_index", name=op.f("pk_audit_entries")),
    )
    op.create_index(
        "ix_audit_entries_action_entry_index",
        "audit_entries",
        ["action", "entry_index"],
        unique=False,
    )
    op.create_index(
        "ix_audit_entries_subject_entry_index",
        "audit_entries",
        ["subject", "entry_index"],
        unique=False,
    )
    op.create_table(
        "certificate_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.Column("use", WORDS, nullable=False),
        sa.Column("certificate_type", WORDS, nullable=True),
        sa.Column("csr_pem", WORDS, nullable=False),
        sa.Column("csr_sha256", WORDS, nullable=False),
        sa.Column("status", WORDS, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("detail", WORDS, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate_requests")),
    )
    op.create_index(
        "ix_certificate_requests_received_at_id",
        "certificate_requests",
        ["received_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_certificate_requests_station_id_csr_sha256",
        "certificate_requests",
        ["station_id", "csr_sha256"],
        unique=False,
    )
    op.create_index(
        "uq_certificate_requests_open",
        "certificate_requests",
        ["station_id", "use"],
        unique=True,
        sqlite_where=sa.text("status = 'open'"),
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_table(
        "certificates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.Column("use", WORDS, nullable=False),
        sa.Column("issuer", WORDS, nullable=False),
        sa.Column("serial", WORDS, nullable=False),
        sa.Column("fingerprint_sha256", WORDS, nullable=False),
        sa.Column("status", WORDS, nullable=False),
        sa.Column("not_before", INSTANT, nullable=False),
        sa.Column("not_after", INSTANT, nullable=False),
        sa.Column("certificate_pem", WORDS, nullable=False),
        sa.Column("chain_pem", WORDS, nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", INSTANT, nullable=True),
        sa.Column("first_seen_at", INSTANT, nullable=True),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.Column("revocation_reason", WORDS, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificates")),
        sa.UniqueConstraint("fingerprint_sha256", name=op.f("uq_certificates_fingerprint_sha256")),
        sa.UniqueConstraint("request_id", name=op.f("uq_certificates_request_id")),
    )
    op.create_index(
        "ix_certificates_not_after_id", "certificates", ["not_after", "id"], unique=False
    )
    op.create_index(
        op.f("ix_certificates_station_id"), "certificates", ["station_id"], unique=False
    )
    op.create_index(
        "uq_certificates_issuer_serial", "certificates", ["issuer", "serial"], unique=True
    )
    op.create_table(
        "connection_attempts",
        sa.Column("id", COUNTER, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("peer", WORDS, nullable=False),
        sa.Column("listener", WORDS, nullable=False),
        sa.Column("outcome", WORDS, nullable=False),
        sa.Column("failing_check", WORDS, nullable=True),
        sa.Column("detail", WORDS, nullable=True),
        sa.Column("station_id", sa.Uuid(), nullable=True),
        sa.Column("identity", WORDS, nullable=True),
        sa.Column("tls_version", WORDS, nullable=True),
        sa.Column("tls_cipher", WORDS, nullable=True),
        sa.Column("certificate", WORDS, nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connection_attempts")),
    )
    op.create_index(op.f("ix_connection_attempts_at"), "connection_attempts", ["at"], unique=False)
    op.create_index(
        "ix_connection_attempts_identity_at_id",
        "connection_attempts",
        ["identity", "at", "id"],
        unique=False,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("client_id", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("request_sha256", WORDS, nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("client_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_at"), "idempotency_keys", ["at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("station_id", sa.Uuid(), nullable=True),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("run_at", INSTANT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("leased_until", INSTANT, nullable=True),
        sa.Column("note", WORDS, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_state_run_at", "jobs", ["state", "run_at"], unique=False)
    op.create_index(op.f("ix_jobs_station_id"), "jobs", ["station_id"], unique=False)
    op.create_index(
        "uq_jobs_unfinished",
        "jobs",
        ["kind", "key"],
        unique=True,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "oauth_clients",
        sa.Column("client_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("roles", JSON, nullable=False),
        sa.Column("secret_sha256", WORDS, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_oauth_clients")),
    )
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("station_id", sa.Uuid(), nullable=True),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("progress", WORDS, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("scope", WORDS, nullable=False),
        sa.Column("result", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
    )
    op.create_index(
        "ix_operations_station_id_kind", "operations", ["station_id", "kind"], unique=False
    )
    op.create_table(
        "outbox",
        sa.Column("sequence", COUNTER, nullable=False),
        sa.Column("topic", WORDS, nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "security_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.Column("type", WORDS, nullable=False),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("tech_info", WORDS, nullable=True),
        sa.Column("source", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_security_events")),
    )
    op.create_index(
        "ix_security_events_received_at_id", "security_events", ["received_at", "id"], unique=False
    )
    op.create_index(
        "ix_security_events_station_id_received_at_id",
        "security_events",
        ["station_id", "received_at", "id"],
        unique=False,
    )
    op.create_table(
        "stations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("identity", WORDS, nullable=False),
        sa.Column("registered_as", WORDS, nullable=False),
        sa.Column("serial_number", WORDS, nullable=False),
        sa.Column("security_profile", sa.Integer(), nullable=False),
        sa.Column("minimum_security_profile", sa.Integer(), nullable=False),
        sa.Column("registration_status", WORDS, nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column("passwords", JSON, nullable=False),
        sa.Column("groups", JSON, nullable=False),
        sa.Column("created_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stations")),
        sa.UniqueConstraint("identity", name=op.f("uq_stations_identity")),
        sa.UniqueConstraint("serial_number", name=op.f("uq_stations_serial_number")),
    )
    op.create_table(
        "connector_statuses",
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.Column("evse_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("connector_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", WORDS, nullable=False),
        sa.Column("reported_at", INSTANT, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["station_id"],
            ["stations.id"],
            name=op.f("fk_connector_statuses_station_id_stations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "station_id", "evse_id", "connector_id", name=op.f("pk_connector_statuses")
        ),
    )
    op.create_table(
        "station_boots",
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.Column("vendor_name", WORDS, nullable=False),
        sa.Column("model", WORDS, nullable=False),
        sa.Column("serial_number", WORDS, nullable=True),
        sa.Column("firmware_version", WORDS, nullable=True),
        sa.Column("reason", WORDS, nullable=False),
        sa.Column("status", WORDS, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["station_id"],
            ["stations.id"],
            name=op.f("fk_station_boots_station_id_stations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("station_id", name=op.f("pk_station_boots")),
    )
    op.create_table(
        "station_groups",
        sa.Column("name", WORDS, nullable=False),
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["station_id"],
            ["stations.id"],
            name=op.f("fk_station_groups_station_id_stations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("name", "station_id", name=op.f("pk_station_groups")),
    )
    op.create_index(
        op.f("ix_station_groups_station_id"), "station_groups", ["station_id"], unique=False
    )
    op.create_table(
        "station_sessions",
        sa.Column("station_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", COUNTER, nullable=False),
        sa.Column("node", WORDS, nullable=True),
        sa.Column("profile", sa.Integer(), nullable=True),
        sa.Column("certificate_id", sa.Uuid(), nullable=True),
        sa.Column("peer", WORDS, nullable=True),
        sa.Column("connected_at", INSTANT, nullable=True),
        sa.Column("proven_profile", sa.Integer(), nullable=True),
        sa.Column("last_seen_at", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(
            ["station_id"],
            ["stations.id"],
            name=op.f("fk_station_sessions_station_id_stations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("station_id", name=op.f("pk_station_sessions")),
    )
    op.create_index(op.f("ix_station_sessions_node"), "station_sessions", ["node"], unique=False)
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _APPEND_ONLY_POSTGRESQL if on_postgresql else _APPEND_ONLY_SQLITE:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("forwards only: restore the backup taken before the upgrade")
