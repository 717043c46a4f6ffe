"""Who broke what in OCPP-J (OCPP 2.0.1 Part 4 §4.3).

    OcppError
    ├── ProtocolError           the peer broke a rule; carries the CALLERROR that says so
    │   └── SchemaError         the payload does not fit the action's schema
    └── LocalError              we broke a rule; nothing may be sent
        ├── QueueFull           too many CALLs wait for this peer
        ├── MessageIdInUse      a message id was used twice by us
        ├── UnknownCall         the CALL was answered already, or is none of this session's
        ├── InvalidPayload      what we want to send does not fit the schema
        └── SessionClosed       the connection is gone

No error of this tree holds text of a peer: its wording is ours, so that it may be logged and sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

DESCRIPTION_LIMIT: Final = 255  # Part 4 §4.2.3


class CallErrorCode(StrEnum):
    """Part 4 §4.3, table 7. `NotImplemented`: unknown; `NotSupported`: known, not offered."""

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


@dataclass(frozen=True, slots=True)
class CallError:
    """What a CALLERROR says. The description is cut, never refused: the error path cannot raise."""

    code: CallErrorCode
    description: str = ""
    details: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.description) > DESCRIPTION_LIMIT:
            object.__setattr__(self, "description", self.description[:DESCRIPTION_LIMIT])


class OcppError(Exception):
    """Anything wrong in this room."""


class ProtocolError(OcppError):
    """The peer broke a rule; `call_error` is the answer it is owed."""

    def __init__(self, code: CallErrorCode, description: str) -> None:
        self.call_error = CallError(code, description)
        super().__init__(f"{code}: {self.call_error.description}")

    @property
    def code(self) -> CallErrorCode:
        return self.call_error.code

    @property
    def description(self) -> str:
        return self.call_error.description


class LocalError(OcppError):
    """We broke a rule."""


class QueueFull(LocalError):
    """Too many CALLs wait for this peer; the caller decides what to drop."""


class MessageIdInUse(LocalError):
    """Part 4 §4.1.4: a message id is never used for two CALLs."""


class UnknownCall(LocalError):
    """Answered already, answered elsewhere, or never received by this session."""


class InvalidPayload(LocalError):
    """What we want to send does not fit its schema."""


class SessionClosed(LocalError):
    """The connection ended."""
