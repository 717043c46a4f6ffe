"""Units of work: all or nothing, also under cancellation, and honest about a database away."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from csms.ports.store import AlreadyExists, Store, StoreUnavailable, UnitOfWork
from csms.store import postgresql
from csms.store.database import DatabaseURLInvalid
from csms.store.unit_of_work import SqlStore
from tests.fixtures import records
from tests.fixtures.postgres import PostgresServer, create_server
from tests.fixtures.stores import run_with_store


async def names(store: SqlStore) -> list[str]:
    async with store.reading() as unit:
        return [
            client.client_id
            for client in (await unit.oauth_clients.page(limit=99, cursor=None)).items
        ]


async def failing(store: SqlStore) -> None:
    async with store.writing() as unit:
        await unit.oauth_clients.add(records.oauth_client("failed"))
        await unit.oauth_clients.add(records.oauth_client("failed"))
        await unit.commit()


def test_a_unit_left_without_commit_has_done_nothing(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.oauth_clients.add(records.oauth_client("forgotten"))
            await unit.audit.add(records.audit_record())
            await unit.outbox.add("topic", {})
        with pytest.raises(AlreadyExists):
            await failing(store)
        async with store.writing() as unit:
            await unit.oauth_clients.add(records.oauth_client("kept"))
            await unit.commit()
            await unit.oauth_clients.add(records.oauth_client("after the commit"))
        assert await names(store) == ["kept"]
        async with store.reading() as unit:
            page = await unit.audit.page(after_index=None, limit=9, action=None, subject=None)
            assert page.items == []
            assert await unit.outbox.last_sequence() == 0

    run_with_store(store_url, act)


def test_the_store_is_what_the_port_asks_for(sqlite_store_url: str) -> None:
    """mypy reads the assignment; here the port's names are looked for."""

    async def act(store: SqlStore) -> None:
        port: Store = store
        async with port.writing() as unit, port.reading():
            names_of_port = {name for name in dir(UnitOfWork) if not name.startswith("_")}
            assert names_of_port <= set(dir(unit))

    run_with_store(sqlite_store_url, act)


def test_what_is_not_committed_is_not_seen_by_others(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.oauth_clients.add(records.oauth_client("one"))
            assert await names(store) == []
            await unit.commit()
            assert await names(store) == ["one"]

    run_with_store(store_url, act)


def test_a_writer_that_has_committed_keeps_no_other_waiting(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.writing() as first:
            await first.oauth_clients.add(records.oauth_client("one"))
            await first.commit()
            async with asyncio.timeout(2), store.writing() as second:
                await second.oauth_clients.add(records.oauth_client("two"))
                await second.commit()
        assert await names(store) == ["one", "two"]

    run_with_store(store_url, act)


def test_units_cancelled_anywhere_leave_a_whole_store(store_url: str) -> None:
    """Cancelled at every await in turn: a unit is there completely or not at all."""

    async def act(store: SqlStore) -> None:
        async def unit_of_two(number: int) -> None:
            async with store.writing() as unit:
                await unit.oauth_clients.add(records.oauth_client(f"{number:02d}-a"))
                await asyncio.sleep(0)
                await unit.oauth_clients.add(records.oauth_client(f"{number:02d}-b"))
                await unit.commit()

        for number in range(40):
            task = asyncio.get_running_loop().create_task(unit_of_two(number))
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        async with asyncio.timeout(5):
            await unit_of_two(99)
        found = await names(store)
        halves = {name[:2] for name in found}
        assert len(found) == 2 * len(halves)
        assert "99" in halves

    run_with_store(store_url, act)


def test_many_writers_at_once_all_get_through(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async def write(number: int) -> None:
            async with store.writing() as unit:
                await unit.oauth_clients.add(records.oauth_client(f"{number:03d}"))
                await unit.commit()

        await asyncio.gather(*(write(number) for number in range(60)))
        assert len(await names(store)) == 60

    run_with_store(store_url, act)


def test_a_closed_store_is_unavailable(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        await store.close()
        for unit in (store.reading, store.writing):
            with pytest.raises(StoreUnavailable):
                async with unit():
                    pytest.fail("a unit of a closed store")

    run_with_store(store_url, act)


def test_a_missing_sqlite_file_is_unavailable_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "csms.db"

    async def act(store: SqlStore) -> None:
        with pytest.raises(StoreUnavailable):
            async with store.reading() as unit:
                await unit.outbox.last_sequence()
        with pytest.raises(StoreUnavailable):
            async with store.writing() as unit:
                await unit.outbox.last_sequence()
        assert not path.exists()

    run_with_store(f"sqlite+aiosqlite:///{path}", act)


def test_a_sqlite_writer_locked_out_by_another_process_says_so(
    sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csms.store.sqlite._BUSY_SECONDS", 0.1)

    async def act(store: SqlStore) -> None:
        other = SqlStore(sqlite_store_url)
        async with other.writing() as unit:
            await unit.oauth_clients.add(records.oauth_client("other"))
            with pytest.raises(StoreUnavailable):
                async with store.writing():
                    pytest.fail("two writers")
            assert await names(store) == []
            await unit.commit()
        async with store.writing() as unit:
            await unit.oauth_clients.add(records.oauth_client("mine"))
            await unit.commit()
        assert await names(store) == ["mine", "other"]
        await other.close()

    run_with_store(sqlite_store_url, act)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    server = create_server()
    yield server
    server.stop()
    shutil.rmtree(server.directory, ignore_errors=True)


def test_a_postgresql_that_goes_away_is_unavailable_and_comes_back(
    own_server: PostgresServer,
) -> None:
    async def act(store: SqlStore) -> None:
        await store.migrate()
        async with store.writing() as unit:
            await unit.oauth_clients.add(records.oauth_client("before"))
            await unit.commit()
        with capture_logs():
            async with store.writing() as unit:
                await unit.oauth_clients.add(records.oauth_client("during"))
                own_server.stop()
                with pytest.raises(StoreUnavailable):
                    await unit.commit()
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await names(store)
            with pytest.raises(StoreUnavailable):
                async with store.writing() as unit:
                    await unit.oauth_clients.add(records.oauth_client("away"))
            own_server.start()
            # A connection of the pool may have to find out first that it is dead.
            for _ in range(4):
                try:
                    assert await names(store) == ["before"]
                    break
                except StoreUnavailable:
                    continue
            else:
                pytest.fail("the store does not find back")

    run_with_store(own_server.url(), act)


def test_a_lock_held_too_long_is_unavailable(
    postgres_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgresql._SERVER_SETTINGS, "lock_timeout", "200")

    async def act(store: SqlStore) -> None:
        async with store.writing() as holder:
            await holder.oauth_clients.add(records.oauth_client("one"))
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                async with store.writing() as unit:
                    await unit.oauth_clients.add(records.oauth_client("one"))
            assert time.monotonic() - started < 3

    run_with_store(postgres_store_url, act)


def test_errors_quote_neither_the_row_nor_the_url(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.reading() as unit:
            with pytest.raises(Exception) as caught:
                await unit.oauth_clients.add(records.oauth_client(secret_sha256="5ecre7" * 9))
        error: BaseException | None = caught.value
        while error is not None:
            assert "5ecre7" not in str(error)
            error = error.__cause__

    run_with_store(store_url, act)


def test_a_writing_unit_inside_a_writing_unit_comes_to_an_end(
    sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite it waits for itself; it is told so instead of hanging for ever."""
    monkeypatch.setattr("csms.store.sqlite._QUEUE_SECONDS", 0.1)

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            with pytest.raises(StoreUnavailable):
                async with store.writing():
                    pytest.fail("two writers")
            await unit.oauth_clients.add(records.oauth_client("outer"))
            await unit.commit()
        assert await names(store) == ["outer"]

    run_with_store(sqlite_store_url, act)


def test_the_sqlite_file_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "csms 100%.db"
    old = os.umask(0)
    try:

        async def act(store: SqlStore) -> None:
            await store.migrate()
            async with store.writing() as unit:
                await unit.oauth_clients.add(records.oauth_client())
                await unit.commit()
            found = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
            assert path.name in found
            assert set(found.values()) == {0o600}

        run_with_store(f"sqlite+aiosqlite:///{path}", act)
    finally:
        os.umask(old)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "postgresql://u:hunter2@h/d",
        "mysql://u:hunter2@h/d",
        "hunter2",
    ],
)
def test_another_kind_of_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(DatabaseURLInvalid) as caught:
        SqlStore(url)
    assert "hunter2" not in str(caught.value)
