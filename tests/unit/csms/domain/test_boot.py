"""csms.domain.boot: what a station may say, and be told, before it is accepted."""

import pytest

from csms.domain.boot import (
    OPEN_SECONDS,
    TRIGGERED_BY_TRIGGER_MESSAGE,
    BootGate,
    NotToBeTold,
    gate_status,
    serial_number_agrees,
)
from csms.domain.station import RegistrationStatus, SecurityProfile
from csms.ocpp.actions import RECEIVED_BY, Action, Role

ACCEPTED, PENDING, REJECTED = RegistrationStatus
FROM_STATIONS = sorted(RECEIVED_BY[Role.CSMS])


def test_an_accepted_station_may_send_everything() -> None:
    assert all(BootGate(ACCEPTED).let_pass(action, now=0) for action in FROM_STATIONS)


@pytest.mark.parametrize("status", [None, PENDING, REJECTED])
def test_before_that_only_boot_notification(status: RegistrationStatus | None) -> None:
    """B01.FR.10, B02.FR.09, B03.FR.07."""
    gate = BootGate(status)
    assert [a for a in FROM_STATIONS if gate.let_pass(a, now=0)] == [Action.BOOT_NOTIFICATION]


@pytest.mark.parametrize(("wanted", "action"), sorted(TRIGGERED_BY_TRIGGER_MESSAGE.items()))
def test_what_was_triggered_may_come_and_nothing_else(wanted: str, action: Action) -> None:
    gate = BootGate(PENDING)
    gate.tell(Action.TRIGGER_MESSAGE, {"requestedMessage": wanted}, now=0)
    allowed = {a for a in FROM_STATIONS if gate.let_pass(a, now=0)}
    assert allowed == {Action.BOOT_NOTIFICATION, action}


def test_an_unknown_trigger_allows_nothing() -> None:
    gate = BootGate(PENDING)
    gate.tell(Action.TRIGGER_MESSAGE, {}, now=0)
    assert not gate.let_pass(Action.HEARTBEAT, now=0)


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
    assert not gate.let_pass(allowed, now=0)
    gate.tell(told, {}, now=0)
    assert gate.let_pass(allowed, now=0)


def test_other_calls_of_ours_allow_nothing() -> None:
    gate = BootGate(PENDING)
    gate.tell(Action.RESET, {"type": "Immediate"}, now=0)
    assert [a for a in FROM_STATIONS if gate.let_pass(a, now=0)] == [Action.BOOT_NOTIFICATION]


def test_a_rejected_station_is_told_nothing() -> None:
    """B03.FR.03."""
    with pytest.raises(NotToBeTold):
        BootGate(REJECTED).tell(Action.RESET, {"type": "Immediate"}, now=0)


def test_a_rejection_takes_back_what_was_triggered() -> None:
    gate = BootGate(PENDING)
    gate.tell(Action.TRIGGER_MESSAGE, {"requestedMessage": "Heartbeat"}, now=0)
    gate.booted(PENDING)
    gate.booted(REJECTED)
    assert not gate.let_pass(Action.HEARTBEAT, now=0)
    gate.booted(PENDING)
    assert not gate.let_pass(Action.HEARTBEAT, now=0)


TRIGGER_CSR = {"requestedMessage": "SignChargingStationCertificate"}


@pytest.mark.parametrize(
    ("wanted", "action"),
    [
        ("Heartbeat", Action.HEARTBEAT),
        ("LogStatusNotification", Action.LOG_STATUS_NOTIFICATION),
        ("FirmwareStatusNotification", Action.FIRMWARE_STATUS_NOTIFICATION),
        ("PublishFirmwareStatusNotification", Action.PUBLISH_FIRMWARE_STATUS_NOTIFICATION),
    ],
)
def test_one_trigger_is_one_message(wanted: str, action: Action) -> None:
    """B01.FR.10: a trigger while Pending is no licence for the rest of the session."""
    gate = BootGate(PENDING)
    gate.tell(Action.TRIGGER_MESSAGE, {"requestedMessage": wanted}, now=0)
    assert gate.let_pass(action, now=1)
    assert not gate.let_pass(action, now=1)


def test_what_comes_in_parts_may_come_until_time_is_up() -> None:
    """A02.FR.17-19: a CSR is repeated; a report has many parts."""
    gate = BootGate(PENDING)
    gate.tell(Action.TRIGGER_MESSAGE, TRIGGER_CSR, now=5)
    assert gate.let_pass(Action.SIGN_CERTIFICATE, now=6)
    assert gate.let_pass(Action.SIGN_CERTIFICATE, now=4 + OPEN_SECONDS)
    assert not gate.let_pass(Action.SIGN_CERTIFICATE, now=5 + OPEN_SECONDS)


def test_a_refused_or_unsent_trigger_opens_nothing_and_leaves_an_earlier_one_open() -> None:
    gate = BootGate(PENDING)
    gate.refused(gate.tell(Action.TRIGGER_MESSAGE, TRIGGER_CSR, now=0))
    gate.withdraw(gate.tell(Action.TRIGGER_MESSAGE, TRIGGER_CSR, now=0))
    assert not gate.let_pass(Action.SIGN_CERTIFICATE, now=0)
    gate.tell(Action.TRIGGER_MESSAGE, TRIGGER_CSR, now=0)
    gate.refused(gate.tell(Action.TRIGGER_MESSAGE, TRIGGER_CSR, now=0))
    assert gate.let_pass(Action.SIGN_CERTIFICATE, now=0)


def test_a_certificate_that_is_rejected_may_be_complained_about() -> None:
    """A02.FR.07."""
    gate = BootGate(PENDING)
    gate.refused(gate.tell(Action.CERTIFICATE_SIGNED, {}, now=0))
    assert gate.let_pass(Action.SECURITY_EVENT_NOTIFICATION, now=0)


@pytest.mark.parametrize(
    ("booted_as", "registered", "starts"),
    [
        (None, ACCEPTED, None),
        (ACCEPTED, ACCEPTED, ACCEPTED),
        (ACCEPTED, PENDING, PENDING),
        (ACCEPTED, REJECTED, REJECTED),
        (PENDING, ACCEPTED, PENDING),  # it has to boot to hear of it
        (PENDING, REJECTED, REJECTED),
        (REJECTED, ACCEPTED, REJECTED),
    ],
)
def test_a_reconnect_is_as_the_last_boot_and_no_more_than_the_registration(
    booted_as: RegistrationStatus | None,
    registered: RegistrationStatus,
    starts: RegistrationStatus | None,
) -> None:
    assert gate_status(booted_as, registered) is starts


def test_serial_number_must_agree_on_profile_3_only_and_may_be_absent() -> None:
    """B01.FR.11, 12."""
    three, two = SecurityProfile.TLS_CERTIFICATE, SecurityProfile.TLS_BASIC
    assert serial_number_agrees("SN1", "SN1", three)
    assert serial_number_agrees(None, "SN1", three)
    assert not serial_number_agrees("SN10", "SN1", three)
    assert not serial_number_agrees("sn1", "SN1", three)
    assert serial_number_agrees("SN10", "SN1", two)


def test_withdrawing_what_opened_nothing_changes_nothing() -> None:
    """A CALL that causes no message has no opening to take back."""
    gate = BootGate(RegistrationStatus.PENDING)
    gate.withdraw(None)
    assert not gate.let_pass(Action.STATUS_NOTIFICATION, now=0)


def test_asking_about_a_call_that_is_no_good_uses_nothing_up() -> None:
    """B01.FR.10 holds for messages of the wrong direction, and for those that are none, too."""
    gate = BootGate(None)
    assert gate.may_come("BootNotification", now=0)
    assert not any(gate.may_come(name, now=0) for name in ("Heartbeat", "Reset", "Invented"))
    gate.tell(Action.TRIGGER_MESSAGE, {"requestedMessage": "Heartbeat"}, now=0)
    assert gate.may_come("Heartbeat", now=0)
    assert gate.let_pass(Action.HEARTBEAT, now=0)
    assert not gate.may_come("Heartbeat", now=0)
    gate.booted(RegistrationStatus.REJECTED)
    assert not gate.may_come("Reset", now=0)
    gate.booted(RegistrationStatus.ACCEPTED)
    assert gate.may_come("Reset", now=0)
