"""OCPP-J frames as a Charging Station reads and writes them (Part 4 §4).

Text in, frame out, and back. What the payload means is left to the handlers; whether a CALLRESULT
belongs to one of our CALLs is left to the link. Only `FrameInvalid` comes out of bad input.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

_CALL: Final = 2
_RESULT: Final = 3
_ERROR: Final = 4

# Part 4 §4.2.3: the id of an answer to a frame whose own id cannot be read.
UNREADABLE_ID: Final = "-1"
_MESSAGE_ID_LENGTH: Final = 36
_DESCRIPTION_LENGTH: Final = 255

Payload = dict[str, Any]


class ErrorCode(StrEnum):
    """CALLERROR codes of Part 4 §4.3."""

    FORMAT_VIOLATION = "FormatViolation"
    GENERIC_ERROR = "GenericError"
    INTERNAL_ERROR = "InternalError"
    MESSAGE_TYPE_NOT_SUPPORTED = "MessageTypeNotSupported"
    NOT_IMPLEMENTED = "NotImplemented"
    NOT_SUPPORTED = "NotSupported"
    OCCURRENCE_CONSTRAINT_VIOLATION = "OccurrenceConstraintViolation"
    PROPERTY_CONSTRAINT_VIOLATION = "PropertyConstraintViolation"
    PROTOCOL_ERROR = "ProtocolError"
    RPC_FRAMEWORK_ERROR = "RpcFrameworkError"
    SECURITY_ERROR = "SecurityError"
    TYPE_CONSTRAINT_VIOLATION = "TypeConstraintViolation"


class FrameInvalid(ValueError):
    """The text is no OCPP-J frame; carries what a CALLERROR about it has to say."""

    def __init__(self, code: ErrorCode, description: str, message_id: str = UNREADABLE_ID) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.message_id = message_id


@dataclass(frozen=True, slots=True)
class Call:
    message_id: str
    action: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class CallResult:
    message_id: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class CallError:
    message_id: str
    code: str
    description: str
    details: Payload


Frame = Call | CallResult | CallError


def decode(text: str) -> Frame:
    """One received text message as a frame, or `FrameInvalid`."""
    items = _array(text)
    kind, message_id = items[0], _readable_id(items)
    # By type as well: to Python `true` equals 1, and an array in its place is not hashable.
    if type(kind) is not int or kind not in {_CALL, _RESULT, _ERROR}:
        raise FrameInvalid(ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED, "unknown message type", message_id)
    if message_id == UNREADABLE_ID and kind != _ERROR:
        raise FrameInvalid(ErrorCode.RPC_FRAMEWORK_ERROR, "message id is not readable")
    match items:
        case [2, str(), str(action), dict(payload)]:
            return Call(message_id, action, payload)
        case [3, str(), dict(payload)]:
            return CallResult(message_id, payload)
        case [4, str(), str(code), str(description), dict(details)]:
            return CallError(message_id, code, description, details)
        case _:
            raise FrameInvalid(
                ErrorCode.RPC_FRAMEWORK_ERROR, "not the shape of its message type", message_id
            )


def encode(frame: Frame) -> str:
    """The frame as the text of one WebSocket message."""
    match frame:
        case Call():
            items: list[Any] = [_CALL, frame.message_id, frame.action, frame.payload]
        case CallResult():
            items = [_RESULT, frame.message_id, frame.payload]
        case CallError():
            description = frame.description[:_DESCRIPTION_LENGTH]
            items = [_ERROR, frame.message_id, frame.code, description, frame.details]
    return json.dumps(items, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _array(text: str) -> list[Any]:
    try:
        items = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FrameInvalid(ErrorCode.RPC_FRAMEWORK_ERROR, "not JSON") from error
    if not isinstance(items, list) or not items:
        raise FrameInvalid(ErrorCode.RPC_FRAMEWORK_ERROR, "not a JSON array with content")
    return items


def _readable_id(items: list[Any]) -> str:
    message_id = items[1] if len(items) > 1 else None
    if isinstance(message_id, str) and 0 < len(message_id) <= _MESSAGE_ID_LENGTH:
        return message_id
    return UNREADABLE_ID


def _no_constant(name: str) -> None:
    # NaN and Infinity are Python's JSON, not RFC 8259's.
    raise ValueError(name)
