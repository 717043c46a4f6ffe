"""Certificates and the requests they answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, bindparam, func, literal_column, select, update

from csms.domain.certificate import (
    CertificateRecord,
    CertificateRequest,
    CertificateStatus,
    CertificateUse,
    RequestStatus,
)
from csms.ports.store import Page, Superseded
from csms.store import tables
from csms.store.pages import Listing, guarded, instant
from csms.store.prepared import Prepared, addition
from csms.store.transaction import Transaction

_C, _R = tables.certificates, tables.certificate_requests
_FIELDS: Final = (
    "id",
    "station_id",
    "use",
    "issuer",
    "serial",
    "fingerprint_sha256",
    "status",
    "not_before",
    "not_after",
    "certificate_pem",
    "chain_pem",
    "request_id",
    "created_at",
    "first_seen_at",
    "revoked_at",
    "revocation_reason",
)
CERTIFICATE_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = tuple(_C.c[name] for name in _FIELDS)
_CERTIFICATE: Final = select(*CERTIFICATE_COLUMNS)
_ADD: Final = addition(_C, *_FIELDS)
_BY_ID: Final = Prepared(_CERTIFICATE.where(_C.c.id == bindparam("its_id")))
_BY_REQUEST: Final = Prepared(_CERTIFICATE.where(_C.c.request_id == bindparam("of_request")))
_BY_END: Final = Listing(name="certificates", order=(_C.c.not_after, _C.c.id), key=(instant, UUID))
# The literal lets SQLite see that the partial index of open requests is enough.
_OPEN: Final = _R.c.status == literal_column(f"'{RequestStatus.OPEN}'")
_COUNT_OPEN: Final = Prepared(
    select(func.count()).select_from(
        select(_R.c.station_id).where(_OPEN).limit(bindparam("most", type_=Integer)).subquery()
    )
)
_REQUESTS: Final = Listing(
    name="certificate_requests",
    order=(_R.c.received_at, _R.c.id),
    key=(instant, UUID),
    newest_first=True,
)
_REQUEST_FIELDS: Final = (
    "id",
    "station_id",
    "use",
    "certificate_type",
    "csr_pem",
    "csr_sha256",
    "status",
    "received_at",
    "detail",
)
_REQUEST: Final = select(*(_R.c[name] for name in _REQUEST_FIELDS))
_ADD_REQUEST: Final = addition(_R, *_REQUEST_FIELDS)


def _newest(*conditions: ColumnElement[bool]) -> Prepared:
    newest = _REQUEST.where(*conditions).order_by(_R.c.received_at.desc(), _R.c.id)
    return Prepared(newest.limit(1))


_OF_STATION: Final = _R.c.station_id == bindparam("of_station")
_REQUEST_BY_ID: Final = _newest(_R.c.id == bindparam("its_id"))
_REQUEST_BY_CSR: Final = _newest(_OF_STATION, _R.c.csr_sha256 == bindparam("of_csr"))
_OPEN_REQUEST: Final = _newest(
    _OF_STATION, _R.c.use == bindparam("of_use"), _R.c.status == RequestStatus.OPEN
)


def certificate_of(values: Sequence[Any]) -> CertificateRecord:
    fields = dict(zip(_FIELDS, values, strict=False))
    fields["use"] = CertificateUse(fields["use"])
    fields["status"] = CertificateStatus(fields["status"])
    return CertificateRecord(**fields)


def _readable(values: Sequence[Any]) -> CertificateRecord | None:
    return guarded("certificates", certificate_of, values)


class CertificateRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, record: CertificateRecord) -> None:
        values = {name: getattr(record, name) for name in _FIELDS}
        await self._transaction.insert_new(_ADD, **values)

    async def by_id(self, certificate_id: UUID) -> CertificateRecord | None:
        return await self._one(_BY_ID, its_id=certificate_id)

    async def by_request(self, request_id: UUID) -> CertificateRecord | None:
        return await self._one(_BY_REQUEST, of_request=request_id)

    async def of_station(
        self, station_id: UUID, statuses: Sequence[CertificateStatus] = ()
    ) -> Sequence[CertificateRecord]:
        statement = _CERTIFICATE.where(_C.c.station_id == station_id)
        if statuses:
            statement = statement.where(_C.c.status.in_(statuses))
        made_at = func.coalesce(_C.c.created_at, _C.c.not_before)
        rows = await self._transaction.rows(statement.order_by(made_at.desc(), _C.c.id))
        return [record for row in rows if (record := _readable(row)) is not None]

    async def update_status(
        self,
        certificate_id: UUID,
        *,
        was: CertificateStatus,
        becomes: CertificateStatus,
        first_seen_at: datetime | None = None,
        revoked_at: datetime | None = None,
        revocation_reason: str | None = None,
    ) -> None:
        facts = {
            "first_seen_at": first_seen_at,
            "revoked_at": revoked_at,
            "revocation_reason": revocation_reason,
        }
        statement = (
            update(_C)
            .where(_C.c.id == certificate_id, _C.c.status == was)
            .values(status=becomes, **{k: v for k, v in facts.items() if v is not None})
        )
        if await self._transaction.count(statement) != 1:
            raise Superseded("the certificate's status has changed")

    async def page(
        self,
        *,
        station_id: UUID | None,
        status: CertificateStatus | None,
        expires_before: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page[CertificateRecord]:
        """First to expire first."""
        statement = _CERTIFICATE
        if station_id is not None:
            statement = statement.where(_C.c.station_id == station_id)
        if status is not None:
            statement = statement.where(_C.c.status == status)
        if expires_before is not None:
            statement = statement.where(_C.c.not_after < expires_before)
        return await _BY_END.page(
            self._transaction, statement, _readable, limit=limit, cursor=cursor
        )

    async def _one(self, prepared: Prepared, **values: Any) -> CertificateRecord | None:
        row = await self._transaction.fetch_one(prepared, **values)
        return None if row is None else _readable(row)


class CertificateRequestRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, request: CertificateRequest) -> None:
        """Raises AlreadyExists while another request of that (station, use) is open."""
        values = {name: getattr(request, name) for name in _REQUEST_FIELDS}
        await self._transaction.insert_new(_ADD_REQUEST, **values)

    async def by_id(self, request_id: UUID) -> CertificateRequest | None:
        return await self._one(_REQUEST_BY_ID, its_id=request_id)

    async def open_of(self, station_id: UUID, use: str) -> CertificateRequest | None:
        return await self._one(_OPEN_REQUEST, of_station=station_id, of_use=use)

    async def by_csr(self, station_id: UUID, csr_sha256: str) -> CertificateRequest | None:
        return await self._one(_REQUEST_BY_CSR, of_station=station_id, of_csr=csr_sha256)

    async def count_open(self, *, enough: int) -> int:
        row = await self._transaction.fetch_one(_COUNT_OPEN, most=enough)
        return 0 if row is None else int(row[0])

    async def set_status(
        self, request_id: UUID, status: RequestStatus, detail: str | None = None
    ) -> None:
        statement = update(_R).where(_R.c.id == request_id)
        await self._transaction.change_or_clash(statement.values(status=status, detail=detail))

    async def page(
        self, *, status: RequestStatus | None, limit: int, cursor: str | None
    ) -> Page[CertificateRequest]:
        """Newest first."""
        statement = _REQUEST
        if status is not None:
            statement = statement.where(_R.c.status == status)
        return await _REQUESTS.page(
            self._transaction, statement, _readable_request, limit=limit, cursor=cursor
        )

    async def _one(self, prepared: Prepared, **values: Any) -> CertificateRequest | None:
        row = await self._transaction.fetch_one(prepared, **values)
        return None if row is None else _readable_request(row)


def _request_of(values: Sequence[Any]) -> CertificateRequest:
    fields = dict(zip(_REQUEST_FIELDS, values, strict=False))
    fields["use"] = CertificateUse(fields["use"])
    fields["status"] = RequestStatus(fields["status"])
    return CertificateRequest(**fields)


def _readable_request(values: Sequence[Any]) -> CertificateRequest | None:
    return guarded("certificate_requests", _request_of, values)
