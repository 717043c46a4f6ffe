"""PostgreSQL through asyncpg.

Its own default, synchronous_commit=on, is left alone: a commit survives a power cut (A04).
Every statement and every wait for a lock has an end, at the server and at this side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import URL, CursorResult, Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from csms.store.database import DatabaseConnection, Parameters
from csms.store.prepared import Prepared, Values

# An OLTP statement that takes longer is stuck; the caller gets StoreUnavailable and decides.
_SERVER_SETTINGS: Final = {
    "application_name": "csms",
    "statement_timeout": "5000",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "15000",
}


class PostgreSQLDatabase:
    """One pool that writes and one that cannot, without transactions: a statement is a snapshot."""

    def __init__(self, url: URL, *, pool_size: int) -> None:
        self._writer = _postgresql_engine(url, pool_size=pool_size)
        self._reader = _postgresql_engine(
            url,
            pool_size=pool_size,
            server_settings={"default_transaction_read_only": "on"},
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
        )

    async def connect(self, *, writable: bool) -> DatabaseConnection:
        connection = (self._writer if writable else self._reader).connect()
        return PostgreSQLConnection(await connection.start())

    async def close(self) -> None:
        await self._writer.dispose()
        await self._reader.dispose()


class PostgreSQLConnection:
    on_postgresql = True

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def execute(
        self, statement: Executable, parameters: Parameters = None
    ) -> CursorResult[Any]:
        return await self._connection.execute(statement, parameters)

    async def fetch(self, prepared: Prepared, values: Values) -> Sequence[Sequence[Any]]:
        return (await self._connection.execute(prepared.on_postgresql, values)).all()

    async def change(self, prepared: Prepared, values: Values) -> int:
        return (await self._connection.execute(prepared.on_postgresql, values)).rowcount

    async def change_all(self, prepared: Prepared, rows: Sequence[Values]) -> None:
        await self._connection.execute(prepared.on_postgresql, rows)

    async def execute_in_savepoint(self, statement: Executable) -> CursorResult[Any]:
        async with self._connection.begin_nested():
            return await self._connection.execute(statement)

    async def commit(self) -> None:
        await self._connection.commit()

    async def close(self) -> None:
        # Shielded: a cancelled unit still gives its connection back.
        await asyncio.shield(self._connection.close())


def migrator(url: URL) -> AsyncEngine:
    """No statement timeout: a migration may take its time."""
    settings = {"application_name": "csms migrate", "lock_timeout": "60000"}
    return create_async_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"server_settings": settings, "timeout": 10},
    )


def _postgresql_engine(
    url: URL, *, pool_size: int, server_settings: Mapping[str, str] | None = None, **options: Any
) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        hide_parameters=True,
        connect_args={
            "server_settings": {**_SERVER_SETTINGS, **(server_settings or {})},
            "timeout": 5,
            "command_timeout": 10,
        },
        **options,
    )
