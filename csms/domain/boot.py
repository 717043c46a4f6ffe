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


class NotToBeTold(Exception):
    """The CALL must not be sent to the station in the state it is in."""


@dataclass(slots=True)
class BootGate:
    """One session's gate. `status` starts as the station's last boot left it (Part 4 §5.3)."""

    status: RegistrationStatus | None
    _triggered: set[Action] = field(default_factory=set)

    def may_send(self, action: Action) -> bool:
        """Whether the station may make this CALL now."""
        if self.status is RegistrationStatus.ACCEPTED or action is Action.BOOT_NOTIFICATION:
            return True
        return self.status is not RegistrationStatus.REJECTED and action in self._triggered

    def tell(self, action: Action, payload: Mapping[str, object]) -> None:
        """Note a CALL of ours before it is sent. Raises NotToBeTold (B03.FR.03)."""
        if self.status is RegistrationStatus.REJECTED:
            raise NotToBeTold("the station was rejected at its last boot: nothing may be sent")
        if action is Action.TRIGGER_MESSAGE:
            triggered = TRIGGERED_BY_TRIGGER_MESSAGE.get(str(payload.get("requestedMessage")))
            if triggered is not None:
                self._triggered.add(triggered)
        elif action in TRIGGERED_BY_REPORT:
            self._triggered.add(Action.NOTIFY_REPORT)
        # B02.FR.01 with A02.FR.07: a certificate we deliver while Pending may be complained about.
        elif action is Action.CERTIFICATE_SIGNED:
            self._triggered.add(Action.SECURITY_EVENT_NOTIFICATION)

    def booted(self, status: RegistrationStatus) -> None:
        self.status = status
        if status is not RegistrationStatus.PENDING:
            self._triggered.clear()


def serial_number_agrees(said: str | None, registered: str, profile: SecurityProfile) -> bool:
    """B01.FR.11, 12: on profile 3 a Boot serial number other than the certificate's CN ends the
    connection. Absent is no contradiction: official cases boot without it (conflict 5 of §11).
    """
    return profile is not SecurityProfile.TLS_CERTIFICATE or said is None or said == registered
