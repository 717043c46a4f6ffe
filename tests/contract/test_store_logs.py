"""What is written and never changed: audit, security events, connection attempts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from csms.domain.admission import RefusalReason
from csms.domain.audit import AuditAction, Outcome, record_hash
from csms.domain.station import StationIdentity, parse_identity
from csms.ports.records import ConnectionAttempt
from csms.ports.store import AlreadyExists, CursorInvalid
from csms.store.unit_of_work import SqlStore
from tests.fixtures import records
from tests.fixtures.records import NOW
from tests.fixtures.stores import run_with_store

STATION = uuid4()
HOSTILE = "nul \0, half a pair \ud800, right to left \u202e, \U0001f50c"


async def all_entries(store: SqlStore, **where: Any) -> list[Any]:
    wanted = {"after_index": None, "limit": 500, "action": None, "subject": None, **where}
    async with store.reading() as unit:
        return list((await unit.audit.page(**wanted)).items)


async def audited(store: SqlStore, *reasons: str) -> None:
    async with store.writing() as unit:
        for reason in reasons:
            await unit.audit.add(records.audit_record(reason=reason))
        await unit.commit()


async def run_sql(url: str, statement: str) -> None:
    """Past our own code, as an intruder with the role's password would."""
    if url.startswith("sqlite"):
        file = create_engine(url.replace("+aiosqlite", ""))
        with file.begin() as connection:
            connection.execute(text(statement))
        file.dispose()
        return
    engine = create_async_engine(url)
    try:
        async with engine.begin() as session:
            await session.execute(text(statement))
    finally:
        await engine.dispose()


def test_an_audit_record_reads_back_with_its_place_and_hash(store_url: str) -> None:
    record = records.audit_record(
        outcome=Outcome.REFUSED,
        reason="password",
        details={"b": True, "n": 7, "s": "word", "nothing": None},
    )

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.audit.add(record)
            await unit.commit()
        [entry] = await all_entries(store)
        assert (entry.index, entry.record, entry.hash) == (1, record, record_hash(record))

    run_with_store(store_url, act)


def test_indexes_ascend_without_a_gap_though_units_overlap_and_some_fail(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async def one(number: int) -> None:
            async with store.writing() as unit:
                await unit.audit.add(records.audit_record(reason=f"{number} first"))
                await asyncio.sleep(0)
                await unit.audit.add(records.audit_record(reason=f"{number} second"))
                if number % 3:
                    await unit.commit()

        await asyncio.gather(*(one(number) for number in range(12)))
        entries = await all_entries(store)
        assert [entry.index for entry in entries] == list(range(1, 17))
        reasons = [entry.record.reason for entry in entries]
        for first, second in zip(reasons[::2], reasons[1::2], strict=True):
            assert second == first.replace("first", "second")

    run_with_store(store_url, act)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET actor = 'nobody'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
    ],
)
def test_the_audit_log_refuses_to_be_changed(store_url: str, statement: str) -> None:
    if "TRUNCATE" in statement and store_url.startswith("sqlite"):
        statement = "DELETE FROM audit_entries WHERE entry_index = 1"

    async def act(store: SqlStore) -> None:
        await audited(store, "one", "two")
        with pytest.raises(DBAPIError, match="append-only"):
            await run_sql(store_url, statement)
        assert [entry.record.reason for entry in await all_entries(store)] == ["one", "two"]

    run_with_store(store_url, act)


def test_an_index_cannot_be_chosen_on_postgresql(postgres_store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        await audited(store, "one")
        await run_sql(
            postgres_store_url,
            "INSERT INTO audit_entries (entry_index, at, actor, action, subject, outcome, details,"
            " hash) VALUES (99, '2026-01-01T00:00:00+00:00', 'a', 'station.admit', 's', 'success',"
            " '{}', 'h')",
        )
        assert [entry.index for entry in await all_entries(store)] == [1, 2]

    run_with_store(postgres_store_url, act)


def test_audit_pages_go_on_after_an_index_and_filter(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            for number in range(5):
                await unit.audit.add(
                    records.audit_record(
                        subject=f"station:cs{number % 2}",
                        action=AuditAction.STATION_ADMIT if number == 4 else AuditAction.API_ACCESS,
                    )
                )
            await unit.commit()
        async with store.reading() as unit:
            page = await unit.audit.page(after_index=None, limit=2, action=None, subject=None)
            assert [entry.index for entry in page.items] == [1, 2]
            assert page.next == "2"
            page = await unit.audit.page(after_index=2, limit=3, action=None, subject=None)
            assert [entry.index for entry in page.items] == [3, 4, 5]
            assert page.next is None
        assert [e.index for e in await all_entries(store, subject="station:cs1")] == [2, 4]
        assert [e.index for e in await all_entries(store, action="station.admit")] == [5]
        assert await all_entries(store, action="no such action") == []

    run_with_store(store_url, act)


def test_a_row_that_cannot_be_read_does_not_take_the_listing_with_it(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        await audited(store, "one")
        await run_sql(
            store_url,
            "INSERT INTO audit_entries (at, actor, action, subject, outcome, details, hash)"
            " VALUES ('+20000-01-01', 'a', 'of.a_later_version', 's', 'success', '{', 'h')",
        )
        await audited(store, "three")
        assert [entry.record.reason for entry in await all_entries(store)] == ["one", "three"]

    run_with_store(store_url, act)


def test_hostile_text_is_stored_readable_and_hashed_as_stored(store_url: str) -> None:
    event = records.security_event(STATION, tech_info=HOSTILE)
    record = records.audit_record(subject=HOSTILE, reason=HOSTILE, details={HOSTILE: HOSTILE})

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.security_events.add(event)
            await unit.audit.add(record)
            await unit.outbox.add("topic", {"text": HOSTILE})
            await unit.commit()
        async with store.reading() as unit:
            [found] = (await unit.security_events.page(station_id=None, limit=9, cursor=None)).items
            assert found.tech_info is not None
            assert found.tech_info.startswith("nul \ufffd, half a pair \ufffd")
            assert found.tech_info.endswith("\U0001f50c")
            [sent] = await unit.outbox.after(0, limit=9)
            assert sent.payload == {"text": HOSTILE}
            assert await unit.oauth_clients.by_id(HOSTILE) is None
            assert await unit.idempotency_keys.find(HOSTILE, HOSTILE) is None
            assert await unit.stations.by_identity(StationIdentity(HOSTILE)) is None
        [entry] = await all_entries(store)
        assert entry.hash == record_hash(entry.record)

    run_with_store(store_url, act)


def test_security_events_come_newest_received_first(store_url: str) -> None:
    events = [
        records.security_event(STATION, received_at=NOW + timedelta(seconds=n // 2))
        for n in range(5)
    ]
    other = records.security_event(uuid4(), occurred_at=NOW + timedelta(days=9))

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            for event in (*events, other):
                await unit.security_events.add(event)
            with pytest.raises(AlreadyExists):
                await unit.security_events.add(other)
            await unit.commit()
        async with store.reading() as unit:
            newest = sorted(events, key=lambda e: (e.received_at, e.id), reverse=True)
            page = await unit.security_events.page(station_id=STATION, limit=3, cursor=None)
            rest = await unit.security_events.page(station_id=STATION, limit=3, cursor=page.next)
            assert [*page.items, *rest.items] == newest
            assert rest.next is None
            page = await unit.security_events.page(station_id=None, limit=10_000, cursor=None)
            assert len(page.items) == 6
            with pytest.raises(CursorInvalid):
                await unit.security_events.page(station_id=None, limit=1, cursor="nonsense")

    run_with_store(store_url, act)


def test_connection_attempts_of_an_identity_come_newest_first(store_url: str) -> None:
    full = ConnectionAttempt(
        at=NOW,
        peer="192.0.2.7",
        listener="3",
        outcome="refused",
        failing_check=RefusalReason.CERTIFICATE_REVOKED,
        detail=HOSTILE.replace("\0", "").replace("\ud800", ""),
        station_id=STATION,
        identity="cs001",
        tls_version="TLSv1.3",
        tls_cipher="TLS_AES_128_GCM_SHA256",
        certificate="ab" * 32,
        http_status=HTTPStatus.FORBIDDEN,
    )
    bare = ConnectionAttempt(at=NOW, peer="192.0.2.8", listener="2", outcome="admitted")
    later = ConnectionAttempt(
        at=NOW + timedelta(seconds=1), peer="p", listener="2", outcome="admitted", identity="CS001"
    )

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.connection_attempts.add_all([])
            await unit.connection_attempts.add_all([later, full, bare])
            await unit.commit()
        async with store.reading() as unit:
            of = unit.connection_attempts.of_identity
            identity = parse_identity("Cs001")
            page = await of(identity, limit=1, cursor=None)
            assert [attempt.at for attempt in page.items] == [later.at]
            page = await of(identity, limit=1, cursor=page.next)
            assert (page.items, page.next) == ([full], None)
            assert (await of(parse_identity("other"), limit=9, cursor=None)).items == []
            lately = unit.connection_attempts.admitted_lately
            assert list(await lately(among=3)) == [("cs001", "p")]
            assert list(await lately(among=2)) == []  # `later` is the first of three

    run_with_store(store_url, act)
