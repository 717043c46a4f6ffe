"""Frames in and out, written down by hand."""

import pytest

from station.codec import (
    Call,
    CallError,
    CallResult,
    ErrorCode,
    Frame,
    FrameInvalid,
    decode,
    encode,
)


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ('[2,"a","Heartbeat",{}]', Call("a", "Heartbeat", {})),
        ('[3,"a",{"status":"Accepted"}]', CallResult("a", {"status": "Accepted"})),
        ('[4,"a","GenericError","no",{}]', CallError("a", "GenericError", "no", {})),
        ('[4,"-1","RpcFrameworkError","",{}]', CallError("-1", "RpcFrameworkError", "", {})),
    ],
)
def test_good_frame_is_read_and_written_the_same(text: str, frame: Frame) -> None:
    assert decode(text) == frame
    assert encode(frame) == text


@pytest.mark.parametrize(
    ("text", "code", "message_id"),
    [
        ("", ErrorCode.RPC_FRAMEWORK_ERROR, "-1"),
        ("{}", ErrorCode.RPC_FRAMEWORK_ERROR, "-1"),
        ("[]", ErrorCode.RPC_FRAMEWORK_ERROR, "-1"),
        ("[" * 100_000, ErrorCode.RPC_FRAMEWORK_ERROR, "-1"),
        ('[2,"a","Heartbeat",{"x":NaN}]', ErrorCode.RPC_FRAMEWORK_ERROR, "-1"),
        ('[5,"a",{}]', ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED, "a"),
        ('["2","a","Heartbeat",{}]', ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED, "a"),
        ("[true]", ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED, "-1"),
        ('[2,7,"Heartbeat",{}]', ErrorCode.RPC_FRAMEWORK_ERROR, "-1"),
        (f'[2,"{"x" * 37}","Heartbeat",{{}}]', ErrorCode.RPC_FRAMEWORK_ERROR, "-1"),
        ('[2,"a","Heartbeat"]', ErrorCode.RPC_FRAMEWORK_ERROR, "a"),
        ('[2,"a","Heartbeat",[]]', ErrorCode.RPC_FRAMEWORK_ERROR, "a"),
        ('[3,"a",{},{}]', ErrorCode.RPC_FRAMEWORK_ERROR, "a"),
    ],
)
def test_bad_frame_says_which_callerror_answers_it(
    text: str, code: ErrorCode, message_id: str
) -> None:
    with pytest.raises(FrameInvalid) as caught:
        decode(text)
    assert (caught.value.code, caught.value.message_id) == (code, message_id)


def test_unhashable_message_type_is_no_crash() -> None:
    with pytest.raises(FrameInvalid):
        decode('[[2],"a","Heartbeat",{}]')


def test_description_is_cut_to_255_characters() -> None:
    text = encode(CallError("a", "GenericError", "x" * 300, {}))
    frame = decode(text)
    assert isinstance(frame, CallError)
    assert len(frame.description) == 255
