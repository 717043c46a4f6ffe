"""Block A, Security: SecurityEventNotification (A04) and SignCertificate (A02, A03)."""

from __future__ import annotations

import hashlib

from csms.blocks.context import Answer, StationContext
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.certificate import DELIVERABLE, CertificateRequest, CertificateUse, RequestStatus
from csms.domain.security_event import CSMSEvent, EventSource, SecurityEvent
from csms.domain.signing_budget import Spending
from csms.domain.station import SecurityProfile
from csms.ocpp import messages
from csms.ports.bus import Json
from csms.ports.records import Job, JobKind, OperationState
from csms.ports.store import UnitOfWork
from pki.x509.csr import CSRRejected, parse_csr

RENEWAL = "renew_certificate"


async def security_event_notification(
    context: StationContext, request: messages.SecurityEventNotificationRequest, work: UnitOfWork
) -> Answer:
    """A04.FR.03: confirmed once it is stored. Unknown names are stored as they came."""
    await work.security_events.add(
        SecurityEvent(
            id=context.randomness.uuid(),
            station_id=context.station.id,
            type=request.type,
            occurred_at=request.timestamp,
            received_at=context.now,
            tech_info=request.tech_info or None,
            source=EventSource.STATION,
        )
    )
    return Answer(payload=messages.SecurityEventNotificationResponse())


async def sign_certificate(
    context: StationContext, request: messages.SignCertificateRequest, work: UnitOfWork
) -> Answer:
    """A02.FR.11: answered at once; the certificate follows in CertificateSigned.

    1. Refuse who asks too often (C07).
    2. Refuse what we do not do: V2G certificates, requests over a plaintext connection (C08).
    3. Cheap checks only (T10): one PKCS#10 request in PEM. Whether it may be signed the PKI says.
    4. The same CSR again (A02.FR.17) joins the request that is there, if one answers for it.
    5. Another CSR takes the place of an open one: the station has thrown that key away. A new one
       needs room in the fleet's queue, which is bounded while the CA is away (P03).
    6. Store the request and its job in this transaction; the worker goes on.
    """
    # 1
    spending = context.signing_budget.spend(context.station.id, now=context.monotonic)
    if spending is not Spending.GRANTED:
        return await _too_often(context, work, spending)
    use = CertificateUse(request.certificate_type or CertificateUse.CHARGING_STATION)
    # 2
    if use is not CertificateUse.CHARGING_STATION or context.profile is SecurityProfile.BASIC:
        of_that_type = use is CertificateUse.CHARGING_STATION
        reason = "plaintext" if of_that_type else "certificate_type"
        return await _rejected(context, work, "NotEnabled", reason)
    # 3
    try:
        parse_csr(request.csr)
    except CSRRejected as error:
        return await _rejected(context, work, "InvalidCSR", error.reason.value)
    # 4
    digest = hashlib.sha256(request.csr.encode()).hexdigest()
    known = await work.certificate_requests.by_csr(context.station.id, digest)
    if known is not None and (answer := await _joined(context, work, known)) is not None:
        return answer
    # 5
    open_request = await work.certificate_requests.open_of(context.station.id, use)
    if open_request is not None:
        await work.certificate_requests.set_status(
            open_request.id, RequestStatus.SUPERSEDED, "another CSR came"
        )
    elif (room := await _room(context, work)) is not Spending.GRANTED:
        return await _queue_full(context, work, room)
    return await _stored(context, request, use, digest, work)


async def _room(context: StationContext, work: UnitOfWork) -> Spending:
    budget = context.signing_budget
    return budget.queue(await work.certificate_requests.count_open(enough=budget.enough_open))


async def _stored(
    context: StationContext,
    request: messages.SignCertificateRequest,
    use: CertificateUse,
    digest: str,
    work: UnitOfWork,
) -> Answer:
    # 6
    stored = CertificateRequest(
        id=context.randomness.uuid(),
        station_id=context.station.id,
        use=use,
        certificate_type=request.certificate_type.value if request.certificate_type else None,
        csr_pem=request.csr,
        csr_sha256=digest,
        status=RequestStatus.OPEN,
        received_at=context.now,
    )
    await work.certificate_requests.add(stored)
    payload = {"request_id": str(stored.id)}
    await _enqueue(context, work, JobKind.ISSUE_CERTIFICATE, str(stored.id), payload)
    await _progress(context, work)
    await _audit(context, work, Outcome.SUCCESS, None, {"request": str(stored.id)})
    return _accepted()


async def _too_often(context: StationContext, work: UnitOfWork, spending: Spending) -> Answer:
    """On record once for each flood; the reason code is not the appendix's, whose list is open."""
    if spending is Spending.REFUSED_AGAIN:
        return _refusal("TooManyRequests")
    what = "SignCertificate is refused until the station asks less often"
    await _event(context, work, CSMSEvent.CERTIFICATE_REQUEST_FLOOD, what)
    return await _rejected(context, work, "TooManyRequests", "too_often")


async def _queue_full(context: StationContext, work: UnitOfWork, room: Spending) -> Answer:
    """One event for the whole fleet, with the station that found it so; an audit row for each."""
    if room is Spending.REFUSED:
        what = "as many certificate requests wait for the CA as may; more are refused"
        await _event(context, work, CSMSEvent.CERTIFICATE_QUEUE_FULL, what)
    return await _rejected(context, work, "QueueFull", "queue_full")


async def _joined(
    context: StationContext, work: UnitOfWork, known: CertificateRequest
) -> Answer | None:
    """A repeat is idempotent: no second certificate, but a lost delivery is tried again now.

    None when there is nothing to join: the request was superseded, or its key had a certificate
    already by another CSR's text, which the PKI will find again.
    """
    if known.status is RequestStatus.SUPERSEDED:
        return None
    if known.status is RequestStatus.REFUSED:
        return await _rejected(context, work, "InvalidCSR", "refused_before")
    if known.status is RequestStatus.OPEN:
        await _progress(context, work)
    if known.status is RequestStatus.ISSUED:
        certificate = await work.certificates.by_request(known.id)
        if certificate is None:
            return None
        if certificate.status not in DELIVERABLE:
            return await _rejected(context, work, "InvalidCSR", "key_reused")
        key = str(certificate.id)
        payload = {"certificate_id": key, "asked_again": True}
        await _enqueue(context, work, JobKind.DELIVER_CERTIFICATE, key, payload)
    await work.jobs.wake(context.station.id, now=context.now)
    return _accepted()


async def _event(
    context: StationContext, work: UnitOfWork, what: CSMSEvent, tech_info: str
) -> None:
    await work.security_events.add(
        SecurityEvent(
            id=context.randomness.uuid(),
            station_id=context.station.id,
            type=what,
            occurred_at=context.now,
            received_at=context.now,
            tech_info=tech_info,
            source=EventSource.CSMS,
        )
    )


async def _enqueue(
    context: StationContext, work: UnitOfWork, kind: JobKind, key: str, payload: Json
) -> None:
    await work.jobs.add_again(
        Job(
            id=context.randomness.uuid(),
            kind=kind,
            key=key,
            station_id=context.station.id,
            payload=payload,
            attempts=0,
            run_at=context.now,
            created_at=context.now,
        )
    )


async def _progress(context: StationContext, work: UnitOfWork) -> None:
    operation = await work.operations.open_of(context.station.id, RENEWAL)
    if operation is not None:
        await work.operations.advance(
            operation.id,
            state=OperationState.RUNNING,
            progress="csr_received",
            at=context.now,
        )


def _accepted() -> Answer:
    return Answer(
        payload=messages.SignCertificateResponse(status=messages.GenericStatusEnumType.ACCEPTED),
        wake_jobs=True,
    )


async def _rejected(
    context: StationContext, work: UnitOfWork, reason_code: str, reason: str
) -> Answer:
    """A02.FR.12: Rejected, with the appendix's reason code; the audit row has ours."""
    await _audit(context, work, Outcome.REFUSED, reason, {})
    return _refusal(reason_code)


def _refusal(reason_code: str) -> Answer:
    return Answer(
        payload=messages.SignCertificateResponse(
            status=messages.GenericStatusEnumType.REJECTED,
            status_info=messages.StatusInfoType(reason_code=reason_code),
        )
    )


async def _audit(
    context: StationContext,
    work: UnitOfWork,
    outcome: Outcome,
    reason: str | None,
    details: dict[str, str],
) -> None:
    await work.audit.add(
        AuditRecord(
            at=context.now,
            actor=context.actor,
            action=AuditAction.CERTIFICATE_REQUEST,
            subject=context.actor,
            outcome=outcome,
            reason=reason,
            details=details,
        )
    )
