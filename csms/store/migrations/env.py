"""Alembic's entry: `csms.store.migrate` hands in the connection; there is no other way in."""

from alembic import context

from csms.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite's DDL is transactional; alembic assumes the old driver's habit of committing first.
    transactional_ddl=True,
    transaction_per_migration=False,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
