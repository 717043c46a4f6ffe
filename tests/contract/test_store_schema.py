"""The schema: the same from both sides, safe to run twice and to be killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from csms.domain.station import parse_identity
from csms.store.database import database_url
from csms.store.migrate import check
from csms.store.unit_of_work import SqlStore
from tests.fixtures import records
from tests.fixtures.stores import run_with_store

KILLED = """
import os, signal, sys
from csms.store import migrate
from csms.domain.station import parse_identity
from csms.store.database import database_url

def upgrade_and_die(connection):
    migrate._upgrade(connection)
    os.kill(os.getpid(), signal.SIGKILL)

migrate._run(database_url(sys.argv[1]), upgrade_and_die)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/csms.db"
    url: str = request.getfixturevalue("postgres_database")
    return url


def test_migrations_make_exactly_the_tables(store_url: str) -> None:
    asyncio.run(check(database_url(store_url)))


def test_a_second_upgrade_changes_nothing_and_keeps_the_rows(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(records.station())
            await unit.commit()
        await store.migrate()
        async with store.reading() as unit:
            assert await unit.stations.by_identity(parse_identity("cs001")) is not None

    run_with_store(store_url, act)


def test_upgrades_at_the_same_time_both_succeed(empty_url: str) -> None:
    async def act(store: SqlStore) -> None:
        other = SqlStore(empty_url)
        await asyncio.gather(store.migrate(), other.migrate())
        await other.close()
        async with store.reading() as unit:
            assert await unit.outbox.last_sequence() == 0

    run_with_store(empty_url, act)
    asyncio.run(check(database_url(empty_url)))


def test_an_upgrade_killed_before_its_end_has_done_nothing_and_can_be_run_again(
    empty_url: str,
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, empty_url], check=False, capture_output=True, timeout=30
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    async def act(store: SqlStore) -> None:
        with pytest.raises(Exception, match="the database refused"):
            async with store.reading() as unit:
                await unit.outbox.last_sequence()
        await store.migrate()
        async with store.reading() as unit:
            assert await unit.outbox.last_sequence() == 0

    run_with_store(empty_url, act)
    asyncio.run(check(database_url(empty_url)))
