"""Sessions: the newest connection wins, and a late close harms nobody (A03)."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from csms.domain.station import SecurityProfile, Station
from csms.ports.records import StationSession
from csms.ports.store import Superseded
from csms.store.unit_of_work import SqlStore, SqlUnitOfWork
from tests.fixtures import records
from tests.fixtures.records import NOW
from tests.fixtures.stores import run_with_store

BASIC, CERTIFICATE = SecurityProfile.TLS_BASIC, SecurityProfile.TLS_CERTIFICATE


async def registered(store: SqlStore, name: str = "CS001") -> Station:
    station = records.station(name)
    async with store.writing() as unit:
        await unit.stations.add(station)
        await unit.commit()
    return station


async def claim(
    unit: SqlUnitOfWork,
    station_id: UUID,
    *,
    node: str = "node-1",
    profile: SecurityProfile = BASIC,
    seconds: int = 0,
) -> tuple[StationSession, StationSession | None]:
    return await unit.sessions.claim(
        station_id=station_id,
        node=node,
        profile=profile,
        certificate_id=uuid4() if profile is CERTIFICATE else None,
        peer="192.0.2.1",
        at=NOW + timedelta(seconds=seconds),
    )


async def claimed(
    store: SqlStore, station_id: UUID, **how: Any
) -> tuple[StationSession, StationSession | None]:
    async with store.writing() as unit:
        result = await claim(unit, station_id, **how)
        await unit.commit()
    return result


async def released(store: SqlStore, station_id: UUID, epoch: int) -> bool:
    async with store.writing() as unit:
        result = await unit.sessions.release(station_id, epoch)
        await unit.commit()
    return result


def test_a_newer_claim_displaces_the_older_and_says_whom(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        station = await registered(store)
        first, nobody = await claimed(store, station.id)
        assert nobody is None
        second, displaced = await claimed(store, station.id, node="node-2", profile=CERTIFICATE)
        assert displaced == first
        assert second.epoch > first.epoch
        async with store.reading() as unit:
            assert await unit.sessions.current(station.id) == second
            await unit.sessions.require(station.id, second.epoch)
            with pytest.raises(Superseded):
                await unit.sessions.require(station.id, first.epoch)
            assert await unit.sessions.current(uuid4()) is None

    run_with_store(store_url, act)


def test_a_late_release_of_a_displaced_session_leaves_the_newer_one(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        station = await registered(store)
        first, _ = await claimed(store, station.id)
        second, _ = await claimed(store, station.id)
        assert await released(store, station.id, first.epoch) is False
        async with store.reading() as unit:
            assert await unit.sessions.current(station.id) == second
        assert await released(store, station.id, second.epoch) is True
        assert await released(store, station.id, second.epoch) is False
        async with store.writing() as unit:
            assert await unit.sessions.current(station.id) is None
            with pytest.raises(Superseded):
                await unit.sessions.require(station.id, second.epoch)

    run_with_store(store_url, act)


def test_epochs_grow_over_releases_and_the_proven_profile_never_falls(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        station = await registered(store)
        epochs = []
        for number, profile in enumerate((BASIC, CERTIFICATE, BASIC)):
            session, displaced = await claimed(store, station.id, profile=profile, seconds=number)
            assert displaced is None
            assert session.profile is profile
            epochs.append(session.epoch)
            assert await released(store, station.id, session.epoch)
        assert epochs == sorted(set(epochs))
        async with store.reading() as unit:
            found = await unit.stations.by_id(station.id)
            assert found is not None
            assert found.proven_profile is CERTIFICATE
            assert found.last_seen_at == NOW + timedelta(seconds=2)

    run_with_store(store_url, act)


def test_claims_at_the_same_time_get_distinct_epochs_and_displace_in_a_chain(
    store_url: str,
) -> None:
    async def act(store: SqlStore) -> None:
        station = await registered(store)
        results = await asyncio.gather(*(claimed(store, station.id) for _ in range(8)))
        by_epoch = sorted(results, key=lambda result: result[0].epoch)
        sessions = [session for session, _ in by_epoch]
        assert len({session.epoch for session in sessions}) == 8
        assert [displaced for _, displaced in by_epoch] == [None, *sessions[:-1]]
        async with store.reading() as unit:
            assert await unit.sessions.current(station.id) == sessions[-1]

    run_with_store(store_url, act)


def test_any_interleaving_of_claims_and_late_releases_keeps_the_newest(store_url: str) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)

    async def act(store: SqlStore) -> None:
        station = await registered(store)
        live: int | None = None
        epochs: list[int] = []
        for _ in range(60):
            if not epochs or chance.random() < 0.5:
                session, displaced = await claimed(store, station.id)
                assert (displaced.epoch if displaced else None) == live, seed
                live = session.epoch
                epochs.append(session.epoch)
            else:
                epoch = chance.choice(epochs)
                assert await released(store, station.id, epoch) is (epoch == live), seed
                live = None if epoch == live else live
        assert epochs == sorted(set(epochs)), seed

    run_with_store(store_url, act)


def test_a_node_that_starts_anew_forgets_its_own_sessions_only(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        mine = [await registered(store, f"CS{n}") for n in range(3)]
        other = await registered(store, "OTHER")
        for station in mine:
            await claimed(store, station.id, node="node-1")
        session, _ = await claimed(store, other.id, node="node-2")
        async with store.writing() as unit:
            assert await unit.sessions.release_node("node-1") == 3
            assert await unit.sessions.release_node("node-1") == 0
            await unit.commit()
        async with store.reading() as unit:
            assert await unit.sessions.current(mine[0].id) is None
            assert await unit.sessions.current(other.id) == session

    run_with_store(store_url, act)


def test_a_station_deleted_meanwhile_cannot_be_claimed(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            with pytest.raises(Superseded):
                await claim(unit, uuid4())

    run_with_store(store_url, act)


def test_a_session_required_in_a_writing_unit_stays_current_until_its_end(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        station = await registered(store)
        session, _ = await claimed(store, station.id)
        order: list[str] = []

        async def newer() -> None:
            await claimed(store, station.id)
            order.append("claimed")

        async with asyncio.TaskGroup() as group, store.writing() as unit:
            await unit.sessions.require(station.id, session.epoch)
            group.create_task(newer())
            await asyncio.sleep(0.2)
            order.append("committed")
            await unit.commit()
        assert order == ["committed", "claimed"]

    run_with_store(store_url, act)
