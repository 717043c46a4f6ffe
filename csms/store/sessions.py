"""Sessions: who holds a station, fenced by an epoch that only ever grows (decision 6).

A station's row is made at its first connection and stays: releasing it empties `node`, and the
next claim counts on from the same epoch. Claims of one station wait for each other on that row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, bindparam, select, update

from csms.domain.station import SecurityProfile
from csms.ports.records import StationSession
from csms.ports.store import StoreError, Superseded
from csms.store import tables
from csms.store.pages import guarded
from csms.store.prepared import Prepared, insertion, locked
from csms.store.transaction import Transaction

_L = tables.station_sessions
_EPOCH_AT: Final = 1
SESSION_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = (
    _L.c.station_id,
    _L.c.epoch,
    _L.c.node,
    _L.c.profile,
    _L.c.certificate_id,
    _L.c.peer,
    _L.c.connected_at,
)
_OF_STATION: Final = _L.c.station_id == bindparam("of_station")
_HELD: Final = and_(_OF_STATION, _L.c.epoch == bindparam("of_epoch"), _L.c.node.is_not(None))
_CURRENT: Final = Prepared(select(*SESSION_COLUMNS).where(_OF_STATION))
_EPOCH: Final = select(_L.c.epoch).where(_HELD)
_IS_HELD: Final = Prepared(_EPOCH)
_STAYS_HELD: Final = locked(_EPOCH, shared=True)
_OWN_ROW: Final = locked(select(*SESSION_COLUMNS, _L.c.proven_profile).where(_OF_STATION))
# Whoever makes it first, both go on with the same row and wait for its lock.
_MAKE: Final = insertion(
    _L, "station_id", "epoch", then=lambda insert: insert.on_conflict_do_nothing()
)
_TAKE: Final = Prepared(
    update(_L)
    .where(_OF_STATION)
    .values(
        {
            name: bindparam(name)
            for name in (
                "epoch",
                "node",
                "profile",
                "certificate_id",
                "peer",
                "connected_at",
                "proven_profile",
                "last_seen_at",
            )
        }
    )
)
_EMPTIED: Final = update(_L).values(
    node=None, profile=None, certificate_id=None, peer=None, connected_at=None
)
_RELEASE: Final = Prepared(_EMPTIED.where(_HELD))


def session_of(values: Sequence[Any]) -> StationSession | None:
    """None for a station that nobody holds."""
    station_id, epoch, node, profile, certificate_id, peer, connected_at = values
    if node is None:
        return None
    return StationSession(
        station_id=station_id,
        epoch=epoch,
        node=node,
        profile=SecurityProfile(profile),
        certificate_id=certificate_id,
        peer=peer,
        connected_at=connected_at,
    )


class SessionRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def claim(
        self,
        *,
        station_id: UUID,
        node: str,
        profile: SecurityProfile,
        certificate_id: UUID | None,
        peer: str,
        at: datetime,
    ) -> tuple[StationSession, StationSession | None]:
        *held, proven = await self._own_row(station_id)
        last_epoch: int = held[_EPOCH_AT]
        session = StationSession(
            station_id=station_id,
            epoch=last_epoch + 1,
            node=node,
            profile=profile,
            certificate_id=certificate_id,
            peer=peer,
            connected_at=at,
        )
        await self._transaction.change(
            _TAKE,
            of_station=station_id,
            epoch=session.epoch,
            node=node,
            profile=int(profile),
            certificate_id=certificate_id,
            peer=peer,
            connected_at=at,
            # A05.FR.07: what a station has once proven it never loses.
            proven_profile=max(proven or 0, int(profile)),
            last_seen_at=at,
        )
        return session, guarded("station_sessions", session_of, held)

    async def release(self, station_id: UUID, epoch: int) -> bool:
        changed = await self._transaction.change(_RELEASE, of_station=station_id, of_epoch=epoch)
        return changed == 1

    async def release_node(self, node: str) -> int:
        return await self._transaction.count(_EMPTIED.where(_L.c.node == node))

    async def current(self, station_id: UUID) -> StationSession | None:
        row = await self._transaction.fetch_one(_CURRENT, of_station=station_id)
        return None if row is None else guarded("station_sessions", session_of, row)

    async def require(self, station_id: UUID, epoch: int) -> None:
        """In a writing unit the session also stays current until that unit has ended."""
        held = _STAYS_HELD if self._transaction.writable else _IS_HELD
        if await self._transaction.fetch_one(held, of_station=station_id, of_epoch=epoch) is None:
            raise Superseded("another connection holds the station")

    async def _own_row(self, station_id: UUID) -> Sequence[Any]:
        """The station's row, locked. Raises Superseded when the station has been deleted."""
        row = await self._transaction.fetch_one(_OWN_ROW, of_station=station_id)
        if row is None:
            await self._transaction.change(_MAKE, station_id=station_id, epoch=0)
            row = await self._transaction.fetch_one(_OWN_ROW, of_station=station_id)
        if row is None:
            raise StoreError("the row of a station's session cannot be read")
        return row
