"""Certificates: look, renew, revoke."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from csms.api.access import (
    CertificatesIssue,
    CertificatesRead,
    CertificatesRevoke,
    GuardedRoute,
)
from csms.api.idempotency import OncePerKey, Reply
from csms.api.resources import Api
from csms.api.routers.public import PEM
from csms.api.routers.station_names import station_id_of, station_names
from csms.api.schemas.base import Cursor, Limit, PageAnswer
from csms.api.schemas.certificates import (
    CertificateAnswer,
    CertificateRequestAnswer,
    RevocationAnswer,
    RevocationBody,
)
from csms.api.schemas.records import OperationAnswer
from csms.domain.certificate import CertificateRecord, CertificateStatus, RequestStatus
from csms.operations.errors import NotFound
from csms.operations.renew_certificate import renew_certificate
from csms.operations.revoke_certificate import revoke_certificate
from csms.ports.store import UnitOfWork

router: Final = APIRouter(tags=["certificates"], route_class=GuardedRoute)
Identity = Annotated[str | None, Query(max_length=48)]


@router.get("/certificates")
async def list_certificates(
    _: CertificatesRead,
    api: Api,
    station: Identity = None,
    status: CertificateStatus | None = None,
    expires_before: AwareDatetime | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageAnswer[CertificateAnswer]:
    async with api.store.reading() as work:
        page = await work.certificates.page(
            station_id=await station_id_of(work, station),
            status=status,
            expires_before=expires_before,
            limit=limit,
            cursor=cursor,
        )
        names = await station_names(work, (record.station_id for record in page.items))
    items = [CertificateAnswer.of(record, names[record.station_id]) for record in page.items]
    return PageAnswer.of(items, page.next)


@router.get("/certificates/{certificate_id}")
async def show_certificate(
    certificate_id: UUID, _: CertificatesRead, api: Api
) -> CertificateAnswer:
    async with api.store.reading() as work:
        return await _shown(work, await _certificate(work, certificate_id))


@router.get(
    "/certificates/{certificate_id}/chain",
    response_class=Response,
    responses={200: {"content": {PEM: {"schema": {"type": "string"}}}}},
)
async def show_chain(certificate_id: UUID, _: CertificatesRead, api: Api) -> Response:
    """The certificate and its issuing CA, PEM, leaf first, without the root."""
    async with api.store.reading() as work:
        record = await _certificate(work, certificate_id)
    return Response(record.chain_pem, media_type=PEM)


@router.post("/certificates/{certificate_id}/revocation", response_model=RevocationAnswer)
async def revoke(
    certificate_id: UUID,
    body: RevocationBody,
    principal: CertificatesRevoke,
    api: Api,
    once: OncePerKey,
) -> Response:
    """Takes effect at once: the live session is cut before the answer comes."""

    async def act() -> Reply:
        revoked = await revoke_certificate(
            api.store,
            api.bus,
            certificate_id,
            body.reason,
            principal=principal,
            clock=api.clock,
            randomness=api.randomness,
        )
        async with api.store.reading() as work:
            shown = await _shown(work, revoked.record)
        answer = RevocationAnswer(certificate=shown, nodes=[dict(node) for node in revoked.nodes])
        return Reply(HTTPStatus.OK, answer.model_dump(mode="json"))

    return await once.around(act)


@router.post(
    "/stations/{identity}/certificates/renewal",
    status_code=HTTPStatus.ACCEPTED,
    response_model=OperationAnswer,
)
async def renew(
    identity: str, principal: CertificatesIssue, api: Api, once: OncePerKey
) -> Response:
    """A02: the station is asked for a CSR, now or when it comes back; watch the operation."""

    async def act(work: UnitOfWork) -> Reply:
        operation = await renew_certificate(
            work,
            identity,
            principal=principal,
            now=api.clock.now(),
            randomness=api.randomness,
        )
        names = await station_names(work, [operation.station_id])
        answer = OperationAnswer.of(operation, names[operation.station_id])
        location = f"/api/v1/operations/{operation.id}"
        return Reply(
            HTTPStatus.ACCEPTED, answer.model_dump(mode="json"), headers={"Location": location}
        )

    return await once.within(act)


@router.get("/certificate-requests")
async def list_certificate_requests(
    _: CertificatesRead,
    api: Api,
    status: RequestStatus | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageAnswer[CertificateRequestAnswer]:
    async with api.store.reading() as work:
        page = await work.certificate_requests.page(status=status, limit=limit, cursor=cursor)
        names = await station_names(work, (request.station_id for request in page.items))
    items = [
        CertificateRequestAnswer.of(request, names[request.station_id]) for request in page.items
    ]
    return PageAnswer.of(items, page.next)


async def _certificate(work: UnitOfWork, certificate_id: UUID) -> CertificateRecord:
    record = await work.certificates.by_id(certificate_id)
    if record is None:
        raise NotFound("certificate")
    return record


async def _shown(work: UnitOfWork, record: CertificateRecord) -> CertificateAnswer:
    names = await station_names(work, [record.station_id])
    return CertificateAnswer.of(record, names[record.station_id])
