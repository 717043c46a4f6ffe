"""Change or delete a station's registration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from csms.domain.access import Principal
from csms.domain.audit import AuditAction, AuditRecord, Outcome, Scalar
from csms.domain.certificate import CertificateStatus
from csms.domain.station import (
    RegistrationStatus,
    SecurityProfile,
    Station,
    parse_serial_number,
)
from csms.operations.checks import Checks, registration_status, security_profile
from csms.operations.errors import Conflict
from csms.operations.lookup import find_station
from csms.ports.bus import SESSIONS_CLOSE
from csms.ports.records import StationOverview
from csms.ports.store import UnitOfWork
from pki.wire import PkiRefused, PkiService, StationRegistration

# Not at an end yet. Also what the station refused: it holds that key and certificate all the same.
_LIVE = tuple(set(CertificateStatus) - {CertificateStatus.REVOKED, CertificateStatus.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class StationChanges:
    """What to change; None leaves a field as it is."""

    serial_number: str | None = None
    security_profile: int | None = None
    minimum_security_profile: int | None = None
    blocked: bool | None = None
    groups: tuple[str, ...] | None = None
    registration_status: str | None = None


async def change_station(
    work: UnitOfWork,
    identity: str,
    changes: StationChanges,
    *,
    principal: Principal,
    now: datetime,
    pki: PkiService,
) -> StationOverview:
    """Raises NotFound, Invalid, Conflict, PkiUnavailable.

    What the live session was let in by, or accepted as, may not hold any more: then it ends.
    """
    station = await find_station(work, identity)
    changed = _apply(station, changes)
    if changed.serial_number != station.serial_number:
        await _rename(work, changed, pki)
    await work.stations.update(changed, was=station)
    await _cut_off(work, station, changed)
    await work.audit.add(
        AuditRecord(
            at=now,
            actor=principal.actor,
            action=AuditAction.STATION_CHANGE,
            subject=f"station:{station.identity}",
            outcome=Outcome.SUCCESS,
            details=_differences(station, changed),
        )
    )
    session = await work.sessions.current(station.id)
    return StationOverview(station=changed, session=session)


async def delete_station(
    work: UnitOfWork, identity: str, *, principal: Principal, now: datetime
) -> None:
    """Raises NotFound, and Conflict while a certificate could still let the station in.

    Revoking first keeps the record: what was issued must stay answerable.
    """
    station = await find_station(work, identity)
    if await work.certificates.of_station(station.id, _LIVE):
        raise Conflict("the station has certificates: revoke them first")
    await close_sessions(work, station, "deleted")
    await work.stations.delete(station.id)
    await work.audit.add(
        AuditRecord(
            at=now,
            actor=principal.actor,
            action=AuditAction.STATION_DELETE,
            subject=f"station:{station.identity}",
            outcome=Outcome.SUCCESS,
            details={"serial_number": station.serial_number},
        )
    )


async def close_sessions(
    work: UnitOfWork, station: Station, reason: str, *, below: SecurityProfile | None = None
) -> None:
    """Tell every node to close this station's live session (the outbox is the truth), or only one
    on a lower profile than `below`.
    """
    payload: dict[str, Any] = {"station_id": str(station.id), "reason": reason}
    if below is not None:
        payload["below_profile"] = int(below)
    await work.outbox.add(SESSIONS_CLOSE, payload)


async def _cut_off(work: UnitOfWork, before: Station, after: Station) -> None:
    """End the session that the changed registration would not let in (or be accepted) again."""
    if after.blocked and not before.blocked:
        await close_sessions(work, before, "blocked")
    # Its gate was opened by a boot that counts no more; it comes back behind a closed one.
    if (
        after.registration_status is not before.registration_status
        and after.registration_status is not RegistrationStatus.ACCEPTED
    ):
        await close_sessions(work, before, "the registration status has changed")
    lowest = after.lowest_admissible_profile
    if lowest > before.lowest_admissible_profile:  # A05.FR.07 holds for who is connected, too
        await close_sessions(work, before, "the security profile is too low", below=lowest)


def _apply(station: Station, changes: StationChanges) -> Station:
    checks = Checks()
    fields: dict[str, Any] = {}
    for name, parser in _PARSERS.items():
        raw = getattr(changes, name)
        if raw is not None:
            fields[name] = checks.parse(f"/{name}", parser, raw)
    checks.done()
    changed = replace(station, **fields)
    # A05.FR.07: never lower again; the audited exception needs a second person (T9).
    if changed.minimum_security_profile < station.lowest_admissible_profile:
        if "minimum_security_profile" in fields:
            checks.refuse("/minimum_security_profile", "a security profile is never lowered")
        changed = replace(changed, minimum_security_profile=station.lowest_admissible_profile)
    if changed.security_profile < changed.minimum_security_profile:
        checks.refuse("/security_profile", "below the lowest profile the station may use")
    checks.done()
    return changed


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "serial_number": parse_serial_number,
    "security_profile": security_profile,
    "minimum_security_profile": security_profile,
    "registration_status": registration_status,
    "blocked": bool,
    "groups": tuple,
}


async def _rename(work: UnitOfWork, station: Station, pki: PkiService) -> None:
    """Another serial number is another common name: certificates of the old one must be gone."""
    if await work.certificates.of_station(station.id, _LIVE):
        raise Conflict("the station has certificates for its serial number: revoke them first")
    registration = StationRegistration(station_id=station.id, serial_number=station.serial_number)
    try:
        await pki.register_station(registration)
    except PkiRefused as error:
        raise Conflict(f"the PKI refuses the serial number: {error.reason.value}") from error


def _differences(before: Station, after: Station) -> dict[str, Scalar]:
    return {
        name: str(getattr(after, name))
        for name in (
            "serial_number",
            "security_profile",
            "minimum_security_profile",
            "registration_status",
            "blocked",
            "groups",
        )
        if getattr(before, name) != getattr(after, name)
    }
