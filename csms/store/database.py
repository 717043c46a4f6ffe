"""What the store asks of a database: connections, for one unit of work each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import URL, CursorResult, Executable, make_url
from sqlalchemy.exc import ArgumentError

from csms.store.prepared import Prepared, Values

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
_SQLITE_NAMES: Final = frozenset({"sqlite", "sqlite+aiosqlite"})
_POSTGRESQL_NAME: Final = "postgresql+asyncpg"


class DatabaseURLInvalid(ValueError):
    """Neither SQLite with a file nor postgresql+asyncpg."""


class DatabaseConnection(Protocol):
    """One connection, used by one unit of work."""

    on_postgresql: bool

    async def execute(
        self, statement: Executable, parameters: Parameters = None
    ) -> CursorResult[Any]: ...

    async def fetch(self, prepared: Prepared, values: Values) -> Sequence[Sequence[Any]]: ...

    async def change(self, prepared: Prepared, values: Values) -> int:
        """How many rows the statement changed."""

    async def change_all(self, prepared: Prepared, rows: Sequence[Values]) -> None: ...

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
