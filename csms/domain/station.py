"""Charging Stations and the names they go by.

A station has two names that must never be confused: the `StationIdentity` in its URL and the
serial number that becomes the common name of its certificate. Both are earned: `parse_identity`
and `parse_serial_number` are the only ways from outside text to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final, NewType
from uuid import UUID

from csms.domain.password import PasswordRecord

StationIdentity = NewType("StationIdentity", str)
SerialNumber = NewType("SerialNumber", str)

# Part 4 §3.1.1: identifierString, at most 48, without the colon that separates Basic credentials.
# "/" and "%" are no part of it, so an identity can never be a path of more than one segment.
_IDENTITY: Final = re.compile(r"[A-Za-z0-9*\-_=+|@.]{1,48}", re.ASCII)
# A00.FR.511 with the bound of BootNotification.chargingStation.serialNumber (25).
_SERIAL_NUMBER: Final = re.compile(r"[A-Za-z0-9_-]{1,25}", re.ASCII)


class IdentityInvalid(ValueError):
    """The text is no Charging Station identity."""


class SerialNumberInvalid(ValueError):
    """The text is no serial number that a certificate could carry."""


class SecurityProfile(IntEnum):
    """OCPP 2.0.1 block A: 1 basic auth, 2 TLS + basic auth, 3 TLS + client certificate."""

    BASIC = 1
    TLS_BASIC = 2
    TLS_CERTIFICATE = 3


class RegistrationStatus(StrEnum):
    """What BootNotification is answered with, kept across reconnects (B01-B03)."""

    ACCEPTED = "Accepted"
    PENDING = "Pending"
    REJECTED = "Rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A registered station as admission and the blocks need it."""

    id: UUID
    identity: StationIdentity
    registered_as: str  # the identity in the letter case people gave it, for people
    serial_number: SerialNumber
    security_profile: SecurityProfile
    minimum_security_profile: SecurityProfile
    registration_status: RegistrationStatus
    # What the station did at its last BootNotification; None until it has booted once. A plain
    # reconnect does not boot again (Part 4 §5.3), so this outlives the socket.
    booted_as: RegistrationStatus | None = None
    blocked: bool = False
    passwords: tuple[PasswordRecord, ...] = ()
    # Highest profile a session of this station was admitted on (written with the session's
    # epoch). A05.FR.07: never again lower, even before the minimum has been raised.
    proven_profile: SecurityProfile | None = None
    groups: tuple[str, ...] = ()
    created_at: datetime | None = None
    last_seen_at: datetime | None = None

    @property
    def lowest_admissible_profile(self) -> SecurityProfile:
        return max(self.minimum_security_profile, self.proven_profile or SecurityProfile.BASIC)


def parse_identity(text: str) -> StationIdentity:
    """The canonical identity: identifierString is case-insensitive, so cs1 and CS1 are one (T8).

    Raises IdentityInvalid.
    """
    if _IDENTITY.fullmatch(text) is None or text in {".", ".."}:
        raise IdentityInvalid("1 to 48 of A-Z a-z 0-9 * - _ = + | @ .")
    return StationIdentity(text.lower())


def parse_serial_number(text: str) -> SerialNumber:
    """A serial number as A00.FR.511 wants it in CN. Raises SerialNumberInvalid.

    The character set excludes dots and colons, and with them host names of more than one label,
    URLs and IP addresses; what is left to refuse is the single label that everybody resolves.
    """
    if _SERIAL_NUMBER.fullmatch(text) is None:
        raise SerialNumberInvalid("1 to 25 of A-Z a-z 0-9 _ -")
    if text.lower() == "localhost":
        raise SerialNumberInvalid("a serial number must not be a host name (A00.FR.511)")
    return SerialNumber(text)
