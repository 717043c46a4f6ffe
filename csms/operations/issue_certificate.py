"""Have the PKI sign a stored CSR, and queue the delivery.

1. The request is open still, and the station still has its key.
2. The PKI is asked under the request's own id: asked again after a crash, it answers with the
   certificate it has made for that id, or makes the only one (C09).
3. One transaction: the certificate, the request as issued, the job that delivers it, the audit row.

The station was told Accepted before the CA looked (A02.FR.11), so a refusal here is an event for
people and never silence.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.certificate import (
    DELIVERABLE,
    CertificateRecord,
    CertificateRequest,
    CertificateStatus,
    RequestStatus,
)
from csms.domain.security_event import CSMSEvent, EventSource, SecurityEvent
from csms.domain.station import Station
from csms.operations.jobs import Done, GiveUp, JobOutcome, RetryIn, back_off
from csms.operations.renew_certificate import renewal_progress, start_renewal
from csms.ports.clock import Clock, Randomness
from csms.ports.records import Job, JobKind, OperationState
from csms.ports.store import Store, UnitOfWork
from pki.wire import (
    PkiRefused,
    PkiService,
    PkiUnavailable,
    RefusalReason,
    StationCertificateAnswer,
    StationCertificateRequest,
)

# A station deletes the key of a CSR that nobody answered after an hour : a certificate for it
# would be useless, so a fresh CSR is asked for instead.
KEY_LIFE: Final = timedelta(minutes=55)


async def issue_certificate(
    job: Job, *, store: Store, pki: PkiService, clock: Clock, randomness: Randomness
) -> JobOutcome:
    # 1
    async with store.reading() as work:
        request = await work.certificate_requests.by_id(UUID(job.payload["request_id"]))
        station = await work.stations.by_id(request.station_id) if request else None
    if request is None or station is None or request.status is not RequestStatus.OPEN:
        return Done()
    if clock.now() - request.received_at > KEY_LIFE:
        return await _too_late(request, store, clock, randomness)
    # 2
    try:
        answer = await pki.issue_station_certificate(
            StationCertificateRequest(
                request_id=request.id, station_id=station.id, csr_pem=request.csr_pem
            )
        )
    except PkiUnavailable:
        period = back_off(job.attempts, first=timedelta(seconds=1), longest=timedelta(seconds=30))
        return RetryIn(period, "the PKI is unavailable")
    except PkiRefused as refusal:
        return await _refused(request, station, refusal, store, clock, randomness)
    if (over := await _over(answer, station, store)) is not None:
        # The PKI repeats its answer to a key; that certificate will not be sent again.
        again = PkiRefused(RefusalReason.KEY_REUSED, f"the key's certificate is {over}")
        return await _refused(request, station, again, store, clock, randomness)
    # 3
    outcome = await _issued(request, station, answer, store, clock, randomness)
    if job.attempts:
        await _wake_the_others(store, clock)
    return outcome


async def _wake_the_others(store: Store, clock: Clock) -> None:
    """The PKI is back: those that wait their back-off out need not, and go in the order in which
    they came (P03).
    """
    async with store.writing() as work:
        if await work.jobs.wake_kind(JobKind.ISSUE_CERTIFICATE, now=clock.now()):
            await work.commit()


async def _over(
    answer: StationCertificateAnswer, station: Station, store: Store
) -> CertificateStatus | None:
    if not answer.issued.already_issued:
        return None
    async with store.reading() as work:
        for known in await work.certificates.of_station(station.id):
            if known.fingerprint_sha256 == answer.issued.fingerprint_sha256:
                return None if known.status in DELIVERABLE else known.status
    return None


async def _issued(
    request: CertificateRequest,
    station: Station,
    answer: StationCertificateAnswer,
    store: Store,
    clock: Clock,
    randomness: Randomness,
) -> JobOutcome:
    now = clock.now()
    record = _record(request, answer, now, randomness)
    async with store.writing() as work:
        current = await work.certificate_requests.by_id(request.id)
        if current is None or current.status is RequestStatus.ISSUED:
            return Done()  # another run of this job was here: the lease had run out
        known = await _same_certificate(work, record)
        if known is None:
            await work.certificates.add(record)
        # A CSR that came meanwhile has made this one worthless (the station forgot its key): the
        # certificate is kept in the inventory, and never sent.
        if current.status is RequestStatus.OPEN:
            await work.certificate_requests.set_status(request.id, RequestStatus.ISSUED)
            delivery = _delivery((known or record).id, station, now, randomness)
            if known is not None:
                delivery = replace(delivery, payload={**delivery.payload, "asked_again": True})
            await _send_on(work, delivery, (known or record).id, station, now)
        for anomaly in answer.anomalies:
            said, what = f"{anomaly.what}: {anomaly.detail}", CSMSEvent.CERTIFICATE_REQUEST_ANOMALY
            await work.security_events.add(_event(what, station, said, now, randomness))
        details = {
            "request": str(request.id),
            "certificate": str((known or record).id),
            "issuer": record.issuer,
            "serial": record.serial,
        }
        await work.audit.add(_audit(station, Outcome.SUCCESS, None, now, details))
        await work.commit()
    return Done()


async def _send_on(
    work: UnitOfWork, delivery: Job, certificate_id: UUID, station: Station, now: datetime
) -> None:
    await work.jobs.add_again(delivery)
    await renewal_progress(
        work,
        station.id,
        state=OperationState.RUNNING,
        progress="signed",
        at=now,
        certificate_id=certificate_id,
    )


async def _same_certificate(
    work: UnitOfWork, record: CertificateRecord
) -> CertificateRecord | None:
    """The PKI answers the same key with the same certificate, whichever request asked."""
    for known in await work.certificates.of_station(record.station_id):
        if known.fingerprint_sha256 == record.fingerprint_sha256:
            return known
    return None


async def _refused(
    request: CertificateRequest,
    station: Station,
    refusal: PkiRefused,
    store: Store,
    clock: Clock,
    randomness: Randomness,
) -> JobOutcome:
    now = clock.now()
    async with store.writing() as work:
        current = await work.certificate_requests.by_id(request.id)
        if current is None or current.status is not RequestStatus.OPEN:
            return Done()  # another CSR, or another run of this job, has decided it meanwhile
        await work.certificate_requests.set_status(request.id, RequestStatus.REFUSED, str(refusal))
        event = CSMSEvent.CERTIFICATE_REQUEST_REFUSED
        await work.security_events.add(_event(event, station, str(refusal), now, randomness))
        await work.audit.add(
            _audit(
                station,
                Outcome.REFUSED,
                refusal.reason.value,
                now,
                {"request": str(request.id), "detail": refusal.detail[:200]},
            )
        )
        await renewal_progress(
            work,
            station.id,
            state=OperationState.FAILED,
            progress="refused",
            at=now,
            detail=str(refusal),
        )
        await work.commit()
    return GiveUp(str(refusal))


async def _too_late(
    request: CertificateRequest, store: Store, clock: Clock, randomness: Randomness
) -> JobOutcome:
    now = clock.now()
    async with store.writing() as work:
        current = await work.certificate_requests.by_id(request.id)
        if current is None or current.status is not RequestStatus.OPEN:
            return Done()
        await work.certificate_requests.set_status(
            request.id, RequestStatus.SUPERSEDED, "not signed within the key's life"
        )
        await renewal_progress(
            work,
            request.station_id,
            state=OperationState.FAILED,
            progress="too_late",
            at=now,
            detail="the PKI was away too long; a fresh CSR is asked for",
        )
        await start_renewal(work, request.station_id, now=now, randomness=randomness)
        await work.commit()
    return GiveUp("not signed within the key's life")


def _record(
    request: CertificateRequest,
    answer: StationCertificateAnswer,
    now: datetime,
    randomness: Randomness,
) -> CertificateRecord:
    issued = answer.issued
    return CertificateRecord(
        id=randomness.uuid(),
        station_id=request.station_id,
        use=request.use,
        issuer=issued.issuer,
        serial=issued.serial,
        fingerprint_sha256=issued.fingerprint_sha256,
        status=CertificateStatus.SIGNED,
        not_before=issued.not_before,
        not_after=issued.not_after,
        certificate_pem=issued.certificate_pem,
        chain_pem=issued.chain_pem,
        request_id=request.id,
        created_at=now,
    )


def _delivery(certificate_id: UUID, station: Station, now: datetime, randomness: Randomness) -> Job:
    return Job(
        id=randomness.uuid(),
        kind=JobKind.DELIVER_CERTIFICATE,
        key=str(certificate_id),
        station_id=station.id,
        payload={"certificate_id": str(certificate_id)},
        attempts=0,
        run_at=now,
        created_at=now,
    )


def _event(
    kind: CSMSEvent, station: Station, tech_info: str, now: datetime, randomness: Randomness
) -> SecurityEvent:
    return SecurityEvent(
        id=randomness.uuid(),
        station_id=station.id,
        type=kind,
        occurred_at=now,
        received_at=now,
        tech_info=tech_info[:255],
        source=EventSource.CSMS,
    )


def _audit(
    station: Station,
    outcome: Outcome,
    reason: str | None,
    now: datetime,
    details: dict[str, str],
) -> AuditRecord:
    return AuditRecord(
        at=now,
        actor="role:worker",
        action=AuditAction.CERTIFICATE_ISSUE,
        subject=f"station:{station.identity}",
        outcome=outcome,
        reason=reason,
        details=details,
    )
