"""Running transactions: a function over a connection, on SQLite or PostgreSQL.

SQLite: one thread and one connection do everything, in write-ahead-log mode with synchronous=FULL
(an intent must outlive a power cut). Commits are grouped: what waits while one commit is under way
shares the next, each in a savepoint of its own, and nobody is answered before the commit that holds
his work. PostgreSQL: asyncpg and a pool, with time limits so that nobody waits for ever; it groups
commits by itself. Drivers' errors become StoreError here.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from pki.authority.records import AlreadyThere, StoreUnavailable
from pki.store.tables import SCHEMA

T = TypeVar("T")

_MAX_GROUP: Final = 64  # so that the first of a crowd does not wait for all of it
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


@dataclass(slots=True)
class _Waiting:
    """One function, the future of whoever asked for it, and what became of it so far."""

    work: Callable[[Connection], Any]
    answer: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        if self.answer.done():
            return  # whoever asked has gone; what was committed stays committed
        if self.error is None:
            self.answer.set_result(self.result)
        else:
            self.answer.set_exception(self.error)


class _SQLite:
    """Belongs to one event loop; only `_transaction` runs in the thread."""

    def __init__(self, engine: Engine, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._thread = thread
        self._waiting: list[_Waiting] = []
        self._busy = False

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._run(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._run(work)

    async def _run(self, work: Callable[[Connection], T]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(work, answer))
        if not self._busy:
            self._start_group()
        return await answer

    def _start_group(self) -> None:
        wanted = [waiting for waiting in self._waiting if not waiting.answer.done()]
        group, self._waiting = wanted[:_MAX_GROUP], wanted[_MAX_GROUP:]
        if not group:
            return  # all who waited have gone
        loop = asyncio.get_running_loop()
        committed = loop.run_in_executor(self._thread, self._transaction, group)
        committed.add_done_callback(partial(self._end_group, group))
        self._busy = True

    def _end_group(self, group: list[_Waiting], committed: asyncio.Future[None]) -> None:
        self._busy = False
        if committed.cancelled() or committed.exception() is not None:
            for waiting in group:
                waiting.error = StoreUnavailable("the PKI's database was not asked")
        for waiting in group:
            waiting.tell()
        if self._waiting:
            self._start_group()

    def _transaction(self, group: list[_Waiting]) -> None:
        try:
            with self._engine.begin() as connection:
                for waiting in group:
                    _in_savepoint(connection, waiting)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            # Nothing was committed, also of those whose own work had gone well.
            for waiting in group:
                waiting.error = _away(error)


def _in_savepoint(connection: Connection, waiting: _Waiting) -> None:
    """All of that work or nothing of it; raises when the transaction itself is lost."""
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        # SQLite rolls everything back by itself when the disk is full: no half group is committed.
        raise sqlite3.OperationalError("the transaction is gone")
    driver.execute("SAVEPOINT work")
    try:
        waiting.result = waiting.work(connection)
    except IntegrityError as error:
        waiting.error = AlreadyThere("a unique value is taken")
        waiting.error.__cause__ = error
    except SQLAlchemyError as error:
        waiting.error = _away(error)
    except Exception as error:  # noqa: BLE001 -- raised to whoever asked, and to nobody else
        waiting.error = error
    if waiting.error is not None:
        driver.execute("ROLLBACK TO work")
    driver.execute("RELEASE work")


def _away(cause: Exception) -> StoreUnavailable:
    error = StoreUnavailable("the PKI's database is away")
    error.__cause__ = cause
    return error


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
