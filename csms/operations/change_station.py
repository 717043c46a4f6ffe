"""Change or delete a station's registration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from csms.domain.access import Principal
from csms.domain.audit import AuditAction, AuditRecord, Outcome, Scalar
from csms.domain.certificate import CertificateStatus
from csms.domain.station import Station, parse_serial_number
from csms.operations.checks import Checks, registration_status, security_profile
from csms.operations.errors import Conflict
from csms.operations.lookup import find_station
from csms.ports.bus import SESSIONS_CLOSE
from csms.ports.records import StationOverview
from csms.ports.store import UnitOfWork
from pki.wire import PkiRefused, PkiService, StationRegistration

_LIVE = tuple(
    set(CertificateStatus)
    - {CertificateStatus.REVOKED, CertificateStatus.EXPIRED, CertificateStatus.REJECTED}
)


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

    Blocking ends the live session (field-lessons §3.22).
    """
    station = await find_station(work, identity)
    changed = _apply(station, changes)
    if changed.serial_number != station.serial_number:
        await _rename(work, changed, pki)
    await work.stations.update(changed)
    if changed.blocked and not station.blocked:
        await close_sessions(work, station, "blocked")
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


async def close_sessions(work: UnitOfWork, station: Station, reason: str) -> None:
    """Tell every node to close this station's live session (the outbox is the truth)."""
    payload = {"station_id": str(station.id), "certificate_id": None, "reason": reason}
    await work.outbox.add(SESSIONS_CLOSE, payload)


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
