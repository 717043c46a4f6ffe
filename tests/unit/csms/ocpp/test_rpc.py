"""The RPC layer as transcripts: one per row of the behaviour table (Part 4 §4), then its bounds.

`they_send` is a frame of the peer, `sends` what the session put on the wire since, `reports` its
events in short. Every transcript fails on a frame or event that nobody mentioned.
"""

import json
from collections.abc import Iterator
from typing import Any, Self

import pytest

from csms.ocpp import messages
from csms.ocpp.actions import Action
from csms.ocpp.errors import (
    CallError,
    CallErrorCode,
    InvalidPayload,
    MessageIdInUse,
    QueueFull,
    SessionClosed,
    UnknownCall,
)
from csms.ocpp.rpc import (
    CallAnswered,
    CallFailed,
    CallReceived,
    Event,
    FailureReason,
    ProtocolViolation,
    Role,
    RpcSession,
    ViolationKind,
)

RESET = {"type": "OnIdle"}
ACCEPTED = {"status": "Accepted"}
HEARTBEAT_ANSWER = {"currentTime": "2026-01-31T10:00:00Z"}
CSR = {"csr": "x"}


class Transcript:
    def __init__(self, session: RpcSession) -> None:
        self.session = session
        self.now = 0.0
        self.received: Iterator[CallReceived] = iter(())
        self.calls: list[CallReceived] = []
        self._events: list[Event] = []

    def we_call(self, action: Action, payload: Any = None, *, id: str) -> Self:  # noqa: A002 - reads best here
        content = RESET if payload is None else payload
        self.session.call(action, content, message_id=id, now=self.now)
        return self

    def they_send(self, frame: Any) -> Self:
        text = frame if isinstance(frame, str) else json.dumps(frame)
        self.session.receive_text(text, self.now)
        return self._note()

    def we_reply(self, payload: Any, *, to: int = -1) -> Self:
        self.session.reply(self.calls[to], payload)
        return self._note()

    def we_refuse(self, code: CallErrorCode, *, to: int = -1) -> Self:
        self.session.refuse(self.calls[to], CallError(code, "no"))
        return self._note()

    def seconds_pass(self, seconds: float) -> Self:
        self.now += seconds
        self.session.handle_timeout(self.now)
        return self._note()

    def we_close(self) -> Self:
        self.session.close(self.now)
        return self._note()

    def sends(self, *frames: Any) -> Self:
        assert [json.loads(text) for text in self.session.data_to_send()] == list(frames)
        return self

    def sends_error(self, message_id: str, code: str) -> Self:
        [text] = self.session.data_to_send()
        kind, answered, said, description, details = json.loads(text)
        assert (kind, answered, said, details) == (4, message_id, code, {})
        assert len(description) <= 255
        assert "hunter2" not in text
        return self

    def sends_nothing(self) -> Self:
        return self.sends()

    def reports(self, *expected: str) -> Self:
        seen, self._events = self._events + self.session.events(), []
        assert [brief(event) for event in seen] == list(expected)
        return self

    def reports_nothing(self) -> Self:
        return self.reports()

    def _note(self) -> Self:
        events = self.session.events()
        self.calls += [event for event in events if isinstance(event, CallReceived)]
        self._events += events
        return self


def brief(event: Event) -> str:
    match event:
        case CallReceived():
            return f"received {event.message_id} {event.action}"
        case CallAnswered():
            return f"answered {event.message_id} {event.action}"
        case CallFailed():
            return f"failed {event.message_id} {event.why}"
        case ProtocolViolation():
            return f"violation {event.kind} {event.count}"


def csms(**options: Any) -> Transcript:
    return Transcript(RpcSession(Role.CSMS, **options))


# The behaviour table


@pytest.mark.parametrize(
    "frame", ["hunter2", "", "{}", "[]", '"hunter2"', "7", '[2,"a","Heartbeat",{}', "[NaN]"]
)
def test_no_json_array_is_answered_under_minus_one(frame: Any) -> None:
    """Part 4 §4.2.3: the id cannot be read."""
    talk = csms()
    talk.they_send(frame).sends_error("-1", "RpcFrameworkError")
    talk.reports("violation malformed_frame 1")


def test_malformed_frames_are_counted_for_the_gateway_to_close_after_n() -> None:
    talk = csms()
    for count in (1, 2, 3):
        talk.they_send("[").sends_error("-1", "RpcFrameworkError")
        talk.reports(f"violation malformed_frame {count}")
    assert talk.session.violations == 3


@pytest.mark.parametrize(
    ("frame", "message_id"), [([5, "a", {}], "a"), ([7], "-1"), ([0, 1, 2], "-1")]
)
def test_unknown_type_number(frame: Any, message_id: str) -> None:
    """Part 4 §4.4."""
    talk = csms()
    talk.they_send(frame).sends_error(message_id, "MessageTypeNotSupported")
    talk.reports("violation malformed_frame 1")


@pytest.mark.parametrize(
    ("frame", "message_id"),
    [
        ([2, "a", "Heartbeat"], "a"),
        ([2, "a", "Heartbeat", {}, {}], "a"),
        ([2, 7, "Heartbeat", {}], "-1"),
        ([2, "", "Heartbeat", {}], "-1"),
        ([2, "x" * 37, "Heartbeat", {}], "-1"),
        ([True, "a", "Heartbeat", {}], "a"),
    ],
)
def test_call_of_wrong_shape_or_id(frame: Any, message_id: str) -> None:
    talk = csms()
    talk.they_send(frame).sends_error(message_id, "RpcFrameworkError")
    talk.reports("violation malformed_frame 1")


@pytest.mark.parametrize("action", ["Nonsense", "heartbeat", "HeartbeatRequest", "", "hunter2"])
def test_unknown_action_is_not_implemented(action: str) -> None:
    talk = csms()
    talk.they_send([2, "a", action, {}]).sends_error("a", "NotImplemented")
    talk.reports("violation invalid_call 1")


def test_known_action_of_the_other_direction_is_not_supported() -> None:
    talk = csms()
    talk.they_send([2, "a", "Reset", RESET]).sends_error("a", "NotSupported")
    talk.reports("violation invalid_call 1")
    station = Transcript(RpcSession(Role.CHARGING_STATION))
    station.they_send([2, "a", "Heartbeat", {}]).sends_error("a", "NotSupported")
    station.they_send([2, "b", "Reset", RESET]).sends_nothing()
    station.reports("violation invalid_call 1", "received b Reset")


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({}, "OccurrenceConstraintViolation"),
        ({"csr": "x", "customData": {}}, "OccurrenceConstraintViolation"),
        ({"csr": 7}, "TypeConstraintViolation"),
        ([], "TypeConstraintViolation"),
        ("{}", "TypeConstraintViolation"),
        ({"csr": "hunter2" * 800}, "PropertyConstraintViolation"),
        ({"csr": "x", "certificateType": "hunter2"}, "PropertyConstraintViolation"),
        ({"csr": "x", "hunter2": 1}, "FormatViolation"),
        ({"csr": "x", "certificateType": None}, "FormatViolation"),
        (None, "FormatViolation"),
    ],
)
def test_payload_that_breaks_its_schema(payload: Any, code: str) -> None:
    talk = csms()
    talk.they_send([2, "a", "SignCertificate", payload]).sends_error("a", code)
    talk.reports("violation invalid_call 1")


def test_list_cardinality_is_an_occurrence() -> None:
    payload = {"evseId": 1, "meterValue": []}
    csms().they_send([2, "a", "MeterValues", payload]).sends_error(
        "a", "OccurrenceConstraintViolation"
    )


def test_station_that_is_not_accepted_is_refused_by_the_caller() -> None:
    """FR.04: whether the boot was accepted is not this layer's to know."""
    talk = csms()
    talk.they_send([2, "a", "SignCertificate", CSR]).reports("received a SignCertificate")
    talk.we_refuse(CallErrorCode.SECURITY_ERROR).sends([4, "a", "SecurityError", "no", {}])


@pytest.mark.parametrize("frame", [[3, "x", {}], [4, "x", "GenericError", "", {}], [3, 7, {}]])
def test_answer_to_nothing_is_dropped(frame: Any) -> None:
    talk = csms()
    talk.they_send(frame).sends_nothing().reports("violation unknown_answer 1")
    talk.we_call(Action.RESET, id="a").sends([2, "a", "Reset", RESET])
    talk.they_send(frame).sends_nothing().reports("violation unknown_answer 2")
    assert talk.session.violations == 2


@pytest.mark.parametrize("payload", [{}, {"status": "hunter2"}, None, [], {"status": 1}])
def test_invalid_result_fails_the_call_here_and_nothing_is_sent(payload: Any) -> None:
    """FR.06 (an answer to an answer) is OCPP 2.1."""
    talk = csms()
    talk.we_call(Action.RESET, id="a").sends([2, "a", "Reset", RESET])
    talk.they_send([3, "a", payload]).sends_nothing().reports("failed a invalid_answer")


def test_invalid_result_says_which_rule_it_broke() -> None:
    session = RpcSession(Role.CSMS)
    session.call(Action.RESET, RESET, message_id="a", now=0)
    session.receive_text('[3,"a",{}]', 1)
    [failed] = session.events()
    assert isinstance(failed, CallFailed)
    assert failed.error == CallError(
        CallErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION, "/status is required."
    )


@pytest.mark.parametrize("frame", [[3, "a"], [3, "a", {}, {}], [4, "a", "GenericError"]])
def test_malformed_answer_fails_the_call_it_names(frame: Any) -> None:
    talk = csms()
    talk.we_call(Action.RESET, id="a").we_call(Action.RESET, id="b").sends([2, "a", "Reset", RESET])
    talk.they_send(frame).sends([2, "b", "Reset", RESET])
    talk.reports("violation malformed_frame 1", "failed a invalid_answer")


def test_malformed_answer_to_nothing_is_counted() -> None:
    talk = csms()
    talk.they_send([3, "a"]).sends_nothing().reports("violation malformed_frame 1")


def test_repeat_of_an_answered_call_gets_the_stored_answer() -> None:
    """Part 4 §4.1.4 (2024-09): a retry may reuse its id, whatever its spaces and key order."""
    talk = csms()
    talk.they_send('[2,"a","SignCertificate",{"csr":"x","certificateType":"V2GCertificate"}]')
    talk.reports("received a SignCertificate").we_reply(ACCEPTED).sends([3, "a", ACCEPTED])
    talk.they_send('[2, "a","SignCertificate",{"certificateType":"V2GCertificate", "csr":"x"}]')
    talk.sends([3, "a", ACCEPTED]).reports_nothing()
    assert talk.session.violations == 0


def test_repeat_of_a_refused_call_gets_the_stored_refusal() -> None:
    talk = csms()
    talk.they_send([2, "a", "Heartbeat", {}]).we_refuse(CallErrorCode.INTERNAL_ERROR)
    talk.sends([4, "a", "InternalError", "no", {}]).reports("received a Heartbeat")
    talk.they_send([2, "a", "Heartbeat", {}]).sends([4, "a", "InternalError", "no", {}])
    talk.reports_nothing()


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("SignCertificate", {"csr": "y"}),
        ("SignCertificate", {}),
        ("Heartbeat", {}),
        ("hunter2", {"csr": "x"}),
    ],
)
def test_message_id_with_other_content_is_a_security_error(action: str, payload: Any) -> None:
    talk = csms()
    talk.they_send([2, "a", "SignCertificate", CSR]).we_reply(ACCEPTED)
    talk.sends([3, "a", ACCEPTED]).reports("received a SignCertificate")
    talk.they_send([2, "a", action, payload]).sends_error("a", "SecurityError")
    talk.reports("violation message_id_reused 1")


def test_repeat_while_being_handled_is_not_handled_twice() -> None:
    """Part 4 §4.2.3: a duplicate id still being handled."""
    talk = csms()
    talk.they_send([2, "a", "SignCertificate", CSR]).reports("received a SignCertificate")
    talk.they_send([2, "a", "SignCertificate", CSR]).sends_nothing().reports_nothing()
    talk.they_send([2, "a", "SignCertificate", {"csr": "y"}]).sends_error("a", "SecurityError")
    talk.reports("violation message_id_reused 1")
    talk.we_reply(ACCEPTED).sends([3, "a", ACCEPTED]).reports_nothing()


def test_repeat_while_waiting_is_not_handled_twice() -> None:
    talk = csms()
    for message_id in ("a", "b", "b"):
        talk.they_send([2, message_id, "Heartbeat", {}])
    talk.reports("received a Heartbeat").we_reply(HEARTBEAT_ANSWER).reports("received b Heartbeat")
    talk.we_reply(HEARTBEAT_ANSWER).reports_nothing()
    talk.sends([3, "a", HEARTBEAT_ANSWER], [3, "b", HEARTBEAT_ANSWER])


def test_memory_of_answers_is_bounded() -> None:
    talk = csms(remembered_answers=2)
    for message_id in ("a", "b", "c"):
        talk.they_send([2, message_id, "Heartbeat", {}]).we_reply(HEARTBEAT_ANSWER)
    talk.reports("received a Heartbeat", "received b Heartbeat", "received c Heartbeat")
    talk.they_send([2, "b", "Heartbeat", {}]).reports_nothing()
    talk.they_send([2, "a", "Heartbeat", {}]).reports("received a Heartbeat")


# One CALL outstanding per direction


def test_second_call_waits_for_the_first_answer() -> None:
    """OCPP-J: at most one CALL outstanding per direction."""
    talk = csms()
    talk.we_call(Action.RESET, id="a").sends([2, "a", "Reset", RESET])
    talk.we_call(Action.CLEAR_CACHE, {}, id="b").sends_nothing()
    talk.they_send([3, "a", ACCEPTED]).sends([2, "b", "ClearCache", {}])
    talk.reports("answered a Reset")
    talk.they_send([3, "b", ACCEPTED]).sends_nothing().reports("answered b ClearCache")


def test_calls_may_cross() -> None:
    talk = csms()
    talk.we_call(Action.RESET, id="a").sends([2, "a", "Reset", RESET])
    talk.they_send([2, "a", "Heartbeat", {}]).reports("received a Heartbeat")
    talk.we_reply(HEARTBEAT_ANSWER).sends([3, "a", HEARTBEAT_ANSWER])
    talk.they_send([3, "a", ACCEPTED]).reports("answered a Reset")


def test_answer_comes_decoded_by_the_schema_of_the_pending_call() -> None:
    session = RpcSession(Role.CSMS)
    session.call(Action.RESET, RESET, message_id="a", now=0)
    session.receive_text('[3,"a",{"status":"Scheduled"}]', 1)
    [answered] = session.events()
    assert isinstance(answered, CallAnswered)
    assert answered.payload == messages.ResetResponse(status=messages.ResetStatusEnumType.SCHEDULED)
    assert answered.json == {"status": "Scheduled"}


def test_call_error_fails_the_call_and_frees_the_line() -> None:
    talk = csms()
    talk.we_call(Action.RESET, id="a").we_call(Action.RESET, id="b").sends([2, "a", "Reset", RESET])
    talk.they_send([4, "a", "NotSupported", "", {}]).sends([2, "b", "Reset", RESET])
    talk.reports("failed a call_error")


@pytest.mark.parametrize(
    ("said", "code"), [("NotSupported", "NotSupported"), ("FormationViolation", "GenericError")]
)
def test_call_error_comes_with_its_code_or_the_general_one(said: str, code: str) -> None:
    session = RpcSession(Role.CSMS)
    session.call(Action.RESET, RESET, message_id="a", now=0)
    session.receive_text(json.dumps([4, "a", said, "x" * 300, {"b": 1}]), 1)
    [failed] = session.events()
    assert isinstance(failed, CallFailed)
    assert failed.error == CallError(CallErrorCode(code), "x" * 255, {"b": 1})


def test_queue_is_bounded() -> None:
    talk = csms(outgoing_limit=1)
    talk.we_call(Action.RESET, id="a").we_call(Action.RESET, id="b")
    with pytest.raises(QueueFull):
        talk.we_call(Action.RESET, id="c")
    talk.they_send([3, "a", ACCEPTED]).we_call(Action.RESET, id="c").they_send([3, "b", ACCEPTED])
    talk.sends(*([2, message_id, "Reset", RESET] for message_id in "abc"))


def test_waiting_call_can_be_taken_back() -> None:
    talk = csms()
    for message_id in ("a", "b", "c"):
        talk.we_call(Action.RESET, id=message_id)
    assert talk.session.cancel("b")
    assert not talk.session.cancel("a"), "it is on its way"
    assert not talk.session.cancel("x")
    talk.they_send([3, "a", ACCEPTED]).reports("failed b cancelled", "answered a Reset")
    talk.sends([2, "a", "Reset", RESET], [2, "c", "Reset", RESET])


@pytest.mark.parametrize("used", ["a", "b", "c"])
def test_message_id_is_never_used_twice(used: str) -> None:
    """Part 4 §4.1.4; a was answered, b is on its way, c waits."""
    talk = csms()
    talk.we_call(Action.RESET, id="a").they_send([3, "a", ACCEPTED])
    talk.we_call(Action.RESET, id="b").we_call(Action.RESET, id="c")
    with pytest.raises(MessageIdInUse):
        talk.we_call(Action.RESET, id=used)


@pytest.mark.parametrize(
    ("action", "payload", "message_id"),
    [
        (Action.HEARTBEAT, {}, "a"),
        (Action.RESET, {}, "a"),
        (Action.RESET, RESET, ""),
        (Action.RESET, RESET, "x" * 37),
        (Action.DATA_TRANSFER, {"vendorId": "v", "data": "\0"}, "a"),
        (Action.DATA_TRANSFER, {"vendorId": "v", "data": float("nan")}, "a"),
        (Action.RESET, messages.ClearCacheRequest(), "a"),
    ],
)
def test_what_we_may_not_send_is_refused_before_it_is_queued(
    action: Action, payload: Any, message_id: str
) -> None:
    talk = csms()
    with pytest.raises(InvalidPayload):
        talk.we_call(action, payload, id=message_id)
    talk.sends_nothing().we_call(Action.RESET, id="a").sends([2, "a", "Reset", RESET])


def test_call_takes_a_struct() -> None:
    request = messages.ResetRequest(type=messages.ResetEnumType.ON_IDLE)
    csms().we_call(Action.RESET, request, id="a").sends([2, "a", "Reset", RESET])


# Time


def test_call_times_out_and_the_next_is_sent() -> None:
    """Part 2 §3.2: 30 s unless told otherwise."""
    talk = csms()
    assert talk.session.next_timeout() is None
    talk.we_call(Action.RESET, id="a").we_call(Action.RESET, id="b")
    assert talk.session.next_timeout() == 30
    talk.seconds_pass(29.9).sends([2, "a", "Reset", RESET]).reports_nothing()
    talk.seconds_pass(0.1).sends([2, "b", "Reset", RESET]).reports("failed a timeout")
    assert talk.session.next_timeout() == 60
    talk.they_send([3, "b", ACCEPTED]).reports("answered b Reset")
    assert talk.session.next_timeout() is None
    talk.seconds_pass(1000).sends_nothing().reports_nothing()


def test_late_answer_is_dropped_and_not_held_against_a_slow_station_once() -> None:
    talk = csms(call_timeout=5)
    talk.we_call(Action.RESET, id="a").seconds_pass(5).reports("failed a timeout")
    talk.they_send([3, "a", ACCEPTED]).reports("violation late_answer 1")
    assert talk.session.violations == 0
    talk.they_send([3, "a", ACCEPTED]).reports("violation unknown_answer 1")
    assert talk.session.violations == 1


def test_second_answer_to_an_answered_call_is_unknown() -> None:
    talk = csms()
    talk.we_call(Action.RESET, id="a").they_send([3, "a", ACCEPTED]).they_send([3, "a", ACCEPTED])
    talk.reports("answered a Reset", "violation unknown_answer 1")


# A peer that does not wait


def test_calls_are_handed_out_one_at_a_time_in_order() -> None:
    """FR.01 is the station's to keep; what it sends too early waits."""
    talk = csms()
    for message_id in ("a", "b", "c"):
        talk.they_send([2, message_id, "Heartbeat", {}])
    talk.reports("received a Heartbeat")
    talk.we_reply(HEARTBEAT_ANSWER).reports("received b Heartbeat")
    talk.we_refuse(CallErrorCode.INTERNAL_ERROR).reports("received c Heartbeat")
    talk.sends([3, "a", HEARTBEAT_ANSWER], [4, "b", "InternalError", "no", {}])


def test_flood_is_bounded_and_not_answered() -> None:
    """Threat D09: the one being handled and sixteen more."""
    talk = csms()
    for number in range(20):
        talk.they_send([2, str(number), "Heartbeat", {}])
    talk.reports("received 0 Heartbeat", *(f"violation call_flood {n}" for n in (1, 2, 3)))
    for _ in range(17):
        talk.we_reply(HEARTBEAT_ANSWER)
    talk.sends(*([3, str(number), HEARTBEAT_ANSWER] for number in range(17)))


# Answering


def test_received_call_is_decoded_and_keeps_its_json() -> None:
    session = RpcSession(Role.CSMS)
    session.receive_text('[2,"a","SignCertificate",{"csr":"hunter2"}]', 0)
    [call] = session.events()
    assert isinstance(call, CallReceived)
    assert call.payload == messages.SignCertificateRequest(csr="hunter2")
    assert call.json == {"csr": "hunter2"}
    assert "hunter2" not in repr(call)
    assert session.events() == []


def test_reply_takes_a_struct() -> None:
    talk = csms().they_send([2, "a", "SignCertificate", CSR])
    answer = messages.SignCertificateResponse(status=messages.GenericStatusEnumType.ACCEPTED)
    talk.we_reply(answer).sends([3, "a", ACCEPTED])


def test_reply_that_does_not_fit_leaves_the_call_to_be_refused() -> None:
    talk = csms().they_send([2, "a", "Heartbeat", {}])
    with pytest.raises(InvalidPayload, match="HeartbeatResponse: /currentTime is required"):
        talk.we_reply({})
    talk.sends_nothing().we_refuse(CallErrorCode.INTERNAL_ERROR)
    talk.sends([4, "a", "InternalError", "no", {}])


def test_call_is_answered_once_and_only_by_its_own_session() -> None:
    talk, other = csms(), csms()
    talk.they_send([2, "a", "Heartbeat", {}]).we_reply(HEARTBEAT_ANSWER)
    with pytest.raises(UnknownCall):
        talk.we_reply(HEARTBEAT_ANSWER)
    with pytest.raises(UnknownCall):
        talk.we_refuse(CallErrorCode.INTERNAL_ERROR)
    other.they_send([2, "a", "Heartbeat", {}])
    with pytest.raises(UnknownCall):
        other.session.reply(talk.calls[0], HEARTBEAT_ANSWER)
    talk.sends([3, "a", HEARTBEAT_ANSWER])
    other.sends_nothing()


# The end


def test_closing_fails_everything_pending_and_sends_nothing() -> None:
    talk = csms()
    talk.we_call(Action.RESET, id="a").we_call(Action.RESET, id="b")
    talk.they_send([2, "x", "Heartbeat", {}]).they_send([2, "y", "Heartbeat", {}])
    talk.reports("received x Heartbeat").we_close().sends_nothing()
    talk.reports("failed a closed", "failed b closed")
    assert talk.session.next_timeout() is None
    talk.we_close().reports_nothing()


def test_closed_session_takes_nothing_more() -> None:
    talk = csms().they_send([2, "x", "Heartbeat", {}]).we_close()
    with pytest.raises(SessionClosed):
        talk.we_call(Action.RESET, id="a")
    with pytest.raises(SessionClosed):
        talk.we_reply(HEARTBEAT_ANSWER)
    talk.they_send("[").seconds_pass(100).sends_nothing().reports("received x Heartbeat")
    assert not talk.session.cancel("a")


def test_closing_an_idle_session_reports_nothing() -> None:
    csms().we_close().reports_nothing().sends_nothing()


def test_violation_says_what_it_was_answered_with() -> None:
    session = RpcSession(Role.CSMS)
    session.receive_text("[", 0)
    assert session.events() == [
        ProtocolViolation(
            ViolationKind.MALFORMED_FRAME, count=1, code=CallErrorCode.RPC_FRAMEWORK_ERROR
        )
    ]


def test_failure_reasons_are_a_closed_list() -> None:
    assert {reason.value for reason in FailureReason} == {
        "timeout",
        "call_error",
        "invalid_answer",
        "cancelled",
        "closed",
    }


def test_a_peer_that_may_not_speak_yet_is_told_that_before_its_other_faults() -> None:
    """B01.FR.10: whatever else is wrong with a CALL; what may come is told its own fault."""
    not_yet = CallError(CallErrorCode.SECURITY_ERROR, "Not yet.")
    session = RpcSession(
        Role.CSMS, unwelcome=lambda action: None if action == "BootNotification" else not_yet
    )
    answers = []
    for number, action in enumerate(("Reset", "Invented", "Heartbeat", "BootNotification")):
        session.receive_text(json.dumps([2, str(number), action, {"no": 1}]), 0.0)
        answers += [json.loads(text)[2] for text in session.data_to_send()]
    assert answers == ["SecurityError"] * 3 + ["FormatViolation"]
    assert session.violations == 4
