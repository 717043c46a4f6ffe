"""Column types that mean the same on SQLite and PostgreSQL, and that hostile text cannot break.

What a station says may hold NUL or lone surrogates when a decoder has missed them. PostgreSQL
refuses both, and a refused insert loses the message (M15, D06): these types store the replacement
character instead, so that every row that was acknowledged can be written and read.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

REPLACEMENT: Final = "\ufffd"
# A 64-bit counter that SQLite takes for its rowid.
Counter: Final = BigInteger().with_variant(Integer(), "sqlite")


def storable(text: str) -> str:
    """The text without what no database column can hold."""
    if text.isascii() and "\0" not in text:
        return text
    replaced = text.replace("\0", REPLACEMENT).encode("utf-8", "surrogatepass")
    return replaced.decode("utf-8", "replace")


def _word(value: str | None) -> str | None:
    return None if value is None else storable(str(value))


_encode: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


class Words(TypeDecorator[str]):
    """Text; also as the other side of a comparison, so that a lookup by hostile text finds
    nothing rather than fails.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # Byte order, as SQLite has it: a collation of the operating system may change under an
        # index, and then unique is unique no more.
        return Text(collation="C" if dialect.name == "postgresql" else None)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 -- SQLAlchemy\'s signature
        return _word(value)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:  # noqa: ARG002 -- SQLAlchemy\'s signature
        """Straight away: neither database's own text type has anything to add."""
        return _word


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC in, aware UTC out; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 -- SQLAlchemy\'s signature
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone is no time")
        return value if value.tzinfo is UTC else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 -- SQLAlchemy\'s signature
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


class JSONText(TypeDecorator[Any]):
    r"""JSON as ASCII text: `\u0000` and lone surrogates stay escapes, which jsonb would refuse."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:  # noqa: ARG002 -- SQLAlchemy\'s signature
        return _encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002 -- SQLAlchemy\'s signature
        """What is no JSON reads as null: the mapper refuses that row, and only that row."""
        try:
            return None if value is None else json.loads(value)
        except ValueError:
            return None
