"""From the station ids in records to the identities that people know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from csms.operations.lookup import find_station
from csms.ports.store import UnitOfWork


async def station_names(
    work: UnitOfWork, station_ids: Iterable[UUID | None]
) -> Mapping[UUID | None, str | None]:
    """None for a station whose registration was deleted."""
    names: dict[UUID | None, str | None] = {None: None}
    for station_id in set(station_ids) - {None}:
        station = await work.stations.by_id(station_id) if station_id else None
        names[station_id] = station.registered_as if station else None
    return names


async def station_id_of(work: UnitOfWork, identity: str | None) -> UUID | None:
    """For filters. Raises NotFound: a filter by nobody would otherwise read as "nothing there"."""
    return None if identity is None else (await find_station(work, identity)).id
