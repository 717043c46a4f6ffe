"""Errors of the OCPP room: the CALLERROR they carry and the tree they form."""

import pytest

from csms.ocpp import errors
from csms.ocpp.errors import CallError, CallErrorCode, LocalError, OcppError, ProtocolError


def test_the_codes_are_those_of_part_4_section_4_3() -> None:
    assert {code.value for code in CallErrorCode} == {
        "FormatViolation",
        "GenericError",
        "InternalError",
        "MessageTypeNotSupported",
        "NotImplemented",
        "NotSupported",
        "OccurrenceConstraintViolation",
        "PropertyConstraintViolation",
        "ProtocolError",
        "RpcFrameworkError",
        "SecurityError",
        "TypeConstraintViolation",
    }


def test_description_of_255_characters_stays_whole() -> None:
    assert CallError(CallErrorCode.GENERIC_ERROR, "x" * 255).description == "x" * 255


def test_longer_description_is_cut_since_the_error_path_may_not_fail() -> None:
    assert CallError(CallErrorCode.GENERIC_ERROR, "x" * 256).description == "x" * 255


def test_details_default_to_an_object() -> None:
    """Part 4 §4.2.3: details are always an object."""
    assert CallError(CallErrorCode.GENERIC_ERROR).details == {}


def test_protocol_error_says_its_code_and_description() -> None:
    error = ProtocolError(CallErrorCode.FORMAT_VIOLATION, "why")
    assert (error.code, error.description) == (CallErrorCode.FORMAT_VIOLATION, "why")
    assert str(error) == "FormatViolation: why"


@pytest.mark.parametrize(
    "name", ["QueueFull", "MessageIdInUse", "UnknownCall", "InvalidPayload", "SessionClosed"]
)
def test_our_own_faults_are_local_errors_and_never_the_peers(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, LocalError)
    assert not issubclass(kind, ProtocolError)
    assert issubclass(kind, OcppError)
