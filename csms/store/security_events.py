"""Security events, newest received first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from csms.domain.security_event import EventSource, SecurityEvent
from csms.ports.store import Page
from csms.store import tables
from csms.store.pages import Listing, instant, reader
from csms.store.prepared import addition
from csms.store.transaction import Transaction

_E = tables.security_events
_ADD: Final = addition(
    _E, "id", "station_id", "type", "occurred_at", "received_at", "tech_info", "source"
)
_NEWEST: Final = Listing(
    name="security_events",
    order=(_E.c.received_at, _E.c.id),
    key=(instant, UUID),
    newest_first=True,
)


class SecurityEventRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, event: SecurityEvent) -> None:
        await self._transaction.insert_new(
            _ADD,
            id=event.id,
            station_id=event.station_id,
            type=event.type,
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            tech_info=event.tech_info,
            source=event.source,
        )

    async def page(
        self, *, station_id: UUID | None, limit: int, cursor: str | None
    ) -> Page[SecurityEvent]:
        statement = select(_E)
        if station_id is not None:
            statement = statement.where(_E.c.station_id == station_id)
        return await _NEWEST.page(
            self._transaction, statement, _readable, limit=limit, cursor=cursor
        )


def _event_of(row: Mapping[str, Any]) -> SecurityEvent:
    return SecurityEvent(
        id=row["id"],
        station_id=row["station_id"],
        type=row["type"],
        occurred_at=row["occurred_at"],
        received_at=row["received_at"],
        tech_info=row["tech_info"],
        source=EventSource(row["source"]),
    )


_readable: Final = reader("security_events", _event_of)
