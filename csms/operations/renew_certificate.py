"""Renew a station's certificate (A02): ask for a CSR, and follow what comes of it.

The operation is what a person watches; the job is what makes it happen. OCPP's SignCertificate is
always a re-key.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from csms.domain.access import Principal, Scope
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.certificate import CertificateUse
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
from csms.operations.lookup import find_station
from csms.ports.clock import Clock, Randomness
from csms.ports.records import Job, JobKind, Operation, OperationState
from csms.ports.station_link import NotAllowedNow, NotConnected, StationCallError, StationLink
from csms.ports.store import Store, UnitOfWork

KIND: Final = "renew_certificate"
# A station that accepted the trigger and cannot build a CSR says nothing more , so
# silence has an end.
CSR_DEADLINE: Final = timedelta(minutes=10)
GIVE_UP_AFTER: Final = timedelta(days=7)
_MOST_ATTEMPTS: Final = 20
_WAITING: Final = "waiting"
_TRIGGERED: Final = "triggered"
# It has all it can get from us; a station that never comes with it must be asked again.
_AT_THE_STATION: Final = frozenset({"delivered", "accepted"})
_ENDED: Final = frozenset({OperationState.SUCCEEDED, OperationState.FAILED})
# How often the job looks whether an operation that others carry on has come to its end.
_WATCH: Final = timedelta(hours=6)


async def renew_certificate(
    work: UnitOfWork,
    identity: str,
    *,
    principal: Principal,
    now: datetime,
    randomness: Randomness,
) -> Operation:
    """Start, or join, the renewal of this station's certificate. Raises NotFound.

    An offline station is asked when it comes back.
    """
    station = await find_station(work, identity)
    running = await work.operations.open_of(station.id, KIND)
    if running is not None and running.progress not in _AT_THE_STATION:
        return running
    if running is not None:
        await _end(work, running, now, "another renewal was asked for")
    operation = await start_renewal(work, station.id, now=now, randomness=randomness)
    await work.audit.add(
        AuditRecord(
            at=now,
            actor=principal.actor,
            action=AuditAction.CERTIFICATE_RENEW,
            subject=f"station:{station.identity}",
            outcome=Outcome.SUCCESS,
            details={"operation": str(operation.id)},
        )
    )
    return operation


async def start_renewal(
    work: UnitOfWork, station_id: UUID, *, now: datetime, randomness: Randomness
) -> Operation:
    operation = Operation(
        id=randomness.uuid(),
        kind=KIND,
        station_id=station_id,
        state=OperationState.WAITING,
        progress=_WAITING,
        created_at=now,
        updated_at=now,
        scope=Scope.CERTIFICATES_ISSUE,
        result={},
    )
    await work.operations.add(operation)
    await work.jobs.add(
        Job(
            id=randomness.uuid(),
            kind=JobKind.TRIGGER_RENEWAL,
            key=str(operation.id),
            station_id=station_id,
            payload={"operation_id": str(operation.id)},
            attempts=0,
            run_at=now,
            created_at=now,
        )
    )
    return operation


async def trigger_renewal(job: Job, *, store: Store, link: StationLink, clock: Clock) -> JobOutcome:
    """The job: see that a CSR comes, and that the renewal has an end.

    1. TriggerMessage, until it is answered. After a crash it is sent again: a station makes
       another CSR then, and the first one's request gives way to it.
    2. Its Accepted is stored, unless the CSR came first.
    3. From here on the station's own messages carry the renewal on; looked at until it has ended.
    """
    async with store.reading() as work:
        operation = await work.operations.by_id(UUID(job.payload["operation_id"]))
    if operation is None or operation.state in _ENDED:
        return Done()
    now = clock.now()
    if operation.progress != _WAITING:
        # 3
        return await _watch(store, operation, now)
    if now - operation.created_at > GIVE_UP_AFTER or job.attempts > _MOST_ATTEMPTS:
        return await _failed(store, operation, now, "the station could not be asked")
    return await _trigger(job, operation, store=store, link=link, clock=clock)


async def _watch(store: Store, operation: Operation, now: datetime) -> JobOutcome:
    """The station's answers carry the renewal on. They may end, and then so must it: while it is
    open no other can begin.
    """
    if operation.progress == _TRIGGERED:
        if now - operation.updated_at >= CSR_DEADLINE:
            return await _failed(store, operation, now, "the station accepted and sent no CSR")
        return RetryIn(CSR_DEADLINE, "waiting for the CSR", counts=False)
    if now - operation.created_at > GIVE_UP_AFTER:
        return await _failed(store, operation, now, "the new certificate was never seen")
    return RetryIn(_WATCH, "the CSR has come", counts=False)


async def _trigger(
    job: Job, operation: Operation, *, store: Store, link: StationLink, clock: Clock
) -> JobOutcome:
    if operation.station_id is None:
        return GiveUp("the operation names no station")
    message = {"requestedMessage": "SignChargingStationCertificate"}
    # 1
    try:
        answer = await link.call(operation.station_id, Action.TRIGGER_MESSAGE, message)
    except NotConnected:
        return WhenConnected("the station is offline")
    except NotAllowedNow:
        # B03.FR.03: its next boot as accepted wakes the job.
        return RetryIn(UNTIL_IT_CONNECTS, "the station is rejected", counts=False)
    except StationCallError as error:
        period = back_off(job.attempts, first=timedelta(seconds=10), longest=timedelta(minutes=15))
        return RetryIn(period, type(error).__name__)
    if answer["status"] != "Accepted":
        return await _failed(store, operation, clock.now(), f"trigger {answer['status']}")
    # 2
    async with store.writing() as work:
        current = await work.operations.by_id(operation.id)
        # The CSR may have overtaken the answer to the trigger.
        if current is not None and current.progress == _WAITING:
            await work.operations.advance(
                operation.id,
                state=OperationState.RUNNING,
                progress=_TRIGGERED,
                at=clock.now(),
            )
            await work.commit()
    return RetryIn(CSR_DEADLINE, "waiting for the CSR")


async def _failed(store: Store, operation: Operation, now: datetime, why: str) -> JobOutcome:
    async with store.writing() as work:
        current = await work.operations.by_id(operation.id)
        if current is None or current.progress != operation.progress:
            return RetryIn(timedelta(0), "it went on meanwhile", counts=False)
        await _end(work, current, now, why)
        await work.commit()
    return GiveUp(why)


async def _end(work: UnitOfWork, operation: Operation, now: datetime, why: str) -> None:
    await work.operations.advance(
        operation.id,
        state=OperationState.FAILED,
        progress=operation.progress,
        at=now,
        result={**operation.result, "detail": why},
    )
    await work.audit.add(
        AuditRecord(
            at=now,
            actor="role:worker",
            action=AuditAction.CERTIFICATE_RENEW,
            subject=f"operation:{operation.id}",
            outcome=Outcome.FAILED,
            reason="no_csr" if operation.progress in {_WAITING, _TRIGGERED} else "not_seen",
            details={"use": CertificateUse.CHARGING_STATION.value, "detail": why},
        )
    )


async def renewal_progress(
    work: UnitOfWork,
    station_id: UUID,
    *,
    state: OperationState,
    progress: str,
    at: datetime,
    certificate_id: UUID | None = None,
    detail: str | None = None,
) -> None:
    """Tell whoever watches this station's renewal how far it is. News of a certificate is for the
    renewal that made it: one of an earlier CSR may be accepted or seen while the next is awaited.
    """
    operation = await work.operations.open_of(station_id, KIND)
    if operation is None:
        return
    result = dict(operation.result)
    if certificate_id is not None:
        signed = progress == "signed" and operation.progress == "csr_received"
        if not signed and result.get("certificate_id") != str(certificate_id):
            return
        result["certificate_id"] = str(certificate_id)
    if detail is not None:
        result["detail"] = detail
    await work.operations.advance(
        operation.id, state=state, progress=progress, at=at, result=result
    )
