"""Revoke a station's certificate: cut off first, publish after (decision 7).

1. One transaction: status, audit row, outbox row, and the job that tells the CA.
2. Every gateway closes the live session and says so; one that does not hear the hint finds the
   outbox row by its cursor.
3. The CA learns of it from the job, so a sealed Vault or an absent CA never delays step 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from csms.domain.access import Principal
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.certificate import (
    CertificateEvent,
    CertificateRecord,
    CertificateStatus,
    RevocationReason,
    TransitionImpossible,
    next_status,
)
from csms.operations.errors import Conflict, NotFound
from csms.operations.jobs import Done, GiveUp, JobOutcome, RetryIn, back_off
from csms.ports.bus import JOBS_WAKE, SESSIONS_CLOSE, Bus, BusError
from csms.ports.clock import Clock, Randomness
from csms.ports.records import Job, JobKind
from csms.ports.store import Store, Superseded, UnitOfWork
from pki.wire import PkiRefused, PkiService, PkiUnavailable, Revocation

# Long enough for every node to abort a socket that ignores the close (500 ms), short enough for a
# person to wait.
_ACKNOWLEDGE_SECONDS: Final = 2.0
_TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    record: CertificateRecord
    nodes: Sequence[Mapping[str, Any]]  # {"node", "closed", "at"} of each that answered


async def revoke_certificate(
    store: Store,
    bus: Bus,
    certificate_id: UUID,
    reason: RevocationReason,
    *,
    principal: Principal,
    clock: Clock,
    randomness: Randomness,
) -> Revoked:
    """Raises NotFound, Conflict (revoked or expired already)."""
    record = await _revoked(store, certificate_id, reason, principal, clock, randomness)
    notice = _notice(record)
    try:
        nodes = await bus.survey(SESSIONS_CLOSE, notice, timeout=_ACKNOWLEDGE_SECONDS)
        await bus.publish(JOBS_WAKE, {})
    except BusError:
        nodes = []  # the outbox row is there: gateways find it by their cursor
    return Revoked(record=record, nodes=nodes)


async def _revoked(
    store: Store,
    certificate_id: UUID,
    reason: RevocationReason,
    principal: Principal,
    clock: Clock,
    randomness: Randomness,
) -> CertificateRecord:
    """1: tried again when the status moves between reading and writing (a station connects)."""
    for _ in range(_TRIES):
        now = clock.now()
        async with store.writing() as work:
            record = await _revocable(work, certificate_id)
            try:
                await work.certificates.update_status(
                    record.id,
                    was=record.status,
                    becomes=next_status(record.status, CertificateEvent.REVOKE),
                    revoked_at=now,
                    revocation_reason=reason.value,
                )
            except Superseded:
                continue
            await work.outbox.add(SESSIONS_CLOSE, _notice(record))
            await work.jobs.add(_tell_the_ca(record, now, randomness))
            await work.audit.add(_audit(record, reason, principal, now))
            await work.commit()
            return replace(
                record,
                status=CertificateStatus.REVOKED,
                revoked_at=now,
                revocation_reason=reason.value,
            )
    raise Conflict("the certificate keeps changing; try again")


async def _revocable(work: UnitOfWork, certificate_id: UUID) -> CertificateRecord:
    record = await work.certificates.by_id(certificate_id)
    if record is None:
        raise NotFound("certificate")
    try:
        next_status(record.status, CertificateEvent.REVOKE)
    except TransitionImpossible as error:
        raise Conflict(str(error)) from None
    return record


async def revoke_at_ca(job: Job, *, store: Store, pki: PkiService) -> JobOutcome:
    """3: the job."""
    async with store.reading() as work:
        record = await work.certificates.by_id(UUID(job.payload["certificate_id"]))
    if record is None or record.revoked_at is None:
        return Done()
    try:
        await pki.revoke(
            Revocation(
                issuer=record.issuer,
                serial=record.serial,
                reason=record.revocation_reason or RevocationReason.UNSPECIFIED,
                revoked_at=record.revoked_at,
            )
        )
    except PkiUnavailable:
        period = back_off(job.attempts, first=timedelta(seconds=1), longest=timedelta(minutes=5))
        return RetryIn(period, "the PKI is unavailable")
    except PkiRefused as refusal:
        return GiveUp(str(refusal))
    return Done()


def _notice(record: CertificateRecord) -> dict[str, Any]:
    return {
        "station_id": str(record.station_id),
        "certificate_id": str(record.id),
        "reason": "certificate revoked",
    }


def _tell_the_ca(record: CertificateRecord, now: datetime, randomness: Randomness) -> Job:
    return Job(
        id=randomness.uuid(),
        kind=JobKind.REVOKE_AT_CA,
        key=str(record.id),
        station_id=None,
        payload={"certificate_id": str(record.id)},
        attempts=0,
        run_at=now,
        created_at=now,
    )


def _audit(
    record: CertificateRecord, reason: RevocationReason, principal: Principal, now: datetime
) -> AuditRecord:
    return AuditRecord(
        at=now,
        actor=principal.actor,
        action=AuditAction.CERTIFICATE_REVOKE,
        subject=f"certificate:{record.id}",
        outcome=Outcome.SUCCESS,
        reason=reason.value,
        details={"station": str(record.station_id), "serial": record.serial},
    )
