"""The boot gate: what a station may say, and be told, before it is accepted (B01-B03).

A station that has not booted as Accepted may send BootNotification and what we asked for by a
trigger; everything else is a SecurityError (B01.FR.10, B02.FR.09, B03.FR.07). A Rejected station
is told nothing at all (B03.FR.03).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from csms.domain.station import RegistrationStatus, SecurityProfile
from csms.ocpp.actions import Action

# What a CALL of ours may make a station send while it is Pending (B01.FR.10 with A02, B07, N01).
TRIGGERED_BY_TRIGGER_MESSAGE: Final[Mapping[str, Action]] = MappingProxyType(
    {
        "BootNotification": Action.BOOT_NOTIFICATION,
        "LogStatusNotification": Action.LOG_STATUS_NOTIFICATION,
        "FirmwareStatusNotification": Action.FIRMWARE_STATUS_NOTIFICATION,
        "Heartbeat": Action.HEARTBEAT,
        "MeterValues": Action.METER_VALUES,
        "SignChargingStationCertificate": Action.SIGN_CERTIFICATE,
        "SignV2GCertificate": Action.SIGN_CERTIFICATE,
        "SignCombinedCertificate": Action.SIGN_CERTIFICATE,
        "StatusNotification": Action.STATUS_NOTIFICATION,
        "TransactionEvent": Action.TRANSACTION_EVENT,
        "PublishFirmwareStatusNotification": Action.PUBLISH_FIRMWARE_STATUS_NOTIFICATION,
    }
)
TRIGGERED_BY_REPORT: Final = frozenset({Action.GET_BASE_REPORT, Action.GET_REPORT})


# One trigger, one message; the others come once for each connector, report part or retry.
_ONE_EACH: Final = frozenset(
    {
        Action.HEARTBEAT,
        Action.LOG_STATUS_NOTIFICATION,
        Action.FIRMWARE_STATUS_NOTIFICATION,
        Action.PUBLISH_FIRMWARE_STATUS_NOTIFICATION,
    }
)
# A full inventory takes minutes to report, and a CSR is repeated while its answer is awaited
# (A02.FR.17-19); what comes later than this was not caused by our CALL.
OPEN_SECONDS: Final = 600.0


class NotToBeTold(Exception):
    """The CALL must not be sent to the station in the state it is in."""


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """What one CALL of ours lets the station send, and until when."""

    action: Action
    until: float
    even_if_refused: bool


@dataclass(slots=True)
class BootGate:
    """One session's gate; time is an argument, in seconds of any clock that never steps."""

    status: RegistrationStatus | None
    _openings: list[Opening] = field(default_factory=list)

    def let_pass(self, action: Action, *, now: float) -> bool:
        """Whether the station may make this CALL now; what was asked for once is used up by it."""
        if self._is_free(action):
            return True
        opening = self._opening(action, now)
        if opening is None:
            return False
        if action in _ONE_EACH:
            self._openings.remove(opening)
        return True

    def may_come(self, action: str, *, now: float) -> bool:
        """The same question about a CALL that is no good anyhow: it uses nothing up. Its action may
        be none of ours.
        """
        return self._is_free(action) or self._opening(action, now) is not None

    def _is_free(self, action: str) -> bool:
        return self.status is RegistrationStatus.ACCEPTED or action == Action.BOOT_NOTIFICATION

    def _opening(self, action: str, now: float) -> Opening | None:
        if self.status is RegistrationStatus.REJECTED:
            return None
        self._openings = [opening for opening in self._openings if now < opening.until]
        return next((each for each in self._openings if each.action == action), None)

    def tell(self, action: Action, payload: Mapping[str, object], *, now: float) -> Opening | None:
        """Note a CALL of ours before it is sent, since what it causes may overtake its answer.

        Raises NotToBeTold (B03.FR.03). `refused` is owed when the station refuses the CALL, or
        never gets it.
        """
        if self.status is RegistrationStatus.REJECTED:
            raise NotToBeTold("the station was rejected at its last boot: nothing may be sent")
        caused = _caused(action, payload)
        if caused is None or self.status is RegistrationStatus.ACCEPTED:
            return None
        # A02.FR.07: a certificate that the station rejects is what it complains about.
        complaint = action is Action.CERTIFICATE_SIGNED
        opening = Opening(caused, now + OPEN_SECONDS, even_if_refused=complaint)
        self._openings = [each for each in self._openings if now < each.until] + [opening]
        return opening

    def withdraw(self, opening: Opening | None) -> None:
        """The CALL was never sent."""
        if opening in self._openings:
            self._openings.remove(opening)

    def refused(self, opening: Opening | None) -> None:
        """The station will not do what it was asked: then it has nothing to send."""
        if opening is not None and not opening.even_if_refused:
            self.withdraw(opening)

    def booted(self, status: RegistrationStatus) -> None:
        self.status = status
        if status is not RegistrationStatus.PENDING:
            self._openings.clear()


def _caused(action: Action, payload: Mapping[str, object]) -> Action | None:
    """The message that a CALL of ours makes the station send before it is accepted."""
    if action is Action.TRIGGER_MESSAGE:
        return TRIGGERED_BY_TRIGGER_MESSAGE.get(str(payload.get("requestedMessage")))
    if action in TRIGGERED_BY_REPORT:
        return Action.NOTIFY_REPORT
    # B02.FR.01 with A02.FR.07: a certificate we deliver while Pending may be complained about.
    return Action.SECURITY_EVENT_NOTIFICATION if action is Action.CERTIFICATE_SIGNED else None


def gate_status(
    booted_as: RegistrationStatus | None, registered: RegistrationStatus
) -> RegistrationStatus | None:
    """Where a session's gate starts: as the station's last boot left it, since a plain reconnect
    does not boot again (Part 4 §5.3), but with no more than people give the station by now.
    """
    if booted_as is None or booted_as is RegistrationStatus.REJECTED:
        return booted_as
    return booted_as if registered is RegistrationStatus.ACCEPTED else registered


def serial_number_agrees(said: str | None, registered: str, profile: SecurityProfile) -> bool:
    """B01.FR.11, 12: on profile 3 a Boot serial number other than the certificate's CN ends the
    connection. Absent is no contradiction: official cases boot without it (conflict 5 of §11).
    """
    return profile is not SecurityProfile.TLS_CERTIFICATE or said is None or said == registered
