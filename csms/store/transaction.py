"""One database transaction: statements in, rows out, and our words for what can go wrong.

    StoreError        anything that is a mistake of ours; the cause is chained
    ├── AlreadyExists     a unique key is taken
    ├── Superseded        the station is gone (foreign key), as good as taken over
    └── StoreUnavailable  no connection, no space, no lock in time: try again later
Errors are told apart by SQLSTATE and by SQLite's result code, never by their text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
from sqlalchemy import CursorResult, Executable, Row, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from csms.ports.store import AlreadyExists, StoreError, StoreUnavailable, Superseded
from csms.store.database import DatabaseConnection, Parameters
from csms.store.prepared import Prepared, Values

# Serialises what must ascend in commit order: audit indexes and outbox sequences.
ORDER_LOCK: Final = 0x4353_4D53
_UNIQUE: Final = frozenset({"23505", 2067, 1555})
_FOREIGN_KEY: Final = frozenset({"23503", 787})
# PostgreSQL: connection, rollback (deadlock), resources, lock not available, operator, login.
_AWAY_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58", "28", "3D"})
# SQLite, primary codes: BUSY LOCKED IOERR CORRUPT FULL CANTOPEN NOTADB.
_AWAY_CODES: Final = frozenset({5, 6, 10, 11, 13, 14, 26})


class StoreErrors:
    """Around calls to the driver only: what a caller's own code raises is not ours to rename."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and (renamed := _renamed(error)) is not None:
            raise renamed from error


store_errors: Final = StoreErrors()


def _renamed(error: BaseException) -> StoreError | None:
    match error:
        case DBAPIError():
            lost = error.connection_invalidated or isinstance(error, InterfaceError)
            return _meaning(error.orig, lost=lost)
        case sqlite3.Error():  # of a prepared statement
            return _meaning(error, lost=isinstance(error, sqlite3.InterfaceError))
        case OSError() | TimeoutError() | PoolExhausted() | asyncpg.PostgresError():
            return StoreUnavailable("the database is away")
        case asyncpg.InterfaceError():
            return StoreUnavailable("the connection to the database is gone")
        case SQLAlchemyError() | OverflowError():
            return StoreError("the statement could not be made")
    return None


def _meaning(error: BaseException | None, *, lost: bool) -> StoreError:
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorcode", None)
    if code in _UNIQUE:
        return AlreadyExists("a unique key is taken")
    if code in _FOREIGN_KEY:
        return Superseded("the station is not there any more")
    if lost or _away(code):
        return StoreUnavailable("the database is away")
    return StoreError("the database refused a statement")


def _away(code: str | int | None) -> bool:
    if isinstance(code, int):
        return code & 0xFF in _AWAY_CODES
    return code is not None and code[:2] in _AWAY_CLASSES


class Transaction:
    """What repositories speak to; only the unit of work commits it."""

    def __init__(self, connection: DatabaseConnection, *, writable: bool) -> None:
        self._connection = connection
        self.writable = writable
        self.on_postgresql = connection.on_postgresql

    async def execute(
        self, statement: Executable, parameters: Parameters = None
    ) -> CursorResult[Any]:
        with store_errors:
            return await self._connection.execute(statement, parameters)

    async def first(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Row[Any] | None:
        return (await self.execute(statement, parameters)).first()

    async def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        return (await self.execute(statement)).all()

    async def count(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> int:
        """How many rows the statement changed."""
        return (await self.execute(statement, parameters)).rowcount

    async def fetch(self, prepared: Prepared, **values: Any) -> Sequence[Sequence[Any]]:
        with store_errors:
            return await self._connection.fetch(prepared, values)

    async def fetch_one(self, prepared: Prepared, **values: Any) -> Sequence[Any] | None:
        """The first row, by position."""
        rows = await self.fetch(prepared, **values)
        return rows[0] if rows else None

    async def change(self, prepared: Prepared, **values: Any) -> int:
        """How many rows the statement changed."""
        with store_errors:
            return await self._connection.change(prepared, values)

    async def change_all(self, prepared: Prepared, rows: Sequence[Values]) -> None:
        """Once per row, in their order."""
        if len(rows) == 1:
            await self.change(prepared, **rows[0])
        elif rows:
            with store_errors:
                await self._connection.change_all(prepared, rows)

    async def insert_new(self, addition: Prepared, **values: Any) -> None:
        """As `add`, prepared."""
        if await self.change(addition, **values) != 1:
            raise AlreadyExists("a unique key is taken")

    async def add(self, table: Table, values: Mapping[str, Any]) -> None:
        """Insert one row; raises AlreadyExists, after which the transaction can still be used:
        on PostgreSQL a failed INSERT would end it, and the refusal could not be audited.
        """
        if await self.count(self.insert(table).on_conflict_do_nothing(), values) != 1:
            raise AlreadyExists(table.name)

    async def change_or_clash(self, statement: Executable) -> None:
        """As `add`, for an UPDATE that may run into a unique key."""
        with store_errors:
            await self._connection.execute_in_savepoint(statement)

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        return postgresql.insert(table) if self.on_postgresql else sqlite.insert(table)
