"""Connection attempts, let in or not; written in batches, since a flood of them is an attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from sqlalchemy import Integer, bindparam, func, select

from csms.domain.admission import RefusalReason
from csms.domain.station import StationIdentity
from csms.ports.records import ConnectionAttempt
from csms.ports.store import Page
from csms.store import tables
from csms.store.pages import Listing, instant, number, reader
from csms.store.prepared import Prepared, insertion
from csms.store.transaction import Transaction

_A = tables.connection_attempts
_ADD: Final = insertion(
    _A,
    "at",
    "peer",
    "listener",
    "outcome",
    "failing_check",
    "detail",
    "station_id",
    "identity",
    "tls_version",
    "tls_cipher",
    "certificate",
    "http_status",
)
_ADMITTED: Final = Prepared(
    select(_A.c.identity, _A.c.peer)
    .where(
        _A.c.id > select(func.max(_A.c.id)).scalar_subquery() - bindparam("among", type_=Integer),
        _A.c.outcome == "admitted",
        _A.c.identity.is_not(None),
    )
    .order_by(_A.c.id)
)
_NEWEST: Final = Listing(
    name="connection_attempts",
    order=(_A.c.at, _A.c.id),
    key=(instant, number),
    newest_first=True,
)


class ConnectionAttemptRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add_all(self, attempts: Sequence[ConnectionAttempt]) -> None:
        await self._transaction.change_all(_ADD, [_values(attempt) for attempt in attempts])

    async def of_identity(
        self, identity: StationIdentity, *, limit: int, cursor: str | None
    ) -> Page[ConnectionAttempt]:
        statement = select(_A).where(_A.c.identity == identity)
        return await _NEWEST.page(
            self._transaction, statement, _readable, limit=limit, cursor=cursor
        )

    async def admitted_lately(self, *, among: int) -> Sequence[tuple[str, str]]:
        rows = await self._transaction.fetch(_ADMITTED, among=among)
        return [(identity, peer) for identity, peer in rows]


def _values(attempt: ConnectionAttempt) -> dict[str, Any]:
    return {
        "at": attempt.at,
        "peer": attempt.peer,
        "listener": attempt.listener,
        "outcome": attempt.outcome,
        "failing_check": attempt.failing_check,
        "detail": attempt.detail,
        "station_id": attempt.station_id,
        # Found again by the canonical identity, in whatever letter case it was claimed (T8).
        "identity": None if attempt.identity is None else attempt.identity.lower(),
        "tls_version": attempt.tls_version,
        "tls_cipher": attempt.tls_cipher,
        "certificate": attempt.certificate,
        "http_status": None if attempt.http_status is None else int(attempt.http_status),
    }


def _attempt_of(row: Mapping[str, Any]) -> ConnectionAttempt:
    check, status = row["failing_check"], row["http_status"]
    return ConnectionAttempt(
        at=row["at"],
        peer=row["peer"],
        listener=row["listener"],
        outcome=row["outcome"],
        failing_check=None if check is None else RefusalReason(check),
        detail=row["detail"],
        station_id=row["station_id"],
        identity=row["identity"],
        tls_version=row["tls_version"],
        tls_cipher=row["tls_cipher"],
        certificate=row["certificate"],
        http_status=None if status is None else HTTPStatus(status),
    )


_readable: Final = reader("connection_attempts", _attempt_of)
