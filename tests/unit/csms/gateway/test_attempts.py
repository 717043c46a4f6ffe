"""csms.gateway.attempts: refusals are batched, bounded, and outlast an outage."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from csms.adapters.clock import SystemClock
from csms.domain.admission import RefusalReason
from csms.domain.audit import Outcome
from csms.domain.security_event import EventSource, SecurityEvent
from csms.gateway import attempts
from csms.gateway.attempts import AttemptLog, audit_of
from csms.gateway.budget import source_of
from csms.ports.records import ConnectionAttempt
from csms.ports.store import StoreUnavailable
from csms.store.unit_of_work import SqlStore


def attempt(reason: RefusalReason | None = RefusalReason.PASSWORD) -> ConnectionAttempt:
    return ConnectionAttempt(
        at=datetime.now(UTC),
        peer="192.0.2.1:5",
        listener="2",
        outcome="refused" if reason else "admitted",
        failing_check=reason,
        identity="cs1",
    )


async def recorded(store: SqlStore) -> list[tuple[str | None, object]]:
    async with store.reading() as work:
        page = await work.audit.page(after_index=None, limit=500, action=None, subject=None)
    return [(e.record.reason, e.record.details.get("count")) for e in page.items]


async def sources(store: SqlStore) -> list[object]:
    async with store.reading() as work:
        page = await work.audit.page(after_index=None, limit=500, action=None, subject=None)
    return [entry.record.details.get("sources") for entry in page.items]


def on_a_store(tmp_path: Path) -> SqlStore:
    return SqlStore(f"sqlite+aiosqlite:///{tmp_path}/csms.db")


def test_what_is_refused_is_written_soon_and_what_is_counted_once_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "WINDOW_SECONDS", 0.3)

    async def main() -> None:
        store = on_a_store(tmp_path)
        await store.migrate()
        log = AttemptLog(store, SystemClock())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(log.run())
            log.refused(attempt())
            log.refused(attempt(RefusalReason.BLOCKED))
            log.shed(RefusalReason.BUSY, source_of("192.0.2.1"))
            log.shed(RefusalReason.BUSY, source_of("192.0.2.2"))
            async with asyncio.timeout(3):
                while len(await recorded(store)) < 3:
                    await asyncio.sleep(0.01)
            log.shed(RefusalReason.BUSY, source_of("192.0.2.3"))
            async with asyncio.timeout(3):
                while len(await recorded(store)) < 4:
                    await asyncio.sleep(0.01)
            task.cancel()
        *_, two, one = await recorded(store)
        assert await recorded(store) == [("password", None), ("blocked", None), two, one]
        assert (two, one) == (("busy", 2), ("busy", 1))
        assert await sources(store) == [None, None, 2, 1]
        await store.close()

    asyncio.run(main())


def test_beyond_its_capacity_refusals_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "CAPACITY", 3)

    async def main() -> None:
        store = on_a_store(tmp_path)
        await store.migrate()
        log = AttemptLog(store, SystemClock())
        for _ in range(10):
            log.refused(attempt())
        await log.flush()
        assert await recorded(store) == [("password", None)] * 3 + [("password", 7)]
        await store.close()

    asyncio.run(main())


def test_without_the_database_they_wait(tmp_path: Path) -> None:
    async def main() -> None:
        away = on_a_store(tmp_path)
        await away.migrate()
        await away.close()
        log = AttemptLog(away, SystemClock())
        log.refused(attempt())
        log.shed(RefusalReason.BUSY, source_of("192.0.2.1"))
        with pytest.raises(StoreUnavailable):
            await log.flush()
        with pytest.raises(StoreUnavailable):
            async with log._writing:
                await log._write_counts()
        log.shed(RefusalReason.BUSY, source_of("192.0.2.1"))
        back = on_a_store(tmp_path)
        log._store = back
        await log.flush()
        assert await recorded(back) == [("password", None), ("busy", 2)]
        await back.close()

    asyncio.run(main())


def test_rows_that_the_database_refuses_do_not_hold_up_the_others(tmp_path: Path) -> None:
    async def main() -> None:
        store = on_a_store(tmp_path)
        await store.migrate()
        log = AttemptLog(store, SystemClock())
        now = datetime.now(UTC)
        event = SecurityEvent(
            id=uuid4(),
            station_id=uuid4(),
            type="X",
            occurred_at=now,
            received_at=now,
            tech_info=None,
            source=EventSource.CSMS,
        )
        log.refused(attempt(), event)
        log.refused(attempt(), event)  # the same id again: the whole batch is refused
        await log.flush()
        log.refused(attempt(RefusalReason.BLOCKED))
        await log.flush()
        assert await recorded(store) == [("blocked", None)]
        await store.close()

    asyncio.run(main())


def test_an_admission_is_a_success_in_the_same_words() -> None:
    record = audit_of(attempt(None))
    assert (record.actor, record.outcome, record.reason) == ("station:cs1", Outcome.SUCCESS, None)
    assert record.details["peer"] == "192.0.2.1:5"


def test_a_window_says_how_many_sources_there_were_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MAXIMUM_SOURCES", 3)

    async def main() -> None:
        store = on_a_store(tmp_path)
        await store.migrate()
        log = AttemptLog(store, SystemClock())
        for number in range(5):
            log.shed(RefusalReason.TOO_MANY_FAILURES, source_of(f"192.0.2.{number}"))
        await log.flush()
        assert await recorded(store) == [("too_many_failures", 5)]
        assert await sources(store) == [3]
        await store.close()

    asyncio.run(main())


def test_what_is_being_written_when_it_is_stopped_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = on_a_store(tmp_path)
        await store.migrate()
        log = AttemptLog(store, SystemClock())
        writing, go_on = asyncio.Event(), asyncio.Event()
        write = log._write

        async def slow(rows: list[Any]) -> None:
            await write(rows)
            writing.set()
            await go_on.wait()

        monkeypatch.setattr(log, "_write", slow)  # stops between commit and return
        running = asyncio.get_running_loop().create_task(log.run())
        log.refused(attempt())
        await asyncio.wait_for(writing.wait(), 3)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        go_on.set()
        await log.flush()
        assert await recorded(store) == [("password", None)]
        await store.close()

    asyncio.run(main())
