"""SQLite, on the event loop's own thread as far as it cannot wait.

Durability: an answer is sent after the commit that holds it (decision 5), and a commit must
survive a power cut (A04), so synchronous is FULL: in WAL mode NORMAL may lose the last commits.
Measured: 1.5 ms against 0.9 ms for a claim with its audit row.

A statement takes tens of microseconds, a hop to another thread and back hundreds (admission: 130
µs here, 850 µs through a thread per connection). So only what can wait, for the disk or for
another process's lock, goes to a thread: BEGIN IMMEDIATE and COMMIT.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, CursorResult, Engine, Executable, create_engine, event
from sqlalchemy.pool import NullPool

from csms.store.database import DatabaseConnection, Parameters

T = TypeVar("T")
_BUSY_SECONDS: Final = 5.0
_READER_BUSY_SECONDS: Final = 0.1  # it would hold up the loop; WAL readers hardly ever wait
_QUEUE_SECONDS: Final = 30.0  # for the writer's lock; also the end of a unit inside a unit
_IDLE_READERS: Final = 4


class SQLiteDatabase:
    """One writing connection behind a lock of the event loop, where waiting is cheap and fair
    (SQLite's own way is polling); readers as many as there are units, a few kept open.
    """

    def __init__(self, url: URL) -> None:
        self._writer = _sqlite_engine(url, read_only=False)
        self._reader = _sqlite_engine(url, read_only=True)
        self._one_writer = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-commit")

    async def connect(self, *, writable: bool) -> DatabaseConnection:
        if not writable:
            return SQLiteReadingConnection(self._reader.connect())
        connection = SQLiteWritingConnection(self._writer, self._one_writer, self._thread)
        await connection.begin()
        return connection

    async def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()
        self._thread.shutdown(wait=False)


class SQLiteReadingConnection:
    on_postgresql = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(
        self, statement: Executable, parameters: Parameters = None
    ) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    async def execute_in_savepoint(self, statement: Executable) -> CursorResult[Any]:
        return await self.execute(statement)  # refused by query_only

    async def commit(self) -> None:
        """There is nothing to commit."""

    async def close(self) -> None:
        self._connection.close()


class SQLiteWritingConnection:
    """Holds the writer's lock exactly while a transaction is open."""

    on_postgresql = False

    def __init__(self, engine: Engine, lock: asyncio.Lock, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._lock = lock
        self._thread = thread
        self._connection: Connection | None = None

    async def begin(self) -> Connection:
        if self._connection is not None:
            return self._connection
        async with asyncio.timeout(_QUEUE_SECONDS):
            await self._lock.acquire()
        try:
            self._connection = connection = self._engine.connect()
        except BaseException:
            self._lock.release()
            raise
        try:
            await _uninterrupted(self._thread, connection.begin)
        except BaseException:
            await self.close()
            raise
        return connection

    async def execute(
        self, statement: Executable, parameters: Parameters = None
    ) -> CursorResult[Any]:
        return (await self.begin()).execute(statement, parameters)

    async def execute_in_savepoint(self, statement: Executable) -> CursorResult[Any]:
        connection = await self.begin()
        with connection.begin_nested():
            return connection.execute(statement)

    async def commit(self) -> None:
        if self._connection is not None:
            await _uninterrupted(self._thread, self._connection.commit)
            await self.close()  # what follows a commit must not keep other writers waiting

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            finally:
                self._lock.release()


async def _uninterrupted(thread: ThreadPoolExecutor, act: Callable[[], T]) -> T:
    """Run in the thread; a cancelled caller waits for the end all the same, since nobody else may
    touch the connection until then.
    """
    future = asyncio.get_running_loop().run_in_executor(thread, act)
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        future.exception()
        raise asyncio.CancelledError
    return future.result()


def migrator(url: URL) -> Engine:
    engine = create_engine(
        _file_url(url, mode="rwc"),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"isolation_level": None, "timeout": 60},
    )

    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _sqlite_engine(url: URL, *, read_only: bool) -> Engine:
    engine = create_engine(
        _file_url(url, mode="rw"),  # only a migration makes the file, with its permissions
        pool_size=_IDLE_READERS if read_only else 1,
        max_overflow=-1,  # a pool that waits would hold up the loop
        hide_parameters=True,  # an exception's text must not quote what a row holds
        isolation_level="AUTOCOMMIT" if read_only else None,
        skip_autocommit_rollback=read_only,
        connect_args={
            "isolation_level": None,
            "check_same_thread": False,
            "timeout": _READER_BUSY_SECONDS if read_only else _BUSY_SECONDS,
        },
    )

    def prepare(connection: Any, _record: Any) -> None:
        for pragma in _pragmas(read_only=read_only):
            connection.execute(pragma)

    event.listen(engine, "connect", prepare)
    if not read_only:
        event.listen(engine, "begin", _begin_immediate)
    return engine


def _pragmas(*, read_only: bool) -> tuple[str, ...]:
    return (
        "PRAGMA foreign_keys = ON",
        "PRAGMA synchronous = FULL",
        # Without it REPLACE would delete audit rows past their trigger.
        "PRAGMA recursive_triggers = ON",
        "PRAGMA trusted_schema = OFF",
        f"PRAGMA query_only = {'ON' if read_only else 'OFF'}",
    )


def _begin_immediate(connection: Any) -> None:
    """Take the write lock at once: an upgrade in mid-transaction can fail without a retry."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _file_url(url: URL, *, mode: str) -> URL:
    path = quote(str(url.database))
    return URL.create("sqlite", database=f"file:{path}", query={"mode": mode, "uri": "true"})
