"""Bring the PKI's schema to the newest version; safe to run from several processes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from pki.authority.records import AlreadyThere, StoreUnavailable
from pki.store.database import open_database
from pki.store.tables import SCHEMA

_MIGRATIONS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x706B69  # "pki": of all who migrate this schema, one at a time


async def migrate(url: str) -> None:
    """Raises StoreUnavailable."""
    async with open_database(url) as database:
        try:
            await database.write(_upgrade)
        except AlreadyThere as error:
            raise StoreUnavailable("the schema could not be brought up to date") from error


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
