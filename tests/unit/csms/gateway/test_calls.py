"""csms.gateway.calls: every CALL ends exactly once."""

import asyncio
import json
from typing import Any

import pytest

from csms.adapters.clock import SystemClock, SystemRandomness
from csms.domain.boot import BootGate
from csms.domain.station import RegistrationStatus
from csms.gateway.calls import Calls
from csms.ocpp.actions import Action, Role
from csms.ocpp.rpc import CallAnswered, CallFailed, RpcSession

CLEAR = {"action": "ClearCache", "payload": {}, "timeout_seconds": 1}


class Wire:
    """An RPC session and the station at its other end."""

    def __init__(self, status: RegistrationStatus = RegistrationStatus.ACCEPTED) -> None:
        self.rpc = RpcSession(Role.CSMS, call_timeout=5)
        self.sent: list[Any] = []
        self.gate = BootGate(status)
        self.calls = Calls(
            self.rpc,
            self.gate,
            clock=SystemClock(),
            randomness=SystemRandomness(),
            pump=self.pump,
        )

    def pump(self) -> None:
        for event in self.rpc.events():
            if isinstance(event, CallAnswered | CallFailed):
                self.calls.ended(event)
        self.sent += [json.loads(text) for text in self.rpc.data_to_send()]

    def say(self, *frame: Any) -> None:
        self.rpc.receive_text(json.dumps(frame), 0.0)
        self.pump()


def ended(message: Any, *answer: Any, wire: Wire | None = None) -> Any:
    """What a request comes to when the station answers so; no answer closes the session."""

    async def main() -> Any:
        on = wire or Wire()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(on.calls.call(message))
            await asyncio.sleep(0)
            if on.sent and answer:
                on.say(answer[0], on.sent[0][1], *answer[1:])
            else:
                on.rpc.close(0.0)
                on.pump()
        assert not on.calls._waiting
        return task.result()

    return asyncio.run(main())


def test_the_answers_payload_comes_back() -> None:
    assert ended(CLEAR, 3, {"status": "Accepted"}) == {"payload": {"status": "Accepted"}}


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ((3, {"status": "Perhaps"}), "invalid_answer", "PropertyConstraintViolation"),
        ((4, "NotSupported", "no", {}), "station_error", "NotSupported"),
        ((), "no_answer", None),
    ],
)
def test_a_failure_says_its_kind(answer: tuple[Any, ...], kind: str, code: str | None) -> None:
    error = ended(CLEAR, *answer)["error"]
    assert (error["kind"], error["code"]) == (kind, code)


def test_a_rejected_station_is_told_nothing() -> None:
    wire = Wire(RegistrationStatus.REJECTED)
    assert ended(CLEAR, wire=wire)["error"]["kind"] == "not_allowed_now"
    assert wire.sent == []


TRIGGER = {
    "action": "TriggerMessage",
    "payload": {"requestedMessage": "StatusNotification"},
    "timeout_seconds": 1,
}


@pytest.mark.parametrize(
    ("answer", "opens"),
    [
        ((3, {"status": "Accepted"}), True),
        ((), True),  # sent, and the answer lost: it may come all the same
        ((3, {"status": "Rejected"}), False),
        ((3, {"status": "NotImplemented"}), False),
        ((4, "NotSupported", "no", {}), False),
    ],
)
def test_only_a_trigger_that_is_not_refused_opens_the_gate(
    answer: tuple[Any, ...], opens: bool
) -> None:
    """B01.FR.10."""
    wire = Wire(RegistrationStatus.PENDING)
    ended(TRIGGER, *answer, wire=wire)
    now = SystemClock().monotonic()
    assert wire.gate.let_pass(Action.STATUS_NOTIFICATION, now=now) is opens


def test_a_trigger_that_was_never_sent_opens_nothing() -> None:
    wire = Wire(RegistrationStatus.PENDING)
    broken = {**TRIGGER, "payload": {"requestedMessage": "StatusNotification", "evse": 1}}
    assert ended(broken, wire=wire)["error"]["kind"] == "invalid_payload"
    assert wire.sent == []
    assert not wire.gate.let_pass(Action.STATUS_NOTIFICATION, now=SystemClock().monotonic())


def test_a_session_that_has_ended_is_not_connected() -> None:
    wire = Wire()
    wire.rpc.close(0.0)
    assert ended(CLEAR, wire=wire)["error"]["kind"] == "not_connected"


def test_an_impatient_caller_is_answered_and_the_late_answer_finds_nobody() -> None:
    async def main() -> None:
        wire = Wire()
        reply = await wire.calls.call({**CLEAR, "timeout_seconds": 0.01})
        assert reply["error"]["kind"] == "no_answer"
        wire.say(3, wire.sent[0][1], {"status": "Accepted"})
        assert wire.rpc.violations == 0

    asyncio.run(main())
