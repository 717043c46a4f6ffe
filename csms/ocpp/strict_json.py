"""JSON as OCPP-J may use it, and nothing beside it (Part 4 §4.1.2, RFC 8259, RFC 7493).

Python's parser takes NaN, Infinity, 1e400, integers of thousands of digits, repeated keys and lone
surrogates, and answers deep nesting with RecursionError; databases then choke on some of what it
took (threats D02, D03, D06). A number is what a double holds (RFC 7493 §2.2), however it is
written: 1e400 and a one with 400 noughts are the same number and get the same answer. How large
one may be in a place of a message is for csms.ocpp.schemas to say.
`read` refuses what is no JSON; what is JSON but may not be stored comes back *with* its flaw, so
that a CALL whose id is readable can be answered by that id. No ValueError escapes from here.
"""

import json
import math
import re
import sys
from enum import StrEnum
from typing import Any, Final, NoReturn

import msgspec

from csms.ocpp.errors import OcppError

Json = Any  # dict[str, Json] | list[Json] | str | int | float | bool | None

DEPTH_LIMIT: Final = 32  # the deepest schema of 2.0.1 nests 11 levels, the frame one more
WIDEST_INTEGER: Final = int(sys.float_info.max)  # of 309 digits


class JsonFlaw(StrEnum):
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    DUPLICATE_KEY = "duplicate_key"
    NUL_CHARACTER = "nul_character"
    LONE_SURROGATE = "lone_surrogate"
    NOT_FINITE = "not_finite"


class JsonRefused(OcppError):
    """The text is no JSON that we take."""

    def __init__(self, flaw: JsonFlaw) -> None:
        self.flaw = flaw
        super().__init__(flaw.value)


# Possessive, so that hostile runs of quotes and backslashes cost linear time. The closing quote
# is optional: the parser proper complains about its absence.
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_MANY_DIGITS: Final = re.compile(r"\d{309}")


def nests_too_deeply(text: str) -> bool:
    """Counted before parsing, since the parser recurses."""
    if text.count("[") + text.count("{") <= DEPTH_LIMIT:
        return False
    depth = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth > DEPTH_LIMIT:
                    return True
            case "]" | "}":
                depth -= 1
    return False


class _Builder:
    """Remembers the first flaw while the C scanner builds the value."""

    def __init__(self) -> None:
        self.flaw: JsonFlaw | None = None

    def object(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        built = dict(pairs)
        if len(built) != len(pairs):
            self.flaw = self.flaw or JsonFlaw.DUPLICATE_KEY
        return built

    def integer(self, literal: str) -> int:
        """Looked at as a double first: the interpreter refuses to read thousands of digits."""
        return int(literal) if math.isfinite(self.number(literal)) else 0

    def number(self, literal: str) -> float:
        value = float(literal)
        if not math.isfinite(value):
            self.flaw = self.flaw or JsonFlaw.NOT_FINITE
        return value


def _no_constant(_: str) -> NoReturn:
    raise JsonRefused(JsonFlaw.NOT_JSON)  # NaN and Infinity are no JSON


def read(text: str) -> tuple[Json, JsonFlaw | None]:
    """The value and what is wrong with it, or JsonRefused."""
    if nests_too_deeply(text):
        raise JsonRefused(JsonFlaw.TOO_DEEP)
    if (value := _canonical(text)) is not None:
        return value, flaw_of(value) if _may_hide_a_flaw(text) else None
    builder = _Builder()
    try:
        value = json.loads(
            text,
            object_pairs_hook=builder.object,
            parse_float=builder.number,
            parse_int=builder.integer,
            parse_constant=_no_constant,
        )
    except ValueError as error:
        raise JsonRefused(JsonFlaw.NOT_JSON) from error
    if builder.flaw is None and _may_hide_a_flaw(text):
        return value, flaw_of(value)
    return value, builder.flaw


def _canonical(text: str) -> Json:
    """The value of text that is its own shortest form, else None; far faster than `json`.

    Text equal to what its value is written as repeats no key, since a value has each key once.
    Whatever is not taken here is left to the parser above, which alone refuses.
    """
    try:
        value = msgspec.json.decode(text)
        return value if msgspec.json.encode(value) == text.encode() else None
    except (msgspec.MsgspecError, ValueError):
        return None


def _may_hide_a_flaw(text: str) -> bool:
    """A NUL or surrogate comes as an escape, or raw in a str that never was UTF-8."""
    return (
        "\\u" in text
        or not text.isascii()
        or (len(text) > 308 and _MANY_DIGITS.search(text) is not None)
    )


def loads(text: str | bytes) -> Json:
    """The value, or JsonRefused for any flaw."""
    try:
        value, flaw = read(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError as error:
        raise JsonRefused(JsonFlaw.NOT_JSON) from error
    if flaw is not None:
        raise JsonRefused(flaw)
    return value


def flaw_of(value: Json) -> JsonFlaw | None:
    """What makes a value unfit to be sent or stored; walks without recursion."""
    level: list[Json] = [value]
    for _ in range(DEPTH_LIMIT + 1):
        following: list[Json] = []
        for item in level:
            match item:
                case dict():
                    following += item.keys()
                    following += item.values()
                case list() | tuple():
                    following += item
                case _ if (flaw := _flaw_of_leaf(item)) is not None:
                    return flaw
        if not following:
            return None
        level = following
    return JsonFlaw.TOO_DEEP


def _flaw_of_leaf(leaf: Json) -> JsonFlaw | None:
    if isinstance(leaf, str):
        if "\0" in leaf:
            return JsonFlaw.NUL_CHARACTER
        return JsonFlaw.LONE_SURROGATE if _SURROGATE.search(leaf) else None
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return JsonFlaw.NOT_FINITE
    if isinstance(leaf, int) and abs(leaf) > WIDEST_INTEGER:
        return JsonFlaw.NOT_FINITE
    return None


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def write(value: Json) -> str:
    """Compact and ASCII only; the value has passed `flaw_of` or came from our structs."""
    return _ENCODER.encode(value)
