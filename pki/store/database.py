"""Running transactions: a function over a connection, on SQLite or PostgreSQL.

SQLite: one thread and one connection do everything, in write-ahead-log mode with synchronous=FULL
(an intent must outlive a power cut). A transaction is one hop to that thread; through aiosqlite it
is one per statement, which costs four times the CPU (measured). PostgreSQL: asyncpg and a pool,
with time limits so that nobody waits for ever. Drivers' errors become StoreError here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from pki.authority.records import AlreadyThere, StoreUnavailable
from pki.store.tables import SCHEMA

T = TypeVar("T")

_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA busy_timeout=5000",
    "PRAGMA foreign_keys=ON",
)


class Database(Protocol):
    """Both raise StoreUnavailable, and AlreadyThere when a unique value is taken."""

    async def read(self, work: Callable[[Connection], T]) -> T: ...

    async def write(self, work: Callable[[Connection], T]) -> T: ...


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    if url.startswith("sqlite"):
        engine = _sqlite_engine(url)
        thread = ThreadPoolExecutor(1, thread_name_prefix="pki-sqlite")
        try:
            yield _SQLite(engine, thread)
        finally:
            await asyncio.get_running_loop().run_in_executor(thread, engine.dispose)
            thread.shutdown()
    else:
        async_engine = _postgres_engine(url)
        try:
            yield _PostgreSQL(async_engine)
        finally:
            await async_engine.dispose()


class _SQLite:
    def __init__(self, engine: Engine, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._thread = thread

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._run(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._run(work)

    async def _run(self, work: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except IntegrityError as error:
            raise AlreadyThere("a unique value is taken") from error
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable("the PKI's database is away") from error


class _PostgreSQL:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self.write(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        try:
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)
        except IntegrityError as error:
            raise AlreadyThere("a unique value is taken") from error
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise StoreUnavailable("the PKI's database is away") from error


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(
        make_url(url).set(drivername="sqlite+pysqlite"),
        poolclass=StaticPool,  # one connection, used by one thread alone
        connect_args={"check_same_thread": False},
        execution_options={"schema_translate_map": {SCHEMA: None}},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN comes late, before the first write: we say it ourselves.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # The write lock at once: a lock taken half-way could only fail (SQLITE_BUSY_SNAPSHOT).
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres_engine(url: str) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=10,
        max_overflow=10,
        pool_timeout=5,
        connect_args={
            "timeout": 5,
            "command_timeout": 10,
            "server_settings": {"lock_timeout": "5000", "statement_timeout": "10000"},
        },
    )
