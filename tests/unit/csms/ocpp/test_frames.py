"""Frames (Part 4 §4.2): what is one, and what a broken one is answered with (threat D01)."""

import json

import pytest

from csms.ocpp.errors import CallError, CallErrorCode
from csms.ocpp.frames import (
    Call,
    CallErrorFrame,
    CallResult,
    Malformed,
    encode_call,
    encode_call_error,
    encode_call_result,
    parse,
)

FRAMEWORK = CallErrorCode.RPC_FRAMEWORK_ERROR
FORMAT = CallErrorCode.FORMAT_VIOLATION
TYPE = CallErrorCode.MESSAGE_TYPE_NOT_SUPPORTED
SECRET = "hunter2"


def test_call() -> None:
    assert parse('[2,"a","Reset",{"type":"OnIdle"}]') == Call("a", "Reset", {"type": "OnIdle"})


def test_call_result() -> None:
    assert parse('[3,"a",{"status":"Accepted"}]') == CallResult("a", {"status": "Accepted"})


def test_call_error() -> None:
    frame = parse('[4,"a","NotSupported","no",{"b":1}]')
    assert frame == CallErrorFrame("a", "NotSupported", "no", {"b": 1})


def test_message_id_of_36_characters_passes() -> None:
    assert parse(f'[2,"{"x" * 36}","Reset",{{}}]') == Call("x" * 36, "Reset", {})


def test_message_id_minus_one_is_an_id_like_any_other() -> None:
    assert parse('[2,"-1","Reset",{}]') == Call("-1", "Reset", {})


def test_payload_of_any_type_is_left_to_the_schemas() -> None:
    assert parse('[2,"a","Reset",null]') == Call("a", "Reset", None)


@pytest.mark.parametrize(
    ("text", "message_id", "code"),
    [
        ("hunter2", "-1", FRAMEWORK),
        ("", "-1", FRAMEWORK),
        ("{}", "-1", FRAMEWORK),
        ('"hunter2"', "-1", FRAMEWORK),
        ("null", "-1", FRAMEWORK),
        ("[]", "-1", FRAMEWORK),
        ('[2,"a","Reset",{}', "-1", FRAMEWORK),
        ('[2,"a","Reset",{"x":NaN}]', "-1", FRAMEWORK),
        # The message type: an integer, and one of three.
        ('[true,"a","Reset",{}]', "a", FRAMEWORK),
        ('[2.0,"a","Reset",{}]', "a", FRAMEWORK),
        ('["2","a","Reset",{}]', "a", FRAMEWORK),
        ('[null,"a"]', "a", FRAMEWORK),
        ("[[2]]", "-1", FRAMEWORK),
        ("[5]", "-1", TYPE),
        ('[5,"a",{}]', "a", TYPE),
        ('[6,"a","NotifyPeriodicEventStream",{}]', "a", TYPE),
        ('[1,"hunter2-is-37-characters-long-as-an-id",{}]', "-1", TYPE),
        # The id.
        ("[2]", "-1", FRAMEWORK),
        ('[2,"","Reset",{}]', "-1", FRAMEWORK),
        ('[2,7,"Reset",{}]', "-1", FRAMEWORK),
        ('[2,null,"Reset",{}]', "-1", FRAMEWORK),
        (f'[2,"{"x" * 37}","Reset",{{}}]', "-1", FRAMEWORK),
        (r'[2,"a\u0000","Reset",{}]', "-1", FRAMEWORK),
        (r'[2,"\ud800","Reset",{}]', "-1", FRAMEWORK),
        # The shape of a CALL.
        ('[2,"a"]', "a", FRAMEWORK),
        ('[2,"a","Reset"]', "a", FRAMEWORK),
        ('[2,"a","Reset",{},"hunter2"]', "a", FRAMEWORK),
        ('[2,"a",7,{}]', "a", FRAMEWORK),
        # JSON that may not be stored: the id is readable, so the CALL is answered by it.
        ('[2,"a","Reset",{"hunter2":1,"hunter2":1}]', "a", FORMAT),
        (r'[2,"a","Reset",{"x":"hunter2\u0000"}]', "a", FORMAT),
        (r'[2,"a","Reset",{"x":"hunter2\udfff"}]', "a", FORMAT),
        ('[2,"a","Reset",{"x":1e400}]', "a", FORMAT),
        ('[2,"a","Reset",' + "[" * 32 + "]" * 33, "a", FORMAT),
        (' [ 2 , "a" , "Reset", ' + "[" * 500_000, "a", FORMAT),
        ("[" * 500_000, "-1", FRAMEWORK),
    ],
)
def test_malformed_call_is_answered_and_never_repeated(
    text: str, message_id: str, code: CallErrorCode
) -> None:
    frame = parse(text)
    assert isinstance(frame, Malformed)
    assert frame.answer is not None
    assert (frame.message_id, frame.answer.code) == (message_id, code)
    answer = encode_call_error(frame.message_id, frame.answer)
    assert SECRET not in answer
    assert len(frame.answer.description) <= 255
    assert json.loads(answer)[4] == {}


@pytest.mark.parametrize(
    ("text", "message_id"),
    [
        ('[3,"a"]', "a"),
        ('[3,"a",{},{}]', "a"),
        ("[3]", "-1"),
        ('[3,"a",{"x":1,"x":1}]', "a"),
        ('[4,"a"]', "a"),
        ('[4,"a","GenericError","",{},1]', "a"),
        ('[4,"a",7,"",{}]', "a"),
        ('[4,"a","GenericError",null,{}]', "a"),
        ('[4,"a","GenericError","",[]]', "a"),
        ('[4,"a","GenericError","",null]', "a"),
        (r'[4,"a","GenericError","\u0000",{}]', "a"),
        ('[3,"a",' + "[" * 40, "a"),
        (' [ 4 , "a","GenericError","",' + '{"a":' * 40, "a"),
    ],
)
def test_malformed_answer_is_not_answered(text: str, message_id: str) -> None:
    """Two peers that answer each other's answers would never stop."""
    assert parse(text) == Malformed(message_id, answer=None)


def test_payloads_stay_out_of_repr() -> None:
    for text in (
        '[2,"a","Reset",{"x":"hunter2"}]',
        '[3,"a",{"x":"hunter2"}]',
        '[4,"a","GenericError","hunter2",{"x":"hunter2"}]',
    ):
        frame = parse(text)
        assert "'a'" in repr(frame)
        assert SECRET not in repr(frame)


def test_frames_as_text() -> None:
    assert encode_call("a", "Reset", {"type": "OnIdle"}) == '[2,"a","Reset",{"type":"OnIdle"}]'
    assert encode_call_result("a", {}) == '[3,"a",{}]'
    error = CallError(CallErrorCode.SECURITY_ERROR, "no", {"x": 1})
    assert encode_call_error("a", error) == '[4,"a","SecurityError","no",{"x":1}]'
