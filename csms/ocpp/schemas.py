"""Payloads against the official schemas of OCPP 2.0.1: decode, explain, encode.

`decode` is the ordinary path: one msgspec conversion into the generated struct. Only when that
fails does `jsonschema-rs` look at the same schema, to say which rule was broken and so which
CALLERROR code is due (Part 4 §4.3). Explanations name JSON pointers and limits of the schema,
never the peer's values or property names, and are ours word for word.

Stricter than the schemas, by the standard's own text or against records that no database can
return (threats D02, D04, D06): integers have 31 bits and a sign (Part 2, primitive datatypes),
decimals are at most 10^15, date-time is checked (RFC 3339, years 1970-2100), customData and
DataTransfer.data are bounded in size, depth and the width of their integers. Where real stations
are careless an instant is read all the same: any number of decimals (kept to the microsecond), any
offset, a space for the T, an offset without its colon. A leap second is refused: clocks that count
as POSIX does never show one, and nothing that stores instants has a place for it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from itertools import islice
from typing import Any, Final

import jsonschema_rs
import msgspec

from csms.ocpp.actions import Action, Kind
from csms.ocpp.errors import CallErrorCode, ProtocolError
from csms.ocpp.messages.base import CustomDataType, DateTime, Message, check_years, from_wire
from csms.ocpp.messages.json_schemas import DEFINITIONS, MESSAGES
from csms.ocpp.messages.requests import REQUESTS
from csms.ocpp.messages.responses import RESPONSES
from csms.ocpp.strict_json import Json, JsonRefused, flaw_of, loads

VIOLATION_LIMIT: Final = 20  # one hostile payload must not earn a thousand lines
TYPES: Final[Mapping[Kind, Mapping[str, type[Message]]]] = {
    Kind.REQUEST: REQUESTS,
    Kind.RESPONSE: RESPONSES,
}


class Rule(StrEnum):
    """Which keyword of the schema was broken."""

    ADDITIONAL_PROPERTY = "additionalProperties"
    NULL = "null"
    UNSTORABLE = "unstorable"
    FORMAT = "format"
    TYPE = "type"
    REQUIRED = "required"
    MIN_ITEMS = "minItems"
    MAX_ITEMS = "maxItems"
    ENUM = "enum"
    MAX_LENGTH = "maxLength"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    SIZE = "size"


# In order of precedence: a payload may break several rules and gets one code, that of the first.
CODES: Final[Mapping[Rule, CallErrorCode]] = {
    Rule.UNSTORABLE: CallErrorCode.FORMAT_VIOLATION,
    Rule.ADDITIONAL_PROPERTY: CallErrorCode.FORMAT_VIOLATION,
    Rule.NULL: CallErrorCode.FORMAT_VIOLATION,
    Rule.FORMAT: CallErrorCode.FORMAT_VIOLATION,
    Rule.TYPE: CallErrorCode.TYPE_CONSTRAINT_VIOLATION,
    Rule.REQUIRED: CallErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    Rule.MIN_ITEMS: CallErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    Rule.MAX_ITEMS: CallErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    Rule.ENUM: CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    Rule.MAX_LENGTH: CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    Rule.MINIMUM: CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    Rule.MAXIMUM: CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    Rule.SIZE: CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
}
_PRECEDENCE: Final = {rule: position for position, rule in enumerate(CODES)}


@dataclass(frozen=True, slots=True)
class SchemaViolation:
    """One broken rule, fit for a CALLERROR, a 422 answer and the log."""

    pointer: str  # RFC 6901, "" is the payload itself
    rule: Rule
    message: str


def decode(action: Action, kind: Kind, payload: Json) -> Message:
    """The payload as its struct, or ProtocolError with the CALLERROR that is due.

    `payload` is JSON text as bytes, or a value that `strict_json` has read; a str is such a value
    and no text, or `[2,"a","Heartbeat","{}"]` would pass.
    """
    try:
        value = loads(payload) if isinstance(payload, bytes) else payload
        return msgspec.convert(value, TYPES[kind][action], dec_hook=from_wire)
    except JsonRefused as error:
        raise ProtocolError(
            CallErrorCode.FORMAT_VIOLATION, f"The payload is refused: {error.flaw}."
        ) from error
    except msgspec.ValidationError as error:
        # The cause is dropped on purpose: its text repeats the peer's values.
        refusal = _refusal(explain(action, kind, value) or [_by_decoder(str(error))])
    raise refusal


def explain(action: Action, kind: Kind, payload: Json) -> list[SchemaViolation]:
    """Every rule that the payload breaks, worst first; empty when it decodes."""
    if flaw := flaw_of(payload):
        return [SchemaViolation("", Rule.UNSTORABLE, f"is refused: {flaw.replace('_', ' ')}")]
    errors = islice(_validator(action, kind).iter_errors(payload), VIOLATION_LIMIT)
    if found := [_violation(error) for error in errors]:
        return sorted(found, key=lambda one: (_PRECEDENCE[one.rule], one.pointer))
    try:
        msgspec.convert(payload, TYPES[kind][action], dec_hook=from_wire)
    except msgspec.ValidationError as error:
        return [_by_decoder(str(error))]
    return []


def encode(message: Message) -> dict[str, Json]:
    """The JSON of a struct: unset fields omitted, instants as UTC `Z` with at most milliseconds."""
    raw = msgspec.to_builtins(message, builtin_types=(datetime,), enc_hook=_custom_data)
    wire: dict[str, Json] = _on_the_wire(raw)
    return wire


def _custom_data(value: object) -> dict[str, Json]:
    if isinstance(value, CustomDataType):
        return value.content
    raise TypeError(f"no JSON for {type(value).__name__}")


def _on_the_wire(value: Json) -> Json:
    match value:
        case datetime():
            # Part 2 §3.1: RFC 3339, UTC recommended, at most three decimals, best none.
            precision = "milliseconds" if value.microsecond >= 1000 else "seconds"
            return value.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")
        case dict():
            return {key: _on_the_wire(part) for key, part in value.items()}
        case list() | tuple():
            return [_on_the_wire(part) for part in value]
    return value


def _refusal(violations: list[SchemaViolation]) -> ProtocolError:
    first = violations[0]
    return ProtocolError(CODES[first.rule], f"{first.pointer or 'The payload'} {first.message}.")


def _by_decoder(text: str) -> SchemaViolation:
    """What only our own structs refuse: size and depth of the two places the schemas leave open."""
    path = re.search(r" - at `\$([\w.\[\]]*)`$", text)
    pointer = re.sub(r"[.\[]", "/", path[1]).replace("]", "") if path else ""
    return SchemaViolation(pointer, Rule.SIZE, "is larger or deeper than this system takes")


@cache
def _validator(action: Action, kind: Kind) -> jsonschema_rs.Draft4Validator:
    """Draft 4, as the reference validator reads these schemas: 1.0 is no integer there."""
    schema = {
        **json.loads(MESSAGES[action + kind]),
        "definitions": {name: json.loads(text) for name, text in DEFINITIONS.items()},
    }
    _bound_numbers(schema)
    return jsonschema_rs.Draft4Validator(
        schema, validate_formats=True, formats={"date-time": _is_instant}
    )


def _bound_numbers(schema: Any) -> None:
    """As tools/generate_messages.py bounds the structs."""
    match schema:
        case {"type": "integer"}:
            schema.setdefault("minimum", -(2**31))
            schema.setdefault("maximum", 2**31 - 1)
        case {"type": "number"}:
            schema.setdefault("minimum", -(10**15))
            schema.setdefault("maximum", 10**15)
        case dict():
            for part in schema.values():
                _bound_numbers(part)


def _is_instant(text: str) -> bool:
    try:
        check_years(msgspec.convert(text, DateTime))
    except ValueError:
        return False
    return True


def _violation(error: jsonschema_rs.ValidationError) -> SchemaViolation:
    """Our words for one error; the validator's own message quotes the instance."""
    pointer = "".join(f"/{part}" for part in error.instance_path)
    detail: Any = error.kind
    match Rule(error.kind.name):
        case Rule.REQUIRED as rule:
            return SchemaViolation(f"{pointer}/{detail.property}", rule, "is required")
        case Rule.TYPE if error.instance is None:
            return SchemaViolation(pointer, Rule.NULL, "is null; what is absent is left out")
        case rule:
            return SchemaViolation(pointer, rule, _MESSAGES[rule](detail))


_MESSAGES: Final[Mapping[Rule, Any]] = {
    Rule.ADDITIONAL_PROPERTY: lambda _: "has a property that the schema does not know",
    Rule.FORMAT: lambda _: "is no RFC 3339 date-time of the years 1970 to 2100",
    Rule.TYPE: lambda kind: f"has the wrong JSON type, expected {', '.join(kind.types)}",
    Rule.MIN_ITEMS: lambda kind: f"has fewer than {kind.limit} elements",
    Rule.MAX_ITEMS: lambda kind: f"has more than {kind.limit} elements",
    Rule.ENUM: lambda _: "is none of the values that the schema lists",
    Rule.MAX_LENGTH: lambda kind: f"is longer than {kind.limit} characters",
    Rule.MINIMUM: lambda kind: f"is less than {kind.limit}",
    Rule.MAXIMUM: lambda kind: f"is greater than {kind.limit}",
}
