"""What a handshake proved: the certificate is in use, the profile was reached.

The gateway reports it with the session; certificate status and minimum profile are not the
gateway's to write. Until this ran, `proven_profile` on the session row keeps lower profiles out.
In one transaction:

1. The certificate is active, and every one that was issued before it is superseded (T14).
2. A pending password that opened the door becomes the only one.
3. The profile that was reached becomes the lowest.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.certificate import (
    CertificateEvent,
    CertificateRecord,
    CertificateStatus,
    next_status,
)
from csms.domain.password import settled
from csms.domain.station import SecurityProfile, Station
from csms.operations.jobs import Done, JobOutcome
from csms.operations.renew_certificate import renewal_progress
from csms.ports.clock import Clock
from csms.ports.records import Job, OperationState
from csms.ports.store import Store, UnitOfWork

# The last two became so after the handshake: none such is let in.
_WAITING = (
    CertificateStatus.DELIVERED,
    CertificateStatus.ACCEPTED,
    CertificateStatus.REJECTED,
    CertificateStatus.ABANDONED,
)
_REPLACEABLE = (
    CertificateStatus.SIGNED,
    CertificateStatus.DELIVERED,
    CertificateStatus.ACCEPTED,
    CertificateStatus.ACTIVE,
)


async def confirm_session(job: Job, *, store: Store, clock: Clock) -> JobOutcome:
    now = clock.now()
    profile = SecurityProfile(job.payload["profile"])
    certificate_id = job.payload.get("certificate_id")
    async with store.writing() as work:
        station = await work.stations.by_id(UUID(job.payload["station_id"]))
        if station is None:
            return Done()
        # 1
        if certificate_id is not None:
            await _certificate_seen(work, UUID(certificate_id), station, now)
        # 2
        proved = job.payload.get("proved_password")
        if proved is not None:
            station = await _password_proved(work, station, bytes.fromhex(proved), now)
        # 3
        await _profile_reached(work, station, profile, now)
        await work.commit()
    return Done()


async def _certificate_seen(
    work: UnitOfWork, certificate_id: UUID, station: Station, now: datetime
) -> None:
    record = await work.certificates.by_id(certificate_id)
    if record is None or record.station_id != station.id or record.status not in _WAITING:
        return
    await work.certificates.update_status(
        record.id,
        was=record.status,
        becomes=next_status(record.status, CertificateEvent.SEEN),
        first_seen_at=now,
    )
    await work.audit.add(_record(AuditAction.CERTIFICATE_ACTIVATE, record, now))
    for older in await work.certificates.of_station(station.id, _REPLACEABLE):
        if older.id != record.id and _before(older, record):
            becomes = next_status(older.status, CertificateEvent.SUCCESSOR_SEEN)
            await work.certificates.update_status(older.id, was=older.status, becomes=becomes)
            await work.audit.add(_record(AuditAction.CERTIFICATE_SUPERSEDE, older, now))
    await renewal_progress(
        work,
        station.id,
        state=OperationState.SUCCEEDED,
        progress="active",
        at=now,
        certificate_id=record.id,
    )


def _before(older: CertificateRecord, newer: CertificateRecord) -> bool:
    """A station may fall back to its old certificate while a newer one waits (A02.FR.28): only
    what was issued earlier is superseded.
    """
    if older.created_at is None or newer.created_at is None:
        return older.not_before < newer.not_before
    return older.created_at < newer.created_at


async def _password_proved(
    work: UnitOfWork, station: Station, salt: bytes, now: datetime
) -> Station:
    """A01.FR.03 by use: that pending password opened the door, so those before it are dead. One
    that was sent after it may be the station's next, and stays.
    """
    slots = settled(station.passwords, salt)
    if slots == station.passwords:
        return station
    await work.stations.replace_passwords(station.id, slots)
    await work.audit.add(
        AuditRecord(
            at=now,
            actor="role:worker",
            action=AuditAction.STATION_PASSWORD_CHANGE,
            subject=f"station:{station.identity}",
            outcome=Outcome.SUCCESS,
            reason="proved_by_use",
        )
    )
    return replace(station, passwords=slots)


async def _profile_reached(
    work: UnitOfWork, station: Station, profile: SecurityProfile, now: datetime
) -> None:
    """A05.FR.07: from now on nothing lower."""
    if profile <= station.minimum_security_profile:
        return
    raised = replace(
        station,
        security_profile=max(profile, station.security_profile),
        minimum_security_profile=max(profile, station.minimum_security_profile),
    )
    await work.stations.update(raised, was=station)
    await work.audit.add(
        AuditRecord(
            at=now,
            actor="role:worker",
            action=AuditAction.STATION_RAISE_PROFILE,
            subject=f"station:{station.identity}",
            outcome=Outcome.SUCCESS,
            details={"from": int(station.minimum_security_profile), "to": int(profile)},
        )
    )


def _record(action: AuditAction, record: CertificateRecord, now: datetime) -> AuditRecord:
    return AuditRecord(
        at=now,
        actor="role:worker",
        action=action,
        subject=f"certificate:{record.id}",
        outcome=Outcome.SUCCESS,
        details={"station": str(record.station_id), "serial": record.serial},
    )
