"""OCPP-J frames: text to CALL, CALLRESULT, CALLERROR or Malformed, and back (Part 4 §4.2).

`parse` never raises and never repeats the peer's text: a Malformed carries the CALLERROR to send,
which is ours word for word, and the message id only when that is one. Payloads are not looked at
here (csms.ocpp.schemas); sizes are the gateway's business (1009).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from csms.ocpp.errors import CallError, CallErrorCode
from csms.ocpp.strict_json import Json, JsonFlaw, JsonRefused, read, write

MESSAGE_ID_LIMIT: Final = 36  # Part 4 §4.1.4
UNREADABLE_ID: Final = "-1"  # Part 4 §4.2.3

# Enough of a frame's head to know what it is when the rest nests too deeply to be parsed.
_HEAD: Final = re.compile(r'\s*\[\s*([234])\s*,\s*"([^"\\\x00-\x1f\ud800-\udfff]{1,36})"\s*,')


class MessageType(IntEnum):
    CALL = 2
    CALLRESULT = 3
    CALLERROR = 4


@dataclass(frozen=True, slots=True)
class Call:
    """The payload may hold secrets: it stays out of repr (csms.ocpp.redaction before logging)."""

    message_id: str
    action: str
    payload: Json

    def __repr__(self) -> str:
        return f"Call({self.message_id!r}, {self.action!r})"


@dataclass(frozen=True, slots=True)
class CallResult:
    message_id: str
    payload: Json

    def __repr__(self) -> str:
        return f"CallResult({self.message_id!r})"


@dataclass(frozen=True, slots=True)
class CallErrorFrame:
    """A CALLERROR as received: `code` is the peer's word, known or not."""

    message_id: str
    code: str
    description: str
    details: Json

    def __repr__(self) -> str:
        return f"CallErrorFrame({self.message_id!r})"


@dataclass(frozen=True, slots=True)
class Malformed:
    """`answer` is owed to the peer, under `message_id`; None where an answer was malformed.

    A broken CALLRESULT or CALLERROR is never answered (FR.06 is OCPP 2.1): it ends the CALL of
    `message_id`, if there is one.
    """

    message_id: str
    answer: CallError | None


Frame = Call | CallResult | CallErrorFrame | Malformed


def parse(text: str) -> Frame:
    try:
        frame, flaw = read(text)
    except JsonRefused as error:
        return _refused(text, error.flaw)
    if not isinstance(frame, list) or not frame:
        return _no_rpc(UNREADABLE_ID, "A frame is a JSON array that is not empty.")
    message_id = _message_id(frame)
    kind = frame[0]
    if type(kind) is not int:  # true == 1 and 2.0 == 2, but neither is a message type
        return _no_rpc(message_id, "The message type is an integer.")
    if (shape := _SHAPES.get(kind)) is not None:
        return shape(frame, message_id, flaw)
    code = CallErrorCode.MESSAGE_TYPE_NOT_SUPPORTED
    return Malformed(message_id, CallError(code, "Message types are 2, 3 and 4."))


def encode_call(message_id: str, action: str, payload: Json) -> str:
    return write([MessageType.CALL, message_id, action, payload])


def encode_call_result(message_id: str, payload: Json) -> str:
    return write([MessageType.CALLRESULT, message_id, payload])


def encode_call_error(message_id: str, error: CallError) -> str:
    return write(
        [MessageType.CALLERROR, message_id, error.code, error.description, dict(error.details)]
    )


def is_message_id(value: object) -> bool:
    return (
        isinstance(value, str)
        and 1 <= len(value) <= MESSAGE_ID_LIMIT
        and not any(char < " " or "\ud800" <= char <= "\udfff" for char in value)
    )


def _message_id(frame: list[Json]) -> str:
    """The id to answer by; one that is no id is not repeated."""
    return frame[1] if len(frame) > 1 and is_message_id(frame[1]) else UNREADABLE_ID


def _no_rpc(message_id: str, description: str) -> Malformed:
    return Malformed(message_id, CallError(CallErrorCode.RPC_FRAMEWORK_ERROR, description))


def _refused(text: str, flaw: JsonFlaw) -> Malformed:
    if flaw is JsonFlaw.TOO_DEEP and (head := _HEAD.match(text)):
        code = CallErrorCode.FORMAT_VIOLATION
        refusal = CallError(code, "The message nests too deeply.")
        return Malformed(head[2], refusal if int(head[1]) == MessageType.CALL else None)
    return _no_rpc(UNREADABLE_ID, "The message is not valid JSON.")


def _call(frame: list[Json], message_id: str, flaw: JsonFlaw | None) -> Frame:
    if message_id == UNREADABLE_ID and frame[1:2] != [UNREADABLE_ID]:
        return _no_rpc(UNREADABLE_ID, "A message id is a string of 1 to 36 characters.")
    if len(frame) != 4 or not isinstance(frame[2], str):
        return _no_rpc(message_id, "A CALL is [2, message id, action, payload].")
    if flaw is not None:
        description = f"The message is refused: {flaw.replace('_', ' ')}."
        return Malformed(message_id, CallError(CallErrorCode.FORMAT_VIOLATION, description))
    return Call(message_id, frame[2], frame[3])


def _call_result(frame: list[Json], message_id: str, flaw: JsonFlaw | None) -> Frame:
    if len(frame) != 3 or flaw is not None:
        return Malformed(message_id, answer=None)
    return CallResult(message_id, frame[2])


def _call_error(frame: list[Json], message_id: str, flaw: JsonFlaw | None) -> Frame:
    if (
        len(frame) != 5
        or flaw is not None
        or not all(isinstance(part, str) for part in frame[2:4])
        or not isinstance(frame[4], dict)
    ):
        return Malformed(message_id, answer=None)
    return CallErrorFrame(message_id, *frame[2:])


_SHAPES: Final[Mapping[int, Callable[[list[Json], str, JsonFlaw | None], Frame]]] = {
    MessageType.CALL: _call,
    MessageType.CALLRESULT: _call_result,
    MessageType.CALLERROR: _call_error,
}
