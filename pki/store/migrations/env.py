"""Alembic's entry: runs on the connection, in the transaction, that `pki.store.migrate` has."""

from alembic import context
from sqlalchemy import Connection

from pki.store.tables import SCHEMA, metadata

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=SCHEMA if connection.dialect.name == "postgresql" else None,
    transactional_ddl=True,
)
context.run_migrations()
