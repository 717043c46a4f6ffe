"""Register a Charging Station: its names, its profile, and its first password."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from csms.domain.access import Principal
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.password import GENERATED_LENGTH, Peppers, generate_password, hash_password
from csms.domain.station import (
    SecurityProfile,
    Station,
    parse_identity,
    parse_serial_number,
)
from csms.operations.checks import Checks, registration_status, security_profile
from csms.operations.errors import Conflict
from csms.ports.clock import Randomness
from csms.ports.store import AlreadyExists, UnitOfWork
from pki.wire import PkiRefused, PkiService, StationRegistration


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStation:
    """What a person says; nothing of it is trusted yet."""

    identity: str
    serial_number: str
    security_profile: int
    groups: tuple[str, ...] = ()
    registration_status: str = "Accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    station: Station
    # The generated password, shown this once; None on profile 3, which has none.
    password: str | None = field(repr=False)


async def register_station(
    work: UnitOfWork,
    new: NewStation,
    *,
    principal: Principal,
    now: datetime,
    randomness: Randomness,
    peppers: Peppers,
    pki: PkiService,
) -> Registered:
    """Raises Invalid, Conflict (identity or serial number taken), PkiUnavailable.

    The PKI keeps a registry of its own and is told first: registering twice is harmless there,
    while a station that is known here and not there could never be certified.
    """
    station = _checked(new, randomness, now)
    password: str | None = None
    if station.security_profile is not SecurityProfile.TLS_CERTIFICATE:
        password = generate_password(randomness.bytes(GENERATED_LENGTH))
        record = hash_password(password, salt=randomness.bytes(16), peppers=peppers)
        station = replace(station, passwords=(record,))
    try:
        await work.stations.add(station)
    except AlreadyExists:
        raise Conflict("the identity or the serial number is registered already") from None
    await _tell_pki(pki, station)
    await work.audit.add(
        AuditRecord(
            at=now,
            actor=principal.actor,
            action=AuditAction.STATION_REGISTER,
            subject=f"station:{station.identity}",
            outcome=Outcome.SUCCESS,
            details={
                "serial_number": station.serial_number,
                "security_profile": int(station.security_profile),
            },
        )
    )
    return Registered(station=station, password=password)


def _checked(new: NewStation, randomness: Randomness, now: datetime) -> Station:
    checks = Checks()
    identity = checks.parse("/identity", parse_identity, new.identity)
    serial_number = checks.parse("/serial_number", parse_serial_number, new.serial_number)
    profile = checks.parse("/security_profile", security_profile, new.security_profile)
    status = checks.parse("/registration_status", registration_status, new.registration_status)
    checks.done()
    if identity is None or serial_number is None or profile is None or status is None:
        raise AssertionError("done() raises when a parse failed")
    return Station(
        id=randomness.uuid(),
        identity=identity,
        registered_as=new.identity,
        serial_number=serial_number,
        security_profile=profile,
        minimum_security_profile=profile,
        registration_status=status,
        groups=new.groups,
        created_at=now,
    )


async def _tell_pki(pki: PkiService, station: Station) -> None:
    registration = StationRegistration(station_id=station.id, serial_number=station.serial_number)
    try:
        await pki.register_station(registration)
    except PkiRefused as error:
        raise Conflict(f"the PKI refuses the serial number: {error.reason.value}") from error
