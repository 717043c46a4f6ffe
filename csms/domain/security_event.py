"""Security events: what stations report (A04) and what we see of them ourselves.

Names and criticality are the appendix's (Part 2 appendix 1); the list is open, so an unknown
name is stored as it came and counts as not critical.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

CRITICAL: Final = frozenset(
    {
        "FirmwareUpdated",
        "SettingSystemTime",
        "StartupOfTheDevice",
        "ResetOrReboot",
        "SecurityLogWasCleared",
        "MemoryExhaustion",
        "TamperDetectionActivated",
        "InvalidFirmwareSignature",
        "InvalidFirmwareSigningCertificate",
        "InvalidCsmsCertificate",
        "InvalidChargingStationCertificate",
        "InvalidTLSVersion",
        "InvalidTLSCipherSuite",
        "MaintenanceLoginAccepted",
        "MaintenanceLoginFailed",
        "DiscardedRenewedClientCertificate",
    }
)


class EventSource(StrEnum):
    STATION = "station"
    CSMS = "csms"


class CSMSEvent(StrEnum):
    """Events of our own; the standard's name where there is one (A00.FR.408)."""

    INVALID_CHARGING_STATION_CERTIFICATE = "InvalidChargingStationCertificate"
    ATTEMPTED_REPLAY_ATTACKS = "AttemptedReplayAttacks"
    INVALID_MESSAGES = "InvalidMessages"
    DUPLICATE_STATION_CONNECTION = "DuplicateStationConnection"
    STATION_SESSION_FLAPPING = "StationSessionFlapping"  # more often than a bad line explains
    STATION_PASSWORD_GUESSING = "StationPasswordGuessing"  # noqa: S105 -- a name
    SERIAL_NUMBER_MISMATCH = "SerialNumberMismatch"
    CERTIFICATE_REQUEST_REFUSED = "CertificateRequestRefused"
    CERTIFICATE_REQUEST_ANOMALY = "CertificateRequestAnomaly"
    CERTIFICATE_REQUEST_FLOOD = "CertificateRequestFlood"
    CERTIFICATE_QUEUE_FULL = "CertificateQueueFull"
    CERTIFICATE_NOT_DELIVERED = "CertificateNotDelivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityEvent:
    id: UUID
    station_id: UUID
    type: str
    occurred_at: datetime  # the station's word (G07)
    received_at: datetime  # ours
    tech_info: str | None
    source: EventSource

    @property
    def critical(self) -> bool:
        return self.type in CRITICAL
