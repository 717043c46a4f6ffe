"""Bring a signed certificate to its station, and again until it is answered or the end.

What was answered once is not sent again, also when a crash has left its job, unless the station
asks for it again by the same CSR (A02.FR.17): a station has thrown away the pending key by then,
and would refuse its own certificate.

1. `delivered` is committed before the message leaves: from here on the station may come with it,
   whether or not we ever hear the answer.
2. CertificateSigned: leaf and issuing CA, no root, and the certificateType of the request
   (A02.FR.14).
3. Accepted proves nothing yet: only a handshake does, since stations accept what they then fail to
   install. Rejected is final until somebody acts (A02.FR.20), but only of what was sent once: an
   answer that we never read, or forgot in a crash, may have been Accepted, and the station holds
   the certificate. Then the handshake decides that, too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.certificate import (
    CertificateEvent,
    CertificateRecord,
    CertificateRequest,
    CertificateStatus,
    next_status,
)
from csms.domain.security_event import CSMSEvent, EventSource, SecurityEvent
from csms.ocpp.actions import Action
from csms.operations.jobs import (
    UNTIL_IT_CONNECTS,
    Done,
    GiveUp,
    JobOutcome,
    RetryIn,
    WhenConnected,
    back_off,
)
from csms.operations.renew_certificate import renewal_progress
from csms.ports.bus import Json
from csms.ports.clock import Clock, Randomness
from csms.ports.records import Job, OperationState
from csms.ports.station_link import NotAllowedNow, NotConnected, StationCallError, StationLink
from csms.ports.store import Store

GIVE_UP_AFTER: Final = timedelta(days=7)
_MOST_ATTEMPTS: Final = 30
_ON_ITS_WAY: Final = frozenset({CertificateStatus.SIGNED, CertificateStatus.DELIVERED})
_AT_THE_STATION: Final = frozenset({CertificateStatus.ACCEPTED, CertificateStatus.ACTIVE})


async def deliver_certificate(
    job: Job, *, store: Store, link: StationLink, clock: Clock, randomness: Randomness
) -> JobOutcome:
    certificate_id = UUID(job.payload["certificate_id"])
    async with store.reading() as work:
        record = await work.certificates.by_id(certificate_id)
        request = (
            await work.certificate_requests.by_id(record.request_id)
            if record is not None and record.request_id is not None
            else None
        )
    if record is None:
        return Done()
    if record.status not in _ON_ITS_WAY | _AT_THE_STATION:
        await _overtaken(record, store, clock)
        return Done()
    if record.status in _AT_THE_STATION and not job.payload.get("asked_again"):
        return Done()
    if clock.now() - job.created_at > GIVE_UP_AFTER or job.attempts > _MOST_ATTEMPTS:
        return await _settle(
            record, CertificateEvent.GIVEN_UP, "no answer", store, clock, randomness
        )
    return await _deliver(job, record, request, store, link, clock, randomness)


async def _deliver(
    job: Job,
    record: CertificateRecord,
    request: CertificateRequest | None,
    store: Store,
    link: StationLink,
    clock: Clock,
    randomness: Randomness,
) -> JobOutcome:
    # 1
    first = record.status is CertificateStatus.SIGNED
    if record.status in _ON_ITS_WAY:
        await _step(record, CertificateEvent.SENT, store)
    # 2
    try:
        answer = await link.call(
            record.station_id, Action.CERTIFICATE_SIGNED, _message(record, request)
        )
    except StationCallError as error:
        if first and isinstance(error, NotConnected | NotAllowedNow):
            await _step_back(record, store)
        return _later(job, error)
    # 3
    if answer["status"] == "Accepted":
        return await _settle(
            record, CertificateEvent.STATION_ACCEPTED, None, store, clock, randomness
        )
    why = str(answer.get("statusInfo", {}).get("reasonCode", "no reason given"))
    if not first:
        return await _doubt(record, why, store, clock)
    return await _settle(record, CertificateEvent.STATION_REJECTED, why, store, clock, randomness)


def _later(job: Job, error: StationCallError) -> JobOutcome:
    match error:
        case NotConnected():
            return WhenConnected("the station is offline")
        case NotAllowedNow():
            # B03.FR.03: its next boot as accepted wakes the job.
            return RetryIn(UNTIL_IT_CONNECTS, "the station is rejected", counts=False)
        case _:
            period = back_off(job.attempts, first=timedelta(seconds=10), longest=timedelta(hours=1))
            return RetryIn(period, type(error).__name__)


async def _doubt(record: CertificateRecord, why: str, store: Store, clock: Clock) -> JobOutcome:
    """Rejected, of what was sent before: the certificate stays what it is, and the renewal waits
    for no answer any more. The audit row says what was said.
    """
    now = clock.now()
    async with store.writing() as work:
        current = await work.certificates.by_id(record.id)
        if current is not None and current.status in _ON_ITS_WAY | _AT_THE_STATION:
            await renewal_progress(
                work,
                record.station_id,
                state=OperationState.RUNNING,
                progress="delivered",
                at=now,
                certificate_id=record.id,
                detail=f"refused when it was sent again: {why}",
            )
        await work.audit.add(_audit(record, CertificateEvent.STATION_REJECTED, why, now))
        await work.commit()
    return Done()


async def _overtaken(record: CertificateRecord, store: Store, clock: Clock) -> None:
    """Revoked or superseded on its way: the renewal that made it waits for nothing any more."""
    async with store.writing() as work:
        await renewal_progress(
            work,
            record.station_id,
            state=OperationState.FAILED,
            progress=record.status.value,
            at=clock.now(),
            certificate_id=record.id,
        )
        await work.commit()


def _message(record: CertificateRecord, request: CertificateRequest | None) -> Json:
    message: Json = {"certificateChain": record.chain_pem}
    if request is not None and request.certificate_type is not None:
        message["certificateType"] = request.certificate_type
    return message


async def _step(record: CertificateRecord, event: CertificateEvent, store: Store) -> None:
    async with store.writing() as work:
        becomes = next_status(record.status, event)
        if becomes is not record.status:
            await work.certificates.update_status(record.id, was=record.status, becomes=becomes)
            await work.commit()


async def _step_back(record: CertificateRecord, store: Store) -> None:
    """It never left: a later Rejected is the answer to the first that did."""
    async with store.writing() as work:
        current = await work.certificates.by_id(record.id)
        if current is not None and current.status is CertificateStatus.DELIVERED:
            becomes = next_status(current.status, CertificateEvent.NOT_SENT)
            await work.certificates.update_status(record.id, was=current.status, becomes=becomes)
            await work.commit()


_PROGRESS: Final = {
    CertificateEvent.STATION_ACCEPTED: (OperationState.RUNNING, "accepted"),
    CertificateEvent.STATION_REJECTED: (OperationState.FAILED, "rejected"),
    CertificateEvent.GIVEN_UP: (OperationState.FAILED, "not_delivered"),
}


async def _settle(
    record: CertificateRecord,
    event: CertificateEvent,
    why: str | None,
    store: Store,
    clock: Clock,
    randomness: Randomness,
) -> JobOutcome:
    """Record how the delivery ended, against whatever the certificate has become meanwhile."""
    now = clock.now()
    accepted = event is CertificateEvent.STATION_ACCEPTED
    async with store.writing() as work:
        current = await work.certificates.by_id(record.id)
        # It may have been seen in a handshake, or revoked, before the answer was read.
        if current is not None and current.status in _ON_ITS_WAY:
            await work.certificates.update_status(
                record.id, was=current.status, becomes=next_status(current.status, event)
            )
            state, progress = _PROGRESS[event]
            await renewal_progress(
                work,
                record.station_id,
                state=state,
                progress=progress,
                at=now,
                certificate_id=record.id,
                detail=why,
            )
        if not accepted:
            said = f"{event.value}: {why}"
            await work.security_events.add(_not_delivered(record, said, now, randomness))
        await work.audit.add(_audit(record, event, why, now))
        await work.commit()
    return Done() if accepted else GiveUp(f"{event.value}: {why}")


def _not_delivered(
    record: CertificateRecord, said: str, now: datetime, randomness: Randomness
) -> SecurityEvent:
    return SecurityEvent(
        id=randomness.uuid(),
        station_id=record.station_id,
        type=CSMSEvent.CERTIFICATE_NOT_DELIVERED,
        occurred_at=now,
        received_at=now,
        tech_info=said[:255],
        source=EventSource.CSMS,
    )


def _audit(
    record: CertificateRecord, event: CertificateEvent, why: str | None, now: datetime
) -> AuditRecord:
    accepted = event is CertificateEvent.STATION_ACCEPTED
    return AuditRecord(
        at=now,
        actor="role:worker",
        action=AuditAction.CERTIFICATE_DELIVER,
        subject=f"certificate:{record.id}",
        outcome=Outcome.SUCCESS if accepted else Outcome.FAILED,
        reason=None if accepted else event.value,
        details={"station": str(record.station_id), "detail": why},
    )
