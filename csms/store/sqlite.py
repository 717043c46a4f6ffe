"""SQLite, on the event loop's own thread as far as it cannot wait.

Durability: an answer is sent after the commit that holds it (decision 5), and a commit must
survive a power cut (A04), so synchronous is FULL: in WAL mode NORMAL may lose the last commits.
Measured: 1.5 ms against 0.9 ms for a claim with its audit row.

A statement takes tens of microseconds, a hop to another thread and back hundreds (admission: 70
µs here, 850 µs through a thread per connection). So only what can wait goes to a thread: COMMIT,
for the disk, and a BEGIN IMMEDIATE that has found another process's lock.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import quote

from sqlalchemy import URL, CursorResult, Engine, Executable, create_engine, event
from sqlalchemy.pool import NullPool

from csms.ports.store import StoreError
from csms.store.database import DatabaseConnection, Parameters
from csms.store.prepared import Prepared, Values

_BUSY_SECONDS: Final = 5.0
_READER_BUSY_SECONDS: Final = 0.1  # it would hold up the loop; WAL readers hardly ever wait
_QUEUE_SECONDS: Final = 30.0  # for the writer's lock; also the end of a unit inside a unit
_IDLE_READERS: Final = 4
# Take the write lock at once: an upgrade in mid-transaction can fail without a retry.
_BEGIN: Final = "BEGIN IMMEDIATE"


class _Handle:
    """A connection that stays open between units: SQLAlchemy's, for statements in general, and the
    driver's own, for what is prepared and for a transaction's ends.

    Neither begins or ends a transaction by itself: the driver has no isolation level, and
    SQLAlchemy, whose BEGIN is empty then, is only ever told to roll back.
    """

    def __init__(self, engine: Engine) -> None:
        self.connection = engine.connect()
        self.driver = cast("sqlite3.Connection", self.connection.connection.driver_connection)

    def reset(self) -> bool:
        """Roll back what is open. False, and closed, when it is not to be used again."""
        usable = False
        try:
            if self.connection.in_transaction():
                self.connection.rollback()
            if self.driver.in_transaction:
                self.driver.execute("ROLLBACK")
            usable = not (self.connection.closed or self.connection.invalidated)
        finally:
            if not usable:
                self.close()
        return usable

    def close(self) -> None:
        self.connection.close()


class SQLiteDatabase:
    """One writing connection behind a lock of the event loop, where waiting is cheap and fair
    (SQLite's own way is polling); readers as many as there are units, a few kept open.
    """

    def __init__(self, url: URL) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-commit")
        self._writer = _Writer(_sqlite_engine(url, read_only=False), self._thread)
        self._readers = _Readers(_sqlite_engine(url, read_only=True))

    async def connect(self, *, writable: bool) -> DatabaseConnection:
        if not writable:
            return SQLiteReadingConnection(self._readers)
        connection = SQLiteWritingConnection(self._writer)
        await connection.begin()
        return connection

    async def close(self) -> None:
        self._writer.close()
        self._readers.close()
        self._thread.shutdown(wait=False)


class _Readers:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: list[_Handle] = []
        self._room = _IDLE_READERS

    def take(self) -> _Handle:
        return self._idle.pop() if self._idle else _Handle(self._engine)

    def give_back(self, handle: _Handle) -> None:
        if handle.reset():
            if len(self._idle) < self._room:
                self._idle.append(handle)
            else:
                handle.close()

    def close(self) -> None:
        self._room = 0
        while self._idle:
            self._idle.pop().close()


class SQLiteReadingConnection:
    """Without a transaction: a statement is a snapshot."""

    on_postgresql = False

    def __init__(self, readers: _Readers) -> None:
        self._readers = readers
        self._handle: _Handle | None = readers.take()

    def _open(self) -> _Handle:
        if self._handle is None:
            raise StoreError("the unit has ended")
        return self._handle

    async def execute(
        self, statement: Executable, parameters: Parameters = None
    ) -> CursorResult[Any]:
        return self._open().connection.execute(statement, parameters)

    async def fetch(self, prepared: Prepared, values: Values) -> Sequence[Sequence[Any]]:
        return prepared.fetch(self._open().driver, values)

    async def change(self, prepared: Prepared, values: Values) -> int:
        return prepared.change(self._open().driver, values)  # refused by query_only

    async def change_all(self, prepared: Prepared, rows: Sequence[Values]) -> None:
        prepared.change_all(self._open().driver, rows)

    async def execute_in_savepoint(self, statement: Executable) -> CursorResult[Any]:
        return await self.execute(statement)

    async def commit(self) -> None:
        """There is nothing to commit."""

    async def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._readers.give_back(handle)


class _Writer:
    """The database's one writer; its lock is held exactly while a transaction is open."""

    def __init__(self, engine: Engine, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._thread = thread
        self._lock = asyncio.Lock()
        self._handle: _Handle | None = None
        self._closed = False

    async def begin(self) -> _Handle:
        async with asyncio.timeout(_QUEUE_SECONDS):
            await self._lock.acquire()
        try:
            if self._handle is None:
                self._handle = _Handle(self._engine)
            driver = self._handle.driver
            if not _began_at_once(driver):  # another process writes: that may take its time
                await _uninterrupted(self._thread, lambda: driver.execute(_BEGIN))
        except BaseException:
            self.end()
            raise
        return self._handle

    async def commit(self, handle: _Handle) -> None:
        await _uninterrupted(self._thread, lambda: handle.driver.execute("COMMIT"))

    def end(self) -> None:
        """Roll back what is not committed, and let the next one write."""
        handle, self._handle = self._handle, None
        try:
            if handle is not None and handle.reset():
                if self._closed:
                    handle.close()
                else:
                    self._handle = handle
        finally:
            self._lock.release()

    def close(self) -> None:
        """Now, or when the unit that writes has ended."""
        self._closed = True
        if self._handle is not None and not self._lock.locked():
            self._handle.close()
            self._handle = None


class SQLiteWritingConnection:
    on_postgresql = False

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer
        self._handle: _Handle | None = None

    async def begin(self) -> _Handle:
        if self._handle is None:
            self._handle = await self._writer.begin()
        return self._handle

    async def execute(
        self, statement: Executable, parameters: Parameters = None
    ) -> CursorResult[Any]:
        return (await self.begin()).connection.execute(statement, parameters)

    async def fetch(self, prepared: Prepared, values: Values) -> Sequence[Sequence[Any]]:
        return prepared.fetch((await self.begin()).driver, values)

    async def change(self, prepared: Prepared, values: Values) -> int:
        return prepared.change((await self.begin()).driver, values)

    async def change_all(self, prepared: Prepared, rows: Sequence[Values]) -> None:
        prepared.change_all((await self.begin()).driver, rows)

    async def execute_in_savepoint(self, statement: Executable) -> CursorResult[Any]:
        connection = (await self.begin()).connection
        with connection.begin_nested():
            return connection.execute(statement)

    async def commit(self) -> None:
        if self._handle is not None:
            await self._writer.commit(self._handle)
            await self.close()  # what follows a commit must not keep other writers waiting

    async def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._writer.end()


def _began_at_once(driver: sqlite3.Connection) -> bool:
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        driver.execute(_BEGIN)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
    return True


async def _uninterrupted(thread: ThreadPoolExecutor, act: Callable[[], object]) -> None:
    """Run in the thread; a cancelled caller waits for the end all the same, since nobody else may
    touch the connection until then.
    """
    future = asyncio.get_running_loop().run_in_executor(thread, act)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if not future.cancelled():
            future.exception()
        raise


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
        poolclass=NullPool,  # handles are kept here, where nothing waits
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
    connection.exec_driver_sql(_BEGIN)


def _file_url(url: URL, *, mode: str) -> URL:
    path = quote(str(url.database))
    return URL.create("sqlite", database=f"file:{path}", query={"mode": mode, "uri": "true"})
