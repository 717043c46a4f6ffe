"""The generated structs against the `ocpp` package's own validator, over all 128 schemas.

For each schema valid messages are drawn and broken in one place at a time; both sides must give
the same verdict, and our CALLERROR code must be one that the reference's complaint stands for.
We differ in four places, each with its reason and its test: date-time is checked (the reference
looks at no format, and an instant that is none would poison a listing, threat D06), integers have
31 bits and a sign (Part 2, primitive datatypes), decimals have a bound (threat D02), and what the
schemas leave open is bounded (D04).
"""

from random import Random

import pytest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # it ships no types

from csms.ocpp.actions import Action, Kind
from csms.ocpp.errors import CallErrorCode, ProtocolError
from csms.ocpp.schemas import decode, encode, explain
from tests.attacks.sizes import SIZES
from tests.fixtures.ocpp_corpus import Messages, reference, schema_of

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


def verdict(action: Action, kind: Kind, payload: object) -> CallErrorCode | None:
    try:
        decode(action, kind, payload)
    except ProtocolError as error:
        assert explain(action, kind, payload), "a refusal can always be explained"
        return error.code
    return None


def expected_codes(validator: Draft4Validator, payload: object) -> set[CallErrorCode]:
    return {
        CallErrorCode.FORMAT_VIOLATION if error.instance is None else CODES[error.validator]
        for error in validator.iter_errors(payload)
    }


@pytest.mark.parametrize(("action", "kind"), NODES, ids=IDS)
def test_valid_messages_decode_and_come_back_the_same(action: Action, kind: Kind) -> None:
    draw = Messages(schema_of(action, kind), Random(f"valid {action}{kind}"))
    validator = reference(action, kind)
    for number in range(SIZES.corpus_valid):
        message = draw.valid(draw.root, number / (SIZES.corpus_valid - 1))
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
    for payload, schema, new in random.sample(
        everything, min(SIZES.corpus_mutants, len(everything))
    ):
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
