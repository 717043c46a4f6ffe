"""Security events, newest received first."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query

from csms.api.access import GuardedRoute, SecurityEventsRead
from csms.api.resources import Api
from csms.api.routers.station_names import station_id_of, station_names
from csms.api.schemas.base import Cursor, Limit, PageAnswer
from csms.api.schemas.records import SecurityEventAnswer

router: Final = APIRouter(tags=["security events"], route_class=GuardedRoute)
Identity = Annotated[str | None, Query(max_length=48)]


@router.get("/security-events")
async def list_security_events(
    _: SecurityEventsRead,
    api: Api,
    station: Identity = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageAnswer[SecurityEventAnswer]:
    async with api.store.reading() as work:
        page = await work.security_events.page(
            station_id=await station_id_of(work, station), limit=limit, cursor=cursor
        )
        names = await station_names(work, (event.station_id for event in page.items))
    items = [SecurityEventAnswer.of(event, names[event.station_id]) for event in page.items]
    return PageAnswer.of(items, page.next)
