"""Sessions: who holds a station, fenced by an epoch that only ever grows (decision 6).

A station's row is made at its first connection and stays: releasing it empties `node`, and the
next claim counts on from the same epoch. Claims of one station wait for each other on that row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Update, and_, select, update

from csms.domain.station import SecurityProfile
from csms.ports.records import StationSession
from csms.ports.store import StoreError, Superseded
from csms.store import tables
from csms.store.pages import guarded
from csms.store.transaction import Transaction

_L = tables.station_sessions
SESSION_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = (
    _L.c.station_id,
    _L.c.epoch,
    _L.c.node,
    _L.c.profile,
    _L.c.certificate_id,
    _L.c.peer,
    _L.c.connected_at,
)


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
        row = await self._own_row(station_id)
        session = StationSession(
            station_id=station_id,
            epoch=row.epoch + 1,
            node=node,
            profile=profile,
            certificate_id=certificate_id,
            peer=peer,
            connected_at=at,
        )
        await self._transaction.execute(
            update(_L)
            .where(_L.c.station_id == station_id)
            .values(
                epoch=session.epoch,
                node=node,
                profile=int(profile),
                certificate_id=certificate_id,
                peer=peer,
                connected_at=at,
                # A05.FR.07: what a station has once proven it never loses.
                proven_profile=max(row.proven_profile or 0, int(profile)),
                last_seen_at=at,
            )
        )
        return session, guarded("station_sessions", session_of, row[: len(SESSION_COLUMNS)])

    async def release(self, station_id: UUID, epoch: int) -> bool:
        mine = and_(_L.c.station_id == station_id, _L.c.epoch == epoch, _L.c.node.is_not(None))
        return await self._transaction.count(_emptied().where(mine)) == 1

    async def release_node(self, node: str) -> int:
        return await self._transaction.count(_emptied().where(_L.c.node == node))

    async def current(self, station_id: UUID) -> StationSession | None:
        statement = select(*SESSION_COLUMNS).where(_L.c.station_id == station_id)
        row = await self._transaction.first(statement)
        return None if row is None else guarded("station_sessions", session_of, row)

    async def require(self, station_id: UUID, epoch: int) -> None:
        """In a writing unit the session also stays current until that unit has ended."""
        mine = and_(_L.c.station_id == station_id, _L.c.epoch == epoch, _L.c.node.is_not(None))
        statement = self._transaction.locked(select(_L.c.epoch).where(mine), shared=True)
        if await self._transaction.first(statement) is None:
            raise Superseded("another connection holds the station")

    async def _own_row(self, station_id: UUID) -> Row[Any]:
        """The station's row, locked. Raises Superseded when the station has been deleted."""
        statement = self._transaction.locked(
            select(*SESSION_COLUMNS, _L.c.proven_profile).where(_L.c.station_id == station_id)
        )
        row = await self._transaction.first(statement)
        if row is None:
            # Whoever makes it first, both go on with the same row and wait for its lock.
            first = self._transaction.insert(_L).values(station_id=station_id, epoch=0)
            await self._transaction.execute(first.on_conflict_do_nothing())
            row = await self._transaction.first(statement)
        if row is None:
            raise StoreError("the row of a station's session cannot be read")
        return row


def _emptied() -> Update:
    return update(_L).values(
        node=None, profile=None, certificate_id=None, peer=None, connected_at=None
    )
