"""Charging Stations: registration, standing, live session, password, attempts to connect."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import quote
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Response

from csms.api.access import GuardedRoute, StationsRead, StationsWrite
from csms.api.idempotency import OncePerKey, Reply
from csms.api.resources import Api, ApiResources
from csms.api.schemas.base import Cursor, Limit, PageAnswer
from csms.api.schemas.stations import (
    ConnectionAttemptAnswer,
    DisconnectedAnswer,
    NewStationBody,
    PasswordChangeAnswer,
    RegisteredAnswer,
    StationAnswer,
    StationChangesBody,
)
from csms.domain.station import IdentityInvalid, StationIdentity, parse_identity
from csms.operations.change_password import change_password
from csms.operations.change_station import change_station, delete_station
from csms.operations.disconnect_station import disconnect_station
from csms.operations.errors import NotFound
from csms.operations.lookup import find_station
from csms.operations.register_station import register_station
from csms.ports.bus import SESSIONS_CLOSE, BusError
from csms.ports.records import StationFilter, StationOverview
from csms.ports.store import StoreError, UnitOfWork

router: Final = APIRouter(prefix="/stations", tags=["stations"], route_class=GuardedRoute)
Group = Annotated[str | None, Query(min_length=1, max_length=64)]
_ORDERS: Final = 100  # of all stations, since this request began: ours is among them

log = structlog.get_logger()


@router.get("")
async def list_stations(
    _: StationsRead,
    api: Api,
    *,
    connected: bool | None = None,
    group: Group = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageAnswer[StationAnswer]:
    where = StationFilter(connected=connected, group=group)
    async with api.store.reading() as work:
        page = await work.stations.page(where, limit=limit, cursor=cursor)
    return PageAnswer.of(map(StationAnswer.of, page.items), page.next)


@router.post("", status_code=HTTPStatus.CREATED, response_model=RegisteredAnswer)
async def add_station(
    body: NewStationBody, principal: StationsWrite, api: Api, once: OncePerKey
) -> Response:
    async def act(work: UnitOfWork) -> Reply:
        registered = await register_station(
            work,
            body.new_station(),
            principal=principal,
            now=api.clock.now(),
            randomness=api.randomness,
            peppers=api.peppers.read(),
            pki=api.pki,
        )
        overview = StationOverview(station=registered.station, session=None)
        return Reply(
            HTTPStatus.CREATED,
            StationAnswer.of(overview).model_dump(mode="json"),
            secrets={"password": registered.password} if registered.password else {},
            headers={"Location": f"/api/v1/stations/{quote(body.identity)}"},
        )

    return await once.within(act)


@router.get("/{identity}")
async def show_station(identity: str, _: StationsRead, api: Api) -> StationAnswer:
    async with api.store.reading() as work:
        overview = await work.stations.overview(_identity(identity))
    if overview is None:
        raise NotFound("station")
    return StationAnswer.of(overview)


@router.patch("/{identity}")
async def patch_station(
    identity: str, body: StationChangesBody, principal: StationsWrite, api: Api
) -> StationAnswer:
    async with api.store.writing() as work:
        since = await work.outbox.last_sequence()
        overview = await change_station(
            work,
            identity,
            body.changes(),
            principal=principal,
            now=api.clock.now(),
            pki=api.pki,
        )
        await work.commit()
    await _hint_close(api, overview.station.id, since=since)
    return StationAnswer.of(overview)


@router.delete("/{identity}", status_code=HTTPStatus.NO_CONTENT)
async def remove_station(identity: str, principal: StationsWrite, api: Api) -> None:
    async with api.store.writing() as work:
        since = await work.outbox.last_sequence()
        station = await find_station(work, identity)
        await delete_station(work, identity, principal=principal, now=api.clock.now())
        await work.commit()
    await _hint_close(api, station.id, since=since)


@router.post("/{identity}/disconnect", response_model=DisconnectedAnswer)
async def disconnect(
    identity: str, principal: StationsWrite, api: Api, once: OncePerKey
) -> Response:
    async def act() -> Reply:
        closed = await disconnect_station(
            api.store, api.link, identity, principal=principal, clock=api.clock
        )
        return Reply(HTTPStatus.OK, DisconnectedAnswer(disconnected=closed).model_dump())

    return await once.around(act)


@router.post("/{identity}/password", response_model=PasswordChangeAnswer)
async def rotate_password(
    identity: str, principal: StationsWrite, api: Api, once: OncePerKey
) -> Response:
    async def act() -> Reply:
        answer = await change_password(
            api.store,
            api.link,
            identity,
            principal=principal,
            clock=api.clock,
            randomness=api.randomness,
            peppers=api.peppers.read(),
        )
        return Reply(HTTPStatus.OK, PasswordChangeAnswer(status=answer["status"]).model_dump())

    return await once.around(act)


@router.get("/{identity}/connection-attempts")
async def list_connection_attempts(
    identity: str, _: StationsRead, api: Api, limit: Limit = 50, cursor: Cursor = None
) -> PageAnswer[ConnectionAttemptAnswer]:
    """Newest first, also for an identity that is not registered: that may be what is wrong."""
    async with api.store.reading() as work:
        page = await work.connection_attempts.of_identity(
            _identity(identity), limit=limit, cursor=cursor
        )
    return PageAnswer.of(map(ConnectionAttemptAnswer.of, page.items), page.next)


async def _hint_close(api: ApiResources, station_id: UUID, *, since: int) -> None:
    """Gateways hear of the close orders now. What fails here costs at most one of their polls: the
    change is made, and the outbox holds the orders.
    """
    try:
        async with api.store.reading() as work:
            events = await work.outbox.after(since, limit=_ORDERS)
        for event in events:
            if event.topic == SESSIONS_CLOSE and event.payload["station_id"] == str(station_id):
                await api.bus.publish(SESSIONS_CLOSE, dict(event.payload))
    except (BusError, StoreError) as error:
        log.warning("close_not_hinted", error=type(error).__name__)


def _identity(text: str) -> StationIdentity:
    try:
        return parse_identity(text)
    except IdentityInvalid:
        raise NotFound("station") from None
