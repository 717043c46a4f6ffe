"""The generated structs against the `ocpp` package's own validator, over all 128 schemas.

For each schema valid messages are drawn and broken in one place at a time; both sides must give
the same verdict, and our CALLERROR code must be one that the reference's complaint stands for.
We differ in four places, each with its reason and its test: date-time is checked (the reference
looks at no format, and an instant that is none would poison a listing, threat D06), integers have
31 bits and a sign (Part 2, primitive datatypes), decimals have a bound (threat D02), and what the
schemas leave open is bounded (D04).
"""

import copy
import json
from collections.abc import Iterator
from importlib import resources
from random import Random
from typing import Any

import pytest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # it ships no types
from ocpp.messages import MessageType, get_validator

from csms.ocpp.actions import Action, Kind
from csms.ocpp.errors import CallErrorCode, ProtocolError
from csms.ocpp.schemas import decode, encode, explain

VALID_PER_SCHEMA = 6
MUTANTS_PER_SCHEMA = 100
NODES = [(action, kind) for action in Action for kind in Kind]
IDS = [f"{action}{kind}" for action, kind in NODES]

CODES = {
    "required": CallErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "minItems": CallErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "maxItems": CallErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "type": CallErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "enum": CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "maxLength": CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "minimum": CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "maximum": CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "additionalProperties": CallErrorCode.FORMAT_VIOLATION,
}
REPLACEMENTS: tuple[Any, ...] = (None, True, 7, -7, 1.0, 1.5, "x", "", [], ["x"], {}, {"x": 1})
Path = tuple[str | int, ...]


def schema_of(action: Action, kind: Kind) -> dict[str, Any]:
    file = resources.files("ocpp") / "v201" / "schemas" / f"{action}{kind}.json"
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8-sig"))
    return loaded


def reference(action: Action, kind: Kind) -> Draft4Validator:
    number = MessageType.Call if kind is Kind.REQUEST else MessageType.CallResult
    return get_validator(number, action.value, "2.0.1")


class Messages:
    """Draws valid messages from a schema and breaks them in one place."""

    def __init__(self, root: dict[str, Any], random: Random) -> None:
        self.root = root
        self.random = random

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.root["definitions"][name] if name else schema

    def valid(self, schema: dict[str, Any], optional: float) -> Any:
        schema = self.resolve(schema)
        random = self.random
        if "enum" in schema:
            return random.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self.valid_object(schema, optional)
            case "array":
                count = random.randint(schema["minItems"], min(schema.get("maxItems", 3), 3))
                return [self.valid(schema["items"], optional) for _ in range(count)]
            case "string" if schema.get("format") == "date-time":
                return f"{random.randint(1970, 2100)}-0{random.randint(1, 9)}-28T23:59:59Z"
            case "string":
                size = random.choice([0, 1, 5, schema.get("maxLength", 40)])
                return "".join(random.choices("aZ9 é\U0001f600\\\"'", k=size))
            case "integer":
                low, high = schema.get("minimum", -(2**31)), schema.get("maximum", 2**31 - 1)
                return random.choice([int(low), int(high), random.randint(int(low), int(high)), 1])
            case "number":
                low, high = schema.get("minimum", -1e9), schema.get("maximum", 1e9)
                return random.choice([low, high, random.uniform(low, high), 3])
            case "boolean":
                return random.random() < 0.5
        return random.choice(["x", 1, None, {"y": [1]}])

    def valid_object(self, schema: dict[str, Any], optional: float) -> dict[str, Any]:
        required = schema.get("required", [])
        drawn = {
            name: self.valid(part, optional * 0.7)
            for name, part in schema["properties"].items()
            if name in required or self.random.random() < optional
        }
        if schema.get("additionalProperties") is not False:
            drawn["open"] = {"anything": [1, None]}
        return drawn

    def places(self, schema: dict[str, Any], value: Any, path: Path = ()) -> Iterator[Any]:
        """(path, schema) of every node that the schema knows."""
        schema = self.resolve(schema)
        yield path, schema
        if isinstance(value, dict) and "properties" in schema:
            for name, part in value.items():
                if name in schema["properties"]:
                    yield from self.places(schema["properties"][name], part, (*path, name))
        elif isinstance(value, list) and "items" in schema:
            for position, part in enumerate(value):
                yield from self.places(schema["items"], part, (*path, position))

    def mutants(self, message: Any) -> Iterator[tuple[Any, dict[str, Any], Any]]:
        """(message, schema of the place, value put there)."""
        for path, schema in self.places(self.root, message):
            old = at(message, path)
            for new in (*REPLACEMENTS, *self.at_the_bounds(schema, old)):
                yield put(message, path, new), schema, new

    @staticmethod
    def at_the_bounds(schema: dict[str, Any], old: Any) -> Iterator[Any]:
        if isinstance(old, dict):
            yield old | {"unknown": 1}
            for name in old:
                yield {key: part for key, part in old.items() if key != name}
        if isinstance(old, list):
            yield old * schema.get("maxItems", 1)
            yield old * (schema.get("maxItems", 1) + 1)
        if "maxLength" in schema:
            yield "x" * schema["maxLength"]
            yield "x" * (schema["maxLength"] + 1)
        for bound in ("minimum", "maximum"):
            if bound in schema:
                yield from (schema[bound] - 1, schema[bound] + 1, int(schema[bound]))


def at(message: Any, path: Path) -> Any:
    for step in path:
        message = message[step]
    return message


def put(message: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    changed = copy.deepcopy(message)
    at(changed, path[:-1])[path[-1]] = new
    return changed


def verdict(action: Action, kind: Kind, payload: Any) -> CallErrorCode | None:
    try:
        decode(action, kind, payload)
    except ProtocolError as error:
        assert explain(action, kind, payload), "a refusal can always be explained"
        return error.code
    return None


def expected_codes(validator: Draft4Validator, payload: Any) -> set[CallErrorCode]:
    return {
        CallErrorCode.FORMAT_VIOLATION if error.instance is None else CODES[error.validator]
        for error in validator.iter_errors(payload)
    }


@pytest.mark.parametrize(("action", "kind"), NODES, ids=IDS)
def test_valid_messages_decode_and_come_back_the_same(action: Action, kind: Kind) -> None:
    draw = Messages(schema_of(action, kind), Random(f"valid {action}{kind}"))
    validator = reference(action, kind)
    for number in range(VALID_PER_SCHEMA):
        message = draw.valid(draw.root, number / (VALID_PER_SCHEMA - 1))
        assert validator.is_valid(message)
        assert encode(decode(action, kind, message)) == message
        assert explain(action, kind, message) == []


@pytest.mark.parametrize(("action", "kind"), NODES, ids=IDS)
def test_singly_mutated_messages_get_the_references_verdict(action: Action, kind: Kind) -> None:
    random = Random(f"mutated {action}{kind}")
    draw = Messages(schema_of(action, kind), random)
    validator = reference(action, kind)
    everything = list(draw.mutants(draw.valid(draw.root, 0.8)))
    refused = 0
    for payload, schema, new in random.sample(everything, min(MUTANTS_PER_SCHEMA, len(everything))):
        ours, theirs = verdict(action, kind, payload), expected_codes(validator, payload)
        refused += bool(theirs)
        if theirs:
            assert ours in theirs, (payload, ours, theirs)
        elif isinstance(new, str) and schema.get("format") == "date-time":
            assert ours is CallErrorCode.FORMAT_VIOLATION, payload
        else:
            assert ours is None, (payload, ours)
    assert refused, "a mutation that nobody refuses shows nothing"


@pytest.mark.parametrize("wide", [2**31, -(2**31) - 1, 10**30])
def test_wide_integers_are_the_second_explained_difference(wide: int) -> None:
    payload = {"evseId": wide, "connectorId": 1, "connectorStatus": "Available"}
    payload["timestamp"] = "2026-01-31T10:00:00Z"
    action, kind = Action.STATUS_NOTIFICATION, Kind.REQUEST
    assert reference(action, kind).is_valid(payload)
    assert verdict(action, kind, payload) is CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION


def test_bounds_of_open_places_are_the_third() -> None:
    """Threat D04: neither customData nor DataTransfer.data has a bound in the schemas."""
    payload = {"customData": {"vendorId": "v", "x": "y" * 9000}}
    assert reference(Action.HEARTBEAT, Kind.REQUEST).is_valid(payload)
    assert verdict(Action.HEARTBEAT, Kind.REQUEST, payload) is not None


@pytest.mark.parametrize("wide", [1e308, -1.1e15, 10**15 + 1])
def test_wide_decimals_are_the_fourth(wide: float) -> None:
    """Threat D02: what is summed up later must stay finite."""
    payload = {"totalCost": wide, "transactionId": "t"}
    assert reference(Action.COST_UPDATED, Kind.REQUEST).is_valid(payload)
    code = verdict(Action.COST_UPDATED, Kind.REQUEST, payload)
    assert code is CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION


def test_draft_4_decides_and_1_0_is_no_integer() -> None:
    """The files say draft-06, where 1.0 is one; the reference validator reads them as Draft 4."""
    payload = {"requestId": 1.0, "reportBase": "FullInventory"}
    assert not reference(Action.GET_BASE_REPORT, Kind.REQUEST).is_valid(payload)
    code = verdict(Action.GET_BASE_REPORT, Kind.REQUEST, payload)
    assert code is CallErrorCode.TYPE_CONSTRAINT_VIOLATION
