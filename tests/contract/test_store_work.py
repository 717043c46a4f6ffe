"""Jobs, operations and the outbox: work that survives a crash, is done by one, and is heard."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from csms.ports.records import Job, JobKind, OperationState, OutboxEvent
from csms.ports.store import Superseded
from csms.store.unit_of_work import SqlStore
from tests.fixtures import records
from tests.fixtures.records import NOW
from tests.fixtures.stores import run_with_store

STATION = uuid4()


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


async def added(store: SqlStore, *jobs: Job) -> list[bool]:
    async with store.writing() as unit:
        results = [await unit.jobs.add(job) for job in jobs]
        await unit.commit()
    return results


async def claimed(store: SqlStore, now: float = 0, limit: int = 99) -> list[Job]:
    async with store.writing() as unit:
        jobs = await unit.jobs.claim(now=after(now), lease_until=after(now + 60), limit=limit)
        await unit.commit()
    return list(jobs)


def test_due_jobs_are_claimed_oldest_first_and_only_once(store_url: str) -> None:
    jobs = [records.job(run_at=after(-n), station_id=STATION, payload={"n": n}) for n in range(4)]
    future = records.job(run_at=after(1))

    async def act(store: SqlStore) -> None:
        assert await added(store, *jobs, future) == [True] * 5
        assert await claimed(store, limit=3) == [jobs[3], jobs[2], jobs[1]]
        assert await claimed(store) == [jobs[0]]
        assert await claimed(store) == []
        assert await claimed(store, 2) == [future]

    run_with_store(store_url, act)


def test_a_lease_that_ran_out_gives_the_job_to_the_next(store_url: str) -> None:
    job = records.job()

    async def act(store: SqlStore) -> None:
        await added(store, job)
        assert await claimed(store, 0) == [job]
        assert await claimed(store, 59) == []
        [again] = await claimed(store, 60)
        assert (again.id, again.attempts) == (job.id, 1), "a run that ended its worker counts"

    run_with_store(store_url, act)


def test_who_is_alone_ends_the_leases_of_a_killed_run(store_url: str) -> None:
    jobs = [records.job(), records.job()]

    async def act(store: SqlStore) -> None:
        await added(store, *jobs, failed := records.job())
        claims = {job.id: job for job in await claimed(store, 0)}
        async with store.writing() as unit:
            await unit.jobs.fail(claims[failed.id], note="n")
            assert await unit.jobs.end_leases() == 2
            assert await unit.jobs.end_leases() == 0
            await unit.commit()
        again = await claimed(store, 1)
        assert {job.id for job in again} == {job.id for job in jobs}
        assert {job.attempts for job in again} == {1}, "a run that ended its worker counts"

    run_with_store(store_url, act)


@pytest.mark.parametrize("end", ["finish", "retry", "fail"])
def test_a_worker_whose_lease_ran_out_does_not_end_the_run_of_another(
    store_url: str, end: str
) -> None:
    async def act(store: SqlStore) -> None:
        await added(store, records.job())
        [late] = await claimed(store, 0)
        [current] = await claimed(store, 60)
        more: dict[str, dict[str, Any]] = {
            "finish": {},
            "fail": {"note": "n"},
            "retry": {"run_at": after(0), "note": "n"},
        }
        async with store.writing() as unit:
            with pytest.raises(Superseded):
                await getattr(unit.jobs, end)(late, **more[end])
            await unit.commit()
        assert await claimed(store, 61) == [], "the newer lease holds"
        async with store.writing() as unit:
            await getattr(unit.jobs, end)(current, **more[end])
            await unit.commit()

    run_with_store(store_url, act)


def test_a_lease_that_ran_out_unnoticed_is_still_good(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        await added(store, records.job())
        [job] = await claimed(store, 0)
        async with store.writing() as unit:
            await unit.jobs.finish(job)
            await unit.commit()
        assert await claimed(store, 1e6) == []

    run_with_store(store_url, act)


def test_a_run_that_could_not_begin_does_not_count(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        await added(store, records.job())
        for second in range(3):
            [job] = await claimed(store, second)
            assert job.attempts == 0
            async with store.writing() as unit:
                await unit.jobs.retry(job, run_at=after(second), note="offline", counts=False)
                await unit.commit()

    run_with_store(store_url, act)


def test_only_the_kinds_asked_for_are_claimed(store_url: str) -> None:
    jobs = [records.job(kind=kind) for kind in JobKind]

    async def act(store: SqlStore) -> None:
        await added(store, *jobs)
        async with store.writing() as unit:
            found = await unit.jobs.claim(
                now=after(0), lease_until=after(1), limit=9, kinds=[JobKind.REVOKE_AT_CA]
            )
            assert [job.kind for job in found] == [JobKind.REVOKE_AT_CA]
        assert len(await claimed(store)) == len(jobs)

    run_with_store(store_url, act)


def test_jobs_of_stations_that_are_busy_are_left(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        stations = [records.station(name) for name in ("CS1", "CS2")]
        async with store.writing() as unit:
            for station in stations:
                await unit.stations.add(station)
            await unit.commit()
        nobodys = records.job()
        await added(store, nobodys, *(records.job(station_id=each.id) for each in stations))
        async with store.writing() as unit:
            found = await unit.jobs.claim(
                now=after(0), lease_until=after(1), limit=9, not_of=[stations[0].id]
            )
            assert {job.station_id for job in found} == {None, stations[1].id}

    run_with_store(store_url, act)


def test_jobs_that_cannot_be_read_hold_up_nobody(store_url: str) -> None:
    """A newer version's kind is left alone; what is broken fails instead of coming for ever."""
    old = records.job(run_at=after(-9))
    newer, broken = records.job(run_at=after(-9)), records.job(run_at=after(-9))

    async def act(store: SqlStore) -> None:
        await added(store, old, newer, broken)
        async with store.writing() as unit:
            execute = unit.jobs._transaction.execute  # no repository writes such rows
            await execute(
                text("UPDATE jobs SET kind = 'newer' WHERE key = :key"), {"key": newer.key}
            )
            await execute(
                text("UPDATE jobs SET payload = '7' WHERE key = :key"), {"key": broken.key}
            )
            await unit.commit()
        assert await claimed(store, limit=2) == [old]
        async with store.reading() as unit:
            rows = await unit.jobs._transaction.rows(text("SELECT key, state FROM jobs"))
        states = {row.key: row.state for row in rows}
        assert (states[newer.key], states[broken.key]) == ("waiting", "failed")

    run_with_store(store_url, act)


def test_workers_that_claim_at_the_same_time_share_no_job(store_url: str) -> None:
    jobs = [records.job() for _ in range(20)]

    async def act(store: SqlStore) -> None:
        await added(store, *jobs)
        batches = await asyncio.gather(*(claimed(store, limit=5) for _ in range(8)))
        taken = [job.id for batch in batches for job in batch]
        assert len(taken) == len(set(taken))
        taken += [job.id for job in await claimed(store)]
        assert sorted(taken) == sorted(job.id for job in jobs)

    run_with_store(store_url, act)


def test_one_unfinished_job_per_kind_and_key(store_url: str) -> None:
    first = records.job(key="k")

    async def act(store: SqlStore) -> None:
        assert await added(store, first, records.job(key="k")) == [True, False]
        results = await asyncio.gather(*(added(store, records.job(key="race")) for _ in range(4)))
        assert sorted(result for [result] in results) == [False, False, False, True]
        leased = {job.id: job for job in await claimed(store)}
        assert await added(store, records.job(key="k")) == [False]
        async with store.writing() as unit:
            await unit.jobs.finish(leased[first.id])
            assert await unit.jobs.add(records.job(key="k"))
            await unit.commit()

    run_with_store(store_url, act)


def test_what_is_asked_for_anew_is_done_once_more(store_url: str) -> None:
    """C07: the second asking may not be lost in the end of the first."""

    def asking(number: int) -> Job:
        return records.job(key="k", payload={"n": number})

    async def act(store: SqlStore) -> None:
        async def ask(job: Job) -> None:
            async with store.writing() as unit:
                await unit.jobs.add_again(job)
                await unit.commit()

        await ask(first := asking(1))
        (running,) = await claimed(store)
        assert running.id == first.id
        await ask(asking(2))
        async with store.writing() as unit:
            with pytest.raises(Superseded):
                await unit.jobs.finish(running)
        (again,) = await claimed(store)
        assert (again.id, again.payload) == (first.id, {"n": 2})
        async with store.writing() as unit:
            await unit.jobs.retry(again, run_at=after(60), note="later")
            await unit.commit()
        await ask(asking(3))
        assert [job.payload for job in await claimed(store)] == [{"n": 3}]

    run_with_store(store_url, act)


def test_a_retry_gives_the_lease_back_and_counts(store_url: str) -> None:
    job = records.job()

    async def act(store: SqlStore) -> None:
        await added(store, job)
        for attempt in range(3):
            [found] = await claimed(store, attempt * 10)
            assert found.attempts == attempt
            async with store.writing() as unit:
                await unit.jobs.retry(found, run_at=after(attempt * 10 + 5), note="no answer")
                await unit.commit()
            assert await claimed(store, attempt * 10 + 4) == []

    run_with_store(store_url, act)


def test_a_failed_job_never_runs_again_and_makes_room_for_another(store_url: str) -> None:
    job = records.job(key="k", station_id=STATION)

    async def act(store: SqlStore) -> None:
        await added(store, job)
        [leased] = await claimed(store)
        async with store.writing() as unit:
            await unit.jobs.fail(leased, note="the end")
            with pytest.raises(Superseded):
                await unit.jobs.retry(leased, run_at=after(0), note="too late")
            assert await unit.jobs.wake(STATION, now=after(1)) == 0
            await unit.commit()
        assert await claimed(store, 1e6) == []
        assert await added(store, records.job(key="k")) == [True]

    run_with_store(store_url, act)


def test_a_connecting_station_wakes_its_waiting_jobs_only(store_url: str) -> None:
    asleep = records.job(station_id=STATION, run_at=after(600))
    foreign = records.job(station_id=uuid4(), run_at=after(600))
    leased = records.job(station_id=STATION)

    async def act(store: SqlStore) -> None:
        await added(store, asleep, foreign, leased)
        assert await claimed(store) == [leased]
        async with store.writing() as unit:
            assert await unit.jobs.wake(STATION, now=after(1)) == 1
            await unit.commit()
        assert await claimed(store, 1) == [replace(asleep, run_at=after(1))]

    run_with_store(store_url, act)


def test_what_all_of_a_kind_wait_for_is_back(store_url: str) -> None:
    kind, other = JobKind.ISSUE_CERTIFICATE, JobKind.TRIGGER_RENEWAL
    late = records.job(kind=kind, run_at=after(600), created_at=after(-1))
    later = records.job(kind=kind, run_at=after(300), created_at=after(0))
    foreign = records.job(kind=other, run_at=after(600))
    leased = records.job(kind=kind)

    async def act(store: SqlStore) -> None:
        await added(store, later, late, foreign, leased)
        assert await claimed(store) == [leased]
        async with store.writing() as unit:
            assert await unit.jobs.wake_kind(kind, now=after(1)) == 2
            await unit.commit()
        found = await claimed(store, 1)
        assert [job.id for job in found] == [late.id, later.id], "in the order they came"

    run_with_store(store_url, act)


def test_an_operation_is_found_while_open_and_keeps_its_result(store_url: str) -> None:
    operation = records.operation(STATION, result={"a": 1})
    bare = records.operation(None)

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.operations.add(operation)
            await unit.operations.add(bare)
            assert await unit.operations.open_of(STATION, operation.kind) == operation
            assert await unit.operations.open_of(STATION, "other") is None
            assert await unit.operations.open_of(uuid4(), operation.kind) is None
            await unit.operations.advance(
                operation.id, state=OperationState.RUNNING, progress="signed", at=after(1)
            )
            running = replace(
                operation,
                state=OperationState.RUNNING,
                progress="signed",
                updated_at=after(1),
            )
            assert await unit.operations.open_of(STATION, operation.kind) == running
            await unit.operations.advance(
                operation.id,
                state=OperationState.SUCCEEDED,
                progress="active",
                at=after(2),
                result={"certificate_id": "x"},
            )
            await unit.commit()
        async with store.reading() as unit:
            assert await unit.operations.open_of(STATION, operation.kind) is None
            found = await unit.operations.by_id(operation.id)
            assert found is not None
            assert (found.state, found.result) == (
                OperationState.SUCCEEDED,
                {"certificate_id": "x"},
            )
            assert await unit.operations.by_id(bare.id) == bare
            assert await unit.operations.by_id(uuid4()) is None

    run_with_store(store_url, act)


def test_the_outbox_is_read_from_a_cursor_in_order(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.reading() as unit:
            assert await unit.outbox.last_sequence() == 0
        async with store.writing() as unit:
            for number in range(3):
                await unit.outbox.add("topic", {"n": number, "none": None, "list": [1, "a"]})
            await unit.commit()
        async with store.writing() as unit:
            await unit.outbox.add("never", {})
        async with store.reading() as unit:
            events = await unit.outbox.after(0, limit=9)
            assert [event.payload["n"] for event in events] == [0, 1, 2]
            assert events[0] == OutboxEvent(
                sequence=events[0].sequence,
                topic="topic",
                payload={"n": 0, "none": None, "list": [1, "a"]},
            )
            assert await unit.outbox.after(events[0].sequence, limit=1) == [events[1]]
            assert await unit.outbox.last_sequence() == events[-1].sequence

    run_with_store(store_url, act)


def test_a_later_writer_of_the_outbox_waits_for_the_earlier_ones_end(
    postgres_store_url: str,
) -> None:
    """Else its higher sequence would be seen first, and the lower one never."""

    async def act(store: SqlStore) -> None:
        async def second() -> None:
            async with store.writing() as unit:
                await unit.outbox.add("topic", {"n": 2})
                await unit.commit()

        async with asyncio.TaskGroup() as group, store.writing() as unit:
            await unit.outbox.add("topic", {"n": 1})
            await unit.outbox.write_waiting()
            later = group.create_task(second())
            await asyncio.sleep(0.2)
            assert not later.done()
            await unit.commit()
        async with store.reading() as unit:
            events = await unit.outbox.after(0, limit=9)
            assert [event.payload["n"] for event in events] == [1, 2]

    run_with_store(postgres_store_url, act)


def test_no_outbox_row_becomes_visible_behind_a_reader(store_url: str) -> None:
    """A reader that keeps only the last sequence hears of every row, however writers overlap."""

    async def act(store: SqlStore) -> None:
        heard: list[int] = []
        done = asyncio.Event()

        async def write(number: int) -> None:
            async with store.writing() as unit:
                await unit.outbox.add("topic", {"n": number})
                await asyncio.sleep(0.002 * (number % 5))
                await unit.outbox.add("topic", {"n": 100 + number})
                await unit.commit()

        async def read() -> None:
            cursor = 0
            while True:
                last = done.is_set()
                async with store.reading() as unit:
                    events = await unit.outbox.after(cursor, limit=7)
                heard.extend(event.payload["n"] for event in events)
                cursor = events[-1].sequence if events else cursor
                if last and not events:
                    return
                await asyncio.sleep(0.001)

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            await asyncio.gather(*(write(number) for number in range(30)))
            done.set()
        assert sorted(heard) == [*range(30), *range(100, 130)]

    run_with_store(store_url, act)
