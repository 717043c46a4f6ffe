"""Close a station's live session; it may come back at once."""

from __future__ import annotations

from csms.domain.access import Principal
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.operations.lookup import find_station
from csms.ports.clock import Clock
from csms.ports.station_link import StationLink
from csms.ports.store import Store


async def disconnect_station(
    store: Store, link: StationLink, identity: str, *, principal: Principal, clock: Clock
) -> bool:
    """True when there was a session to close. Raises NotFound."""
    async with store.writing() as work:
        station = await find_station(work, identity)
        await work.audit.add(
            AuditRecord(
                at=clock.now(),
                actor=principal.actor,
                action=AuditAction.STATION_DISCONNECT,
                subject=f"station:{station.identity}",
                outcome=Outcome.SUCCESS,
            )
        )
        await work.commit()
    return await link.disconnect(station.id, reason="disconnected by an operator")
