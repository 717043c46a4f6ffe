"""What is run beside the product: schema migrations and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from starlette.routing import BaseRoute

from csms.api.app import create_app
from csms.api.resources import ApiResources
from csms.settings import Settings
from csms.store.unit_of_work import SqlStore
from csms.wiring.errors import one_line
from pki.store.migrate import migrate as migrate_pki


async def migrate(settings: Settings) -> None:
    """Both schemas, csms's and the PKI's, up to this code. Raises StartFailed."""
    with one_line():
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = SqlStore(settings.database)
        try:
            await store.migrate()
        finally:
            await store.close()
        await migrate_pki(pki_database(settings))


def pki_database(settings: Settings) -> str:
    """On SQLite a file of its own, on PostgreSQL a schema of its own."""
    return settings.database_url or f"sqlite+aiosqlite:///{settings.data_dir.resolve()}/pki.db"


class _NoTokens:
    """Stands where the token authority stands, for a document that lists no token endpoints."""

    routes: Sequence[BaseRoute] = ()


class _Nothing:
    tokens = _NoTokens()


def openapi() -> dict[str, Any]:
    """The document of the management API, without running it."""
    return create_app(cast("ApiResources", _Nothing())).openapi()
