"""Pages, cursors, and reading that is total.

A cursor is the sort key of the last item, as base64url of a JSON list with the listing's name.
It grants nothing and is checked like any outside text: what we did not make is CursorInvalid.
A row that cannot be read (by an older or newer version, or after a hostile write) is logged and
left out; it never takes the listing with it (D06).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Row, Select, tuple_

from csms.ports.store import CursorInvalid, Page
from csms.store.transaction import Transaction

log = structlog.get_logger()
T = TypeVar("T")
MAXIMUM_LIMIT: Final = 500
_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_MAXIMUM_NUMBER: Final = (1 << 63) - 1


def number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAXIMUM_NUMBER:
        raise ValueError("no position")
    return value


def instant(value: Any) -> datetime:
    parsed = datetime.fromisoformat(value)
    if parsed.tzinfo is None:
        raise ValueError("a time without a zone")
    return parsed


def word(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("no text")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """An order that ends in a unique column, and how to read that order back from a cursor."""

    name: str
    order: tuple[ColumnElement[Any], ...]
    key: tuple[Callable[[Any], Any], ...]
    newest_first: bool = False

    async def page(
        self,
        transaction: Transaction,
        statement: Select[Any],
        readable: Callable[[Row[Any]], T | None],
        *,
        limit: int,
        cursor: str | None,
    ) -> Page[T]:
        limit = min(max(limit, 1), MAXIMUM_LIMIT)
        ordered = self._ordered(statement, cursor).add_columns(*self.order).limit(limit + 1)
        rows = await transaction.rows(ordered)
        items = [item for row in rows[:limit] if (item := readable(row)) is not None]
        more = len(rows) > limit
        return Page(items, self.cursor(rows[limit - 1][-len(self.order) :]) if more else None)

    def _ordered(self, statement: Select[Any], cursor: str | None) -> Select[Any]:
        if cursor is not None:
            place = tuple_(*self.order)
            last = self.position(cursor)
            statement = statement.where(place < last if self.newest_first else place > last)
        return statement.order_by(*(c.desc() if self.newest_first else c.asc() for c in self.order))

    def cursor(self, values: Sequence[Any]) -> str:
        texts = [
            v.isoformat() if isinstance(v, datetime) else str(v) if isinstance(v, UUID) else v
            for v in values
        ]
        document = json.dumps([self.name, *texts], separators=(",", ":"))
        return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")

    def position(self, cursor: str) -> tuple[Any, ...]:
        """Raises CursorInvalid."""
        try:
            document = _decoded(cursor)
            name, *values = document
            if name != self.name:
                raise CursorInvalid("the cursor belongs to another listing")
            return tuple(read(value) for read, value in zip(self.key, values, strict=True))
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise CursorInvalid("the cursor did not come from us") from error


def _decoded(cursor: str) -> list[Any]:
    if _CURSOR.fullmatch(cursor) is None:
        raise ValueError("no base64url")
    padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
    document = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    if not isinstance(document, list) or not document:
        raise ValueError("no list")
    return document


def reader(
    table: str, to_domain: Callable[[Mapping[str, Any]], T]
) -> Callable[[Row[Any]], T | None]:
    """A mapper over named columns that answers None for a row it cannot make sense of."""

    def readable(row: Row[Any]) -> T | None:
        return guarded(table, to_domain, row._mapping)  # noqa: SLF001 -- SQLAlchemy's public name for it

    return readable


def guarded(table: str, to_domain: Callable[[Any], T], values: Any) -> T | None:
    try:
        return to_domain(values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.error("row_unreadable", table=table, error=type(error).__name__)  # noqa: TRY400 -- a traceback would show the row
        return None
