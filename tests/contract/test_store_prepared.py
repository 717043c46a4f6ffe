"""Statements that are built once, and connections that stay open between units."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from sqlalchemy.dialects import postgresql, sqlite

import csms.store
from csms.domain.station import SecurityProfile
from csms.ports.records import ConnectionAttempt
from csms.ports.store import StoreError, StoreUnavailable, Superseded
from csms.store import jobs
from csms.store.prepared import Prepared
from csms.store.sqlite import SQLiteDatabase
from csms.store.unit_of_work import SqlStore, SqlUnitOfWork
from tests.fixtures import records
from tests.fixtures.records import NOW
from tests.fixtures.stores import run_with_store


def all_prepared() -> Iterator[tuple[str, Prepared]]:
    for module in pkgutil.iter_modules(csms.store.__path__, "csms.store."):
        if not module.ispkg:
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, Prepared):
                    yield f"{module.name}.{name}", value


async def take(unit: SqlUnitOfWork, station_id: UUID, at: datetime = NOW) -> int:
    session, _ = await unit.sessions.claim(
        station_id=station_id,
        node="node-1",
        profile=SecurityProfile.TLS_BASIC,
        certificate_id=None,
        peer="192.0.2.1",
        at=at,
    )
    return session.epoch


async def one_registered(store: SqlStore) -> UUID:
    station = records.station()
    async with store.writing() as unit:
        await unit.stations.add(station)
        await unit.commit()
    return station.id


async def client_names(store: SqlStore) -> list[str]:
    async with store.reading() as unit:
        page = await unit.oauth_clients.page(limit=99, cursor=None)
    return [client.client_id for client in page.items]


async def add_client(store: SqlStore, name: str) -> None:
    async with store.writing() as unit:
        await unit.oauth_clients.add(records.oauth_client(name))
        await unit.commit()


def test_each_prepared_statement_has_one_text_per_database() -> None:
    """An IN that expands with its values would not, and would be sent half-made."""
    found = dict(all_prepared())
    assert len(found) >= 20
    for name, prepared in found.items():
        texts = [
            str(prepared._on_sqlite.compile(dialect=sqlite.dialect())),
            str(prepared.on_postgresql.compile(dialect=postgresql.dialect())),  # type: ignore[no-untyped-call]  # SQLAlchemy's
        ]
        assert not [text for text in texts if "POSTCOMPILE" in text], name
        assert texts[0] == prepared._text, name


def test_values_that_a_column_cannot_hold_are_a_store_error(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        station_id = await one_registered(store)
        for wrong in (NOW.replace(tzinfo=None), "yesterday", 7):
            with pytest.raises(StoreError) as caught:
                async with store.writing() as unit:
                    await take(unit, station_id, at=wrong)  # type: ignore[arg-type]  # the point
            assert type(caught.value) is StoreError
        async with store.writing() as unit:
            assert await take(unit, station_id) == 1

    run_with_store(store_url, act)


def test_a_time_comes_back_as_the_same_moment_in_utc(store_url: str) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-5, minutes=30)))

    async def act(store: SqlStore) -> None:
        station_id = await one_registered(store)
        async with store.writing() as unit:
            await take(unit, station_id, at=elsewhere)
            await unit.commit()
        async with store.reading() as unit:
            current = await unit.sessions.current(station_id)
        assert current is not None
        assert current.connected_at == NOW
        assert current.connected_at.tzinfo is UTC

    run_with_store(store_url, act)


def test_a_reading_unit_writes_nothing_with_a_prepared_statement_either(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        station_id = await one_registered(store)
        with pytest.raises(StoreError):
            async with store.reading() as unit:
                await take(unit, station_id)
        with pytest.raises(StoreError):
            async with store.reading() as unit:
                await unit.security_events.add(records.security_event(station_id))
        async with store.reading() as unit:
            assert await unit.sessions.current(station_id) is None

    run_with_store(store_url, act)


def test_a_unit_that_failed_leaves_nothing_to_the_next_one(store_url: str) -> None:
    """They share a connection on SQLite: the next commit must not carry it along."""

    async def act(store: SqlStore) -> None:
        station_id = await one_registered(store)
        with pytest.raises(Superseded):
            async with store.writing() as unit:
                await take(unit, station_id)
                await take(unit, uuid4())  # no such station: the foreign key
        async with store.writing() as unit:
            await unit.security_events.add(records.security_event(station_id))
            await unit.commit()
        async with store.reading() as unit:
            assert await unit.sessions.current(station_id) is None
            page = await unit.security_events.page(station_id=station_id, limit=9, cursor=None)
            assert len(page.items) == 1

    run_with_store(store_url, act)


def test_records_of_one_unit_keep_their_order(store_url: str) -> None:
    reasons = [f"reason-{number}" for number in range(5)]

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            for reason in reasons:
                await unit.audit.add(records.audit_record(reason=reason))
            await unit.connection_attempts.add_all([])
            await unit.connection_attempts.add_all(
                [
                    ConnectionAttempt(
                        at=NOW, peer=reason, listener="3", outcome="refused", identity="CS001"
                    )
                    for reason in reasons
                ]
            )
            await unit.commit()
        async with store.reading() as unit:
            entries = await unit.audit.page(after_index=None, limit=9, action=None, subject=None)
            assert [entry.record.reason for entry in entries.items] == reasons
            attempts = await unit.connection_attempts.of_identity(
                records.station().identity, limit=9, cursor=None
            )
            assert [attempt.peer for attempt in attempts.items] == reasons[::-1]

    run_with_store(store_url, act)


def test_waking_a_station_does_not_walk_through_the_jobs_of_the_others(
    sqlite_store_url: str,
) -> None:
    async def act(store: SqlStore) -> None:
        await add_client(store, "anybody")

    run_with_store(sqlite_store_url, act)
    with sqlite3.connect(sqlite_store_url.removeprefix("sqlite+aiosqlite:///")) as database:
        values = jobs._WAKE._parameters({"of_station": uuid4(), "now": NOW})
        plan = database.execute(f"EXPLAIN QUERY PLAN {jobs._WAKE._text}", values).fetchall()
    database.close()
    assert "ix_jobs_station_id" in plan[0][-1]


def test_a_writer_waits_for_another_process_and_holds_up_no_reader(sqlite_store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        other = SqlStore(sqlite_store_url)
        async with other.writing() as unit, asyncio.timeout(5), asyncio.TaskGroup() as group:
            waiting = group.create_task(add_client(store, "mine"))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert await client_names(store) == []
            await unit.oauth_clients.add(records.oauth_client("other"))
            await unit.commit()
        assert await client_names(store) == ["mine", "other"]
        await other.close()

    run_with_store(sqlite_store_url, act)


def test_a_writer_cancelled_while_it_waits_for_another_process_keeps_no_lock(
    sqlite_store_url: str,
) -> None:
    async def act(store: SqlStore) -> None:
        other = SqlStore(sqlite_store_url)
        async with other.writing() as unit:
            waiting = asyncio.get_running_loop().create_task(add_client(store, "cancelled"))
            await asyncio.sleep(0.1)
            waiting.cancel()
            waiting.cancel()
            await unit.oauth_clients.add(records.oauth_client("one"))
            await unit.commit()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(2):
            await add_client(other, "two")
            await add_client(store, "three")
        assert await client_names(store) == ["one", "three", "two"]
        await other.close()

    run_with_store(sqlite_store_url, act)


def test_a_unit_is_of_no_use_after_its_end(sqlite_store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.reading() as unit:
            assert await unit.outbox.last_sequence() == 0
        with pytest.raises(StoreError):
            await unit.outbox.last_sequence()

    run_with_store(sqlite_store_url, act)


def test_a_store_closed_under_a_unit_keeps_no_connection_open(sqlite_store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.reading() as reading, store.writing() as writing:
            await store.close()
            assert await reading.outbox.last_sequence() == 0
            await writing.oauth_clients.add(records.oauth_client("late"))
        with pytest.raises(StoreUnavailable):
            await client_names(store)
        database = store._database
        assert isinstance(database, SQLiteDatabase)
        assert database._readers._idle == []
        assert database._writer._handle is None

    run_with_store(sqlite_store_url, act)


def test_a_connection_that_broke_between_units_is_replaced(sqlite_store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        await add_client(store, "before")
        assert await client_names(store) == ["before"]
        database = store._database
        assert isinstance(database, SQLiteDatabase)
        assert database._writer._handle is not None
        for handle in (database._writer._handle, *database._readers._idle):
            handle.driver.close()
        for _ in range(2):  # one may be lost, not the store
            with suppress(StoreError):
                await add_client(store, "after")
            with suppress(StoreError):
                await client_names(store)
        assert await client_names(store) == ["after", "before"]

    run_with_store(sqlite_store_url, act)


def test_a_full_sqlite_disk_is_unavailable_and_loses_only_what_did_not_fit(
    sqlite_store_url: str,
) -> None:
    async def act(store: SqlStore) -> None:
        await add_client(store, "before")
        database = store._database
        assert isinstance(database, SQLiteDatabase)
        assert database._writer._handle is not None
        driver = database._writer._handle.driver
        driver.execute("PRAGMA max_page_count = 1")  # no page more than there are
        with pytest.raises(StoreUnavailable):
            async with store.writing() as unit:
                await unit.audit.add(records.audit_record(reason="x" * 100_000))
                await unit.commit()
        driver.execute("PRAGMA max_page_count = 1073741823")
        await add_client(store, "after")
        assert await client_names(store) == ["after", "before"]
        async with store.reading() as unit:
            page = await unit.audit.page(after_index=None, limit=9, action=None, subject=None)
            assert page.items == []

    run_with_store(sqlite_store_url, act)


def test_a_sqlite_commit_is_on_the_disk_before_it_is_told(sqlite_store_url: str) -> None:
    """synchronous 2 is FULL; the rest is what the append-only log and the fences stand on."""

    async def act(store: SqlStore) -> None:
        await add_client(store, "one")
        await client_names(store)
        database = store._database
        assert isinstance(database, SQLiteDatabase)
        writer = database._writer._handle
        assert writer is not None
        for handle, query_only in ((writer, 0), (database._readers._idle[0], 1)):
            settings = {
                "synchronous": 2,
                "foreign_keys": 1,
                "recursive_triggers": 1,
                "query_only": query_only,
            }
            for name, value in settings.items():
                assert handle.driver.execute(f"PRAGMA {name}").fetchone() == (value,)

    run_with_store(sqlite_store_url, act)
