"""The two databases: how to connect, with which guards, and on which thread.

Durability: an answer is sent after the commit that holds it (decision 5), and a commit must
survive a power cut (A04), so SQLite runs with synchronous=FULL: in WAL mode NORMAL may lose the
last commits. PostgreSQL's own default, synchronous_commit=on, is left alone.

SQLite statements run on the event loop's own thread: they take tens of microseconds, where a hop
to another thread and back costs hundreds (admission: 60 µs against 700 µs). Only what can wait,
for the disk or for another process's lock, goes to a thread: BEGIN IMMEDIATE and COMMIT.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Engine,
    Executable,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
_SQLITE_NAMES: Final = frozenset({"sqlite", "sqlite+aiosqlite"})
_POSTGRESQL_NAME: Final = "postgresql+asyncpg"
# An OLTP statement that takes longer is stuck; the caller gets StoreUnavailable and decides.
_SERVER_SETTINGS: Final = {
    "application_name": "csms",
    "statement_timeout": "5000",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "15000",
}
_BUSY_SECONDS: Final = 5.0
_READER_BUSY_SECONDS: Final = 0.1  # it would hold up the loop; WAL readers hardly ever wait
_IDLE_READERS: Final = 4


class DatabaseURLInvalid(ValueError):
    """Neither SQLite with a file nor postgresql+asyncpg."""


class DatabaseConnection(Protocol):
    """One connection, used by one unit of work."""

    on_postgresql: bool

    async def execute(
        self, statement: Executable, parameters: Parameters = None
    ) -> CursorResult[Any]: ...

    async def execute_in_savepoint(self, statement: Executable) -> CursorResult[Any]: ...

    async def commit(self) -> None: ...

    async def close(self) -> None:
        """Give it back, rolled back."""


class Database(Protocol):
    async def connect(self, *, writable: bool) -> DatabaseConnection: ...

    async def close(self) -> None: ...


def database_url(text: str) -> URL:
    """Raises DatabaseURLInvalid; the message never holds the URL, which may hold a password."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise DatabaseURLInvalid("the database URL cannot be read") from None
    if url.drivername == _POSTGRESQL_NAME:
        return url
    if url.drivername not in _SQLITE_NAMES or url.database in {None, "", ":memory:"}:
        raise DatabaseURLInvalid("the database is sqlite+aiosqlite:///file or postgresql+asyncpg")
    return url


def is_sqlite(url: URL) -> bool:
    return url.drivername in _SQLITE_NAMES


def open_database(url: URL, *, pool_size: int) -> Database:
    return SQLiteDatabase(url) if is_sqlite(url) else PostgreSQLDatabase(url, pool_size=pool_size)


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

    async def execute_in_savepoint(self, statement: Executable) -> CursorResult[Any]:
        async with self._connection.begin_nested():
            return await self._connection.execute(statement)

    async def commit(self) -> None:
        await self._connection.commit()

    async def close(self) -> None:
        # Shielded: a cancelled unit still gives its connection back.
        await asyncio.shield(self._connection.close())


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


def sqlite_migrator(url: URL) -> Engine:
    engine = create_engine(
        _file_url(url, mode="rwc"),
        poolclass=NullPool,
        connect_args={"isolation_level": None, "timeout": 60},
    )

    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def postgresql_migrator(url: URL) -> AsyncEngine:
    """No statement timeout: a migration may take its time."""
    settings = {"application_name": "csms migrate", "lock_timeout": "60000"}
    return create_async_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"server_settings": settings, "timeout": 10},
    )


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


def _nothing() -> None:
    """A reader holds no lock."""


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
