"""One database transaction: statements in, rows out, and our words for what can go wrong.

    StoreError        anything that is a mistake of ours; the cause is chained
    ├── AlreadyExists     a unique key is taken
    ├── Superseded        the station is gone (foreign key), as good as taken over
    └── StoreUnavailable  no connection, no space, no lock in time: try again later
Errors are told apart by SQLSTATE and by SQLite's result code, never by their text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import asyncpg
from sqlalchemy import CursorResult, Executable, Row, Select, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from csms.ports.store import AlreadyExists, StoreError, StoreUnavailable, Superseded
from csms.store.database import DatabaseConnection, Parameters

# Serialises what must ascend in commit order: audit indexes and outbox sequences.
ORDER_LOCK: Final = 0x4353_4D53
_UNIQUE: Final = frozenset({"23505", 2067, 1555})
_FOREIGN_KEY: Final = frozenset({"23503", 787})
# PostgreSQL: connection, rollback (deadlock), resources, lock not available, operator, login.
_AWAY_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58", "28", "3D"})
# SQLite, primary codes: BUSY LOCKED IOERR CORRUPT FULL CANTOPEN NOTADB.
_AWAY_CODES: Final = frozenset({5, 6, 10, 11, 13, 14, 26})


@contextmanager
def store_errors() -> Iterator[None]:
    """Around calls to the driver only: what a caller's own code raises is not ours to rename."""
    try:
        yield
    except DBAPIError as error:
        raise _meaning(error) from error
    except (OSError, TimeoutError, PoolExhausted, asyncpg.PostgresError) as error:
        raise StoreUnavailable("the database is away") from error
    except asyncpg.InterfaceError as error:
        raise StoreUnavailable("the connection to the database is gone") from error
    except (SQLAlchemyError, OverflowError) as error:
        raise StoreError("the statement could not be made") from error


def _meaning(error: DBAPIError) -> StoreError:
    code = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorcode", None)
    if code in _UNIQUE:
        return AlreadyExists("a unique key is taken")
    if code in _FOREIGN_KEY:
        return Superseded("the station is not there any more")
    if error.connection_invalidated or isinstance(error, InterfaceError) or _away(code):
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
        with store_errors():
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

    async def add(self, table: Table, values: Mapping[str, Any]) -> None:
        """Insert one row; raises AlreadyExists, after which the transaction can still be used:
        on PostgreSQL a failed INSERT would end it, and the refusal could not be audited.
        """
        if await self.count(self.insert(table).on_conflict_do_nothing(), values) != 1:
            raise AlreadyExists(table.name)

    async def change_or_clash(self, statement: Executable) -> None:
        """As `add`, for an UPDATE that may run into a unique key."""
        with store_errors():
            await self._connection.execute_in_savepoint(statement)

    def insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        return postgresql.insert(table) if self.on_postgresql else sqlite.insert(table)

    def locked(self, statement: Select[Any], *, shared: bool = False) -> Select[Any]:
        """Keep what was read as it is until the end; SQLite's only writer needs no row lock."""
        if self.writable and self.on_postgresql:
            return statement.with_for_update(read=shared)
        return statement
