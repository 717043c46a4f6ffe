"""csms.worker.runner: every job runs, ends once, and holds up nobody."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from csms.operations.jobs import Done, GiveUp, JobOutcome, RetryIn, WhenConnected
from csms.ports.bus import JOBS_WAKE
from csms.ports.records import Job, JobKind
from csms.worker import runner as module
from csms.worker.runner import JobHandler, JobRunner
from tests.fixtures.inside import Inside, inside

SLOW = timedelta(hours=1)


@asynccontextmanager
async def working(
    house: Inside, handlers: Mapping[JobKind, JobHandler], **more: Any
) -> AsyncIterator[JobRunner]:
    runner = JobRunner(
        store=house.store, bus=house.bus, clock=house.clock, handlers=handlers, **more
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(runner.run())
        try:
            yield runner
        finally:
            task.cancel()


async def queued(house: Inside, kind: JobKind = JobKind.SESSION_SEEN, **more: Any) -> Job:
    at = house.clock.now()
    facts: dict[str, Any] = {"key": str(uuid4()), "station_id": None, "attempts": 0} | more
    job = Job(id=uuid4(), kind=kind, payload={}, run_at=at, created_at=at, **facts)
    async with house.store.writing() as work:
        await work.jobs.add(job)
        await work.commit()
    return job


async def waiting(house: Inside, *, after: timedelta = timedelta(0)) -> list[Job]:
    """What a worker would find after so long; nothing is leased by looking."""
    now = house.clock.now() + after
    async with house.store.writing() as work:
        return list(await work.jobs.claim(now=now, lease_until=now, limit=99))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def idle(runner: JobRunner) -> None:
    await until(lambda: not runner.running)


@pytest.mark.parametrize(
    ("outcome", "after", "attempts"),
    [
        (Done(), SLOW, None),
        (GiveUp("the end"), SLOW, None),
        (RetryIn(timedelta(seconds=50), "later"), timedelta(seconds=50), 1),
        (RetryIn(timedelta(seconds=50), "later", counts=False), timedelta(seconds=50), 0),
        (WhenConnected("offline"), timedelta(minutes=15), 0),
    ],
)
def test_each_outcome_is_recorded(
    tmp_path: Path, outcome: JobOutcome, after: timedelta, attempts: int | None
) -> None:
    async def scene(house: Inside) -> None:
        ran: list[Job] = []

        async def handler(job: Job) -> JobOutcome:
            ran.append(job)
            return outcome

        await queued(house)
        async with working(house, {JobKind.SESSION_SEEN: handler}) as runner:
            await until(lambda: bool(ran))
            await idle(runner)
        assert len(ran) == 1
        if attempts is not None:
            assert await waiting(house, after=after - timedelta(seconds=1)) == []
        assert [job.attempts for job in await waiting(house, after=after)] == (
            [] if attempts is None else [attempts]
        )

    inside(tmp_path, scene)


def test_a_bug_in_one_job_puts_it_off_ever_longer_and_the_others_run(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        ran: list[str] = []

        async def handler(job: Job) -> JobOutcome:
            ran.append(job.key)
            if job.key == "bad":
                raise RuntimeError("a bug")
            return Done()

        await queued(house, key="bad", attempts=3)
        await queued(house, key="good")
        async with working(house, {JobKind.SESSION_SEEN: handler}) as runner:
            await until(lambda: len(ran) == 2)
            await idle(runner)
        assert await waiting(house, after=timedelta(seconds=30 * 8 - 1)) == []
        assert len(await waiting(house, after=timedelta(seconds=30 * 8))) == 1

    inside(tmp_path, scene)


def test_stations_that_never_answer_hold_up_neither_signing_nor_revoking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STATIONS_AT_ONCE", 3)

    async def scene(house: Inside) -> None:
        ran: list[JobKind] = []
        asked: list[Job] = []

        async def silent(job: Job) -> JobOutcome:
            asked.append(job)
            await asyncio.Event().wait()
            raise AssertionError

        async def quick(job: Job) -> JobOutcome:
            ran.append(job.kind)
            return Done()

        for _ in range(5):
            await queued(house, JobKind.DELIVER_CERTIFICATE)
        handlers = {**dict.fromkeys(JobKind, quick), JobKind.DELIVER_CERTIFICATE: silent}
        async with working(house, handlers):
            await until(lambda: len(asked) == 3)
            for kind in (JobKind.ISSUE_CERTIFICATE, JobKind.REVOKE_AT_CA):
                await queued(house, kind)
            await house.bus.publish(JOBS_WAKE, {})
            await until(lambda: len(ran) == 2)
        assert len(asked) == 3

    inside(tmp_path, scene)


def test_a_station_has_one_place_however_many_jobs_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C07: a station that answers nothing has ten certificates to come, and the others come first;
    its own jobs run one behind the other, in their order.
    """
    monkeypatch.setattr(module, "_STATIONS_AT_ONCE", 3)

    async def scene(house: Inside) -> None:
        hostile, honest = await house.station("CS-1"), await house.station("CS-2")
        begun: list[Job] = []
        answers = asyncio.Event()

        async def silent(job: Job) -> JobOutcome:
            begun.append(job)
            if job.station_id == hostile.id:
                await answers.wait()
            return Done()

        kind = JobKind.DELIVER_CERTIFICATE
        theirs = [await queued(house, kind, station_id=hostile.id) for _ in range(6)]
        await queued(house, kind, station_id=honest.id)
        async with working(house, {kind: silent}) as runner:
            await until(lambda: honest.id in {job.station_id for job in begun})
            await until(lambda: runner.running == 1)
            answers.set()
            await until(lambda: len(begun) == 7)
            await idle(runner)
        ran = [job.id for job in begun if job.station_id == hostile.id]
        assert sorted(ran) == sorted(job.id for job in theirs)
        assert all(job.attempts == 0 for job in begun), "to wait its turn is no attempt"

    inside(tmp_path, scene)


def test_a_stopped_worker_gives_its_jobs_back(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        begun: list[Job] = []

        async def endless(job: Job) -> JobOutcome:
            begun.append(job)
            await asyncio.Event().wait()
            raise AssertionError

        job = await queued(house)
        async with working(house, {JobKind.SESSION_SEEN: endless}):
            await until(lambda: bool(begun))
            assert await waiting(house) == []
        assert await waiting(house) == [job], "at once, and as if it had not run"

    inside(tmp_path, scene)


def test_a_job_that_somebody_else_has_by_now_is_left_to_them(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_: Job) -> JobOutcome:
            begun.set()
            await go_on.wait()
            return Done()

        await queued(house)
        async with working(house, {JobKind.SESSION_SEEN: slow}) as runner:
            await begun.wait()
            late = house.clock.now() + timedelta(minutes=3)
            async with house.store.writing() as work:
                [theirs] = await work.jobs.claim(now=late, lease_until=late + SLOW, limit=9)
                await work.commit()
            go_on.set()
            await idle(runner)
        async with house.store.writing() as work:
            await work.jobs.finish(theirs)  # it is still there, and still theirs

    inside(tmp_path, scene)


def test_a_failing_claim_does_not_end_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)

    async def scene(house: Inside) -> None:
        ran: list[Job] = []
        failures = [ValueError("a bug"), KeyError("another")]
        writing = house.store.writing

        async def handler(job: Job) -> JobOutcome:
            ran.append(job)
            return Done()

        def failing() -> Any:
            if failures:
                raise failures.pop()
            return writing()

        await queued(house)
        monkeypatch.setattr(house.store, "writing", failing)
        async with working(house, {JobKind.SESSION_SEEN: handler}) as runner:
            await until(lambda: bool(ran))
            await idle(runner)

    inside(tmp_path, scene)


def test_a_session_that_nobody_answers_for_is_asked_less_and_less(tmp_path: Path) -> None:
    """A dead node's row says connected; its stations must not be asked every second for days."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        async with house.store.writing() as work:
            await work.sessions.claim(
                station_id=station.id,
                node="dead",
                profile=station.security_profile,
                certificate_id=None,
                peer="p",
                at=house.clock.now(),
            )
            await work.commit()

        ran: list[Job] = []

        async def offline(job: Job) -> JobOutcome:
            ran.append(job)
            return WhenConnected("offline")

        await queued(house, station_id=station.id, attempts=5)
        async with working(house, {JobKind.SESSION_SEEN: offline}) as runner:
            await until(lambda: bool(ran))
            await idle(runner)
        assert await waiting(house, after=timedelta(seconds=31)) == []
        assert [job.attempts for job in await waiting(house, after=timedelta(seconds=32))] == [6]

    inside(tmp_path, scene)


def test_a_job_whose_lease_ran_out_under_it_is_run_again_and_the_runner_lives(
    tmp_path: Path,
) -> None:
    """The clock steps, or the machine was asleep: this runner itself claims the job anew (H03)."""

    async def scene(house: Inside) -> None:
        first, running = asyncio.Event(), [0]

        async def handler(job: Job) -> JobOutcome:
            running[0] += 1
            if running[0] == 1:
                await first.wait()
            return Done()

        await queued(house)
        async with working(house, {JobKind.SESSION_SEEN: handler}) as runner:
            await until(lambda: running[0] == 1)
            house.clock.pass_time(timedelta(minutes=3))
            await house.bus.publish(JOBS_WAKE, {})
            await until(lambda: running[0] == 2)
            first.set()
            await idle(runner)
            await queued(house)
            await house.bus.publish(JOBS_WAKE, {})
            await until(lambda: running[0] == 3)
            await idle(runner)
        assert await waiting(house, after=SLOW) == []

    inside(tmp_path, scene)


@pytest.mark.parametrize("alone", [True, False])
def test_what_a_killed_runner_held_waits_for_nobody_when_no_other_can_hold_it(
    tmp_path: Path, alone: bool
) -> None:
    """P01: else a rotation stands still for a lease after every crash."""

    async def scene(house: Inside) -> None:
        job = await queued(house)
        now = house.clock.now()
        async with house.store.writing() as work:
            await work.jobs.claim(now=now, lease_until=now + timedelta(minutes=2), limit=9)
            await work.commit()
        ran: list[Job] = []

        async def handler(found: Job) -> JobOutcome:
            ran.append(found)
            return Done()

        async with working(house, {JobKind.SESSION_SEEN: handler}, alone=alone) as runner:
            other = await queued(house)
            await until(lambda: other.id in {found.id for found in ran})
            await idle(runner)
        assert (job.id in {found.id for found in ran}) is alone

    inside(tmp_path, scene)
