"""From the identity in a request to the station it names."""

from __future__ import annotations

from csms.domain.station import IdentityInvalid, Station, parse_identity
from csms.operations.errors import NotFound
from csms.ports.store import UnitOfWork


async def find_station(work: UnitOfWork, identity: str) -> Station:
    """Raises NotFound, also for what could never be an identity."""
    try:
        station = await work.stations.by_identity(parse_identity(identity))
    except IdentityInvalid:
        raise NotFound("station") from None
    if station is None:
        raise NotFound("station")
    return station
