"""csms.domain.boot: what a station may say, and be told, before it is accepted."""

import pytest

from csms.domain.boot import (
    TRIGGERED_BY_TRIGGER_MESSAGE,
    BootGate,
    NotToBeTold,
    serial_number_agrees,
)
from csms.domain.station import RegistrationStatus, SecurityProfile
from csms.ocpp.actions import RECEIVED_BY, Action, Role

ACCEPTED, PENDING, REJECTED = RegistrationStatus
FROM_STATIONS = sorted(RECEIVED_BY[Role.CSMS])


def test_an_accepted_station_may_send_everything() -> None:
    assert all(BootGate(ACCEPTED).may_send(action) for action in FROM_STATIONS)


@pytest.mark.parametrize("status", [None, PENDING, REJECTED])
def test_before_that_only_boot_notification(status: RegistrationStatus | None) -> None:
    """B01.FR.10, B02.FR.09, B03.FR.07."""
    gate = BootGate(status)
    assert [a for a in FROM_STATIONS if gate.may_send(a)] == [Action.BOOT_NOTIFICATION]


@pytest.mark.parametrize(("wanted", "action"), sorted(TRIGGERED_BY_TRIGGER_MESSAGE.items()))
def test_what_was_triggered_may_come_and_nothing_else(wanted: str, action: Action) -> None:
    gate = BootGate(PENDING)
    gate.tell(Action.TRIGGER_MESSAGE, {"requestedMessage": wanted})
    allowed = {a for a in FROM_STATIONS if gate.may_send(a)}
    assert allowed == {Action.BOOT_NOTIFICATION, action}


def test_an_unknown_trigger_allows_nothing() -> None:
    gate = BootGate(PENDING)
    gate.tell(Action.TRIGGER_MESSAGE, {})
    assert not gate.may_send(Action.HEARTBEAT)


@pytest.mark.parametrize(
    ("told", "allowed"),
    [
        (Action.GET_BASE_REPORT, Action.NOTIFY_REPORT),
        (Action.GET_REPORT, Action.NOTIFY_REPORT),
        (Action.CERTIFICATE_SIGNED, Action.SECURITY_EVENT_NOTIFICATION),
    ],
)
def test_reports_and_complaints_that_our_calls_cause_may_come(
    told: Action, allowed: Action
) -> None:
    gate = BootGate(PENDING)
    assert not gate.may_send(allowed)
    gate.tell(told, {})
    assert gate.may_send(allowed)


def test_other_calls_of_ours_allow_nothing() -> None:
    gate = BootGate(PENDING)
    gate.tell(Action.RESET, {"type": "Immediate"})
    assert [a for a in FROM_STATIONS if gate.may_send(a)] == [Action.BOOT_NOTIFICATION]


def test_a_rejected_station_is_told_nothing() -> None:
    """B03.FR.03."""
    with pytest.raises(NotToBeTold):
        BootGate(REJECTED).tell(Action.RESET, {"type": "Immediate"})


def test_a_rejection_takes_back_what_was_triggered() -> None:
    gate = BootGate(PENDING)
    gate.tell(Action.TRIGGER_MESSAGE, {"requestedMessage": "Heartbeat"})
    gate.booted(PENDING)
    assert gate.may_send(Action.HEARTBEAT)
    gate.booted(REJECTED)
    assert not gate.may_send(Action.HEARTBEAT)
    gate.booted(PENDING)
    assert not gate.may_send(Action.HEARTBEAT)


def test_serial_number_must_agree_on_profile_3_only_and_may_be_absent() -> None:
    """B01.FR.11, 12."""
    three, two = SecurityProfile.TLS_CERTIFICATE, SecurityProfile.TLS_BASIC
    assert serial_number_agrees("SN1", "SN1", three)
    assert serial_number_agrees(None, "SN1", three)
    assert not serial_number_agrees("SN10", "SN1", three)
    assert not serial_number_agrees("sn1", "SN1", three)
    assert serial_number_agrees("SN10", "SN1", two)
