"""The job runner: claims due jobs under a lease, runs them, records how they ended.

A job whose runner dies is claimed again when its lease ends, so every handler is idempotent; a
runner that is stopped gives its leases back, and one that is alone frees those of a killed one. The
table is the truth; the bus only shortens the wait. No job and no station can hold up the others:
what waits for stations has a lane of its own, and in each lane a station has one place (C07).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from csms.operations.jobs import (
    UNTIL_IT_CONNECTS,
    Done,
    GiveUp,
    JobOutcome,
    RetryIn,
    WhenConnected,
    back_off,
)
from csms.ports.bus import JOBS_WAKE, Bus, Json
from csms.ports.clock import Clock
from csms.ports.records import Job, JobKind
from csms.ports.store import Store, StoreError, Superseded, UnitOfWork

log = structlog.get_logger()

JobHandler = Callable[[Job], Awaitable[JobOutcome]]

# A CALL may wait 30 s for its turn and 30 s for its answer; twice that, and it is not running.
_LEASE: Final = timedelta(minutes=2)
_POLL_SECONDS: Final = 1.0
# After a handler's own failure (a bug, the database away): soon enough, and not at once.
_FIRST_AFTER_A_FAILURE: Final = timedelta(seconds=30)
_LONGEST_AFTER_A_FAILURE: Final = timedelta(hours=1)
_CAME_MEANWHILE: Final = timedelta(seconds=1)

# A station that never answers holds its job for a minute; so many of them may do so before
# anybody else's delivery waits, and signing and revoking never do.
_ASKS_A_STATION: Final = frozenset({JobKind.DELIVER_CERTIFICATE, JobKind.TRIGGER_RENEWAL})
_STATIONS_AT_ONCE: Final = 256
_OTHERS_AT_ONCE: Final = 32


@dataclass(slots=True)
class _Lane:
    kinds: frozenset[JobKind]
    size: int
    running: int = 0


class JobRunner:
    """Owns the tasks of its jobs; `run` returns when it is cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        clock: Clock,
        handlers: Mapping[JobKind, JobHandler],
        alone: bool = False,
    ) -> None:
        """`alone`: no other process works on these jobs, so that whatever is leased at the start
        was a killed one's, and waits for nobody.
        """
        self._store = store
        self._bus = bus
        self._clock = clock
        self._handlers = handlers
        self._alone = alone
        self._wake = asyncio.Event()
        self._lanes = (
            _Lane(_ASKS_A_STATION, _STATIONS_AT_ONCE),
            _Lane(frozenset(JobKind) - _ASKS_A_STATION, _OTHERS_AT_ONCE),
        )
        self._held: dict[UUID, Job] = {}

    @property
    def running(self) -> int:
        return sum(lane.running for lane in self._lanes)

    async def run(self) -> None:
        subscription = await self._bus.subscribe(JOBS_WAKE, self._woken)
        try:
            if self._alone:
                await self._end_leases()
            async with asyncio.TaskGroup() as tasks:
                while True:
                    claimed = await self._claim()
                    for lane, job in claimed:
                        lane.running += 1
                        self._held[job.id] = job
                        tasks.create_task(self._work(lane, job))
                    if not claimed:
                        await self._rest()
        finally:
            await subscription.close()
            await self._give_back()

    async def _woken(self, message: Json) -> Json:
        del message
        self._wake.set()
        return {}

    async def _end_leases(self) -> None:
        try:
            async with self._store.writing() as work:
                freed = await work.jobs.end_leases()
                await work.commit()
        except StoreError as error:
            log.warning("leases_not_ended", error=type(error).__name__)  # they end by themselves
            return
        if freed:
            log.info("leases_of_a_killed_run_ended", count=freed)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _claim(self) -> list[tuple[_Lane, Job]]:
        now = self._clock.now()
        claimed: list[tuple[_Lane, Job]] = []
        try:
            async with self._store.writing() as work:
                for lane in self._lanes:
                    claimed += [(lane, job) for job in await self._fill(lane, work, now)]
                await work.commit()
        except StoreError as error:
            log.warning("jobs_not_claimed", error=type(error).__name__)
            return []
        except Exception:  # the runner's outermost frame: it must look again
            log.exception("jobs_not_claimed")
            return []
        return claimed

    async def _fill(self, lane: _Lane, work: UnitOfWork, now: datetime) -> list[Job]:
        """Jobs for the lane's free places, one for each station: a station answers one CALL at a
        time, and one that never answers would hold as many places as it has certificates to come.
        """
        free = lane.size - lane.running
        if free <= 0:
            return []
        busy = {
            job.station_id
            for job in self._held.values()
            if job.kind in lane.kinds and job.station_id is not None
        }
        taken: list[Job] = []
        for job in await work.jobs.claim(
            now=now, lease_until=now + _LEASE, limit=free, kinds=lane.kinds, not_of=busy
        ):
            if job.station_id in busy:
                note = "behind another of its station"
                await work.jobs.retry(job, run_at=job.run_at, note=note, counts=False)
                continue
            if job.station_id is not None:
                busy.add(job.station_id)
            taken.append(job)
        return taken

    async def _work(self, lane: _Lane, job: Job) -> None:
        try:
            await self._record(job, await self._outcome(job))
        except Superseded:
            log.warning("job_lease_lost", kind=job.kind, job=str(job.id))
        except StoreError as error:
            log.warning("job_not_recorded", kind=job.kind, error=type(error).__name__)
        except Exception:  # a job's outermost frame: its siblings must live on
            log.exception("job_not_recorded", kind=job.kind, job=str(job.id))
        finally:
            lane.running -= 1
            self._wake.set()
        # Not of one that was cancelled: `run` gives that back. Nor of one that we have claimed
        # anew: its lease runs out under it when the clock steps, or the machine was asleep.
        if self._held.get(job.id) is job:
            del self._held[job.id]

    async def _outcome(self, job: Job) -> JobOutcome:
        handler = self._handlers.get(job.kind)
        if handler is None:
            return GiveUp("no handler for this kind of job")
        try:
            async with asyncio.timeout(_LEASE.total_seconds() * 0.9):
                return await handler(job)
        except Exception as error:  # a job's outermost frame: the runner outlives any handler
            log.exception("job_failed", kind=job.kind, job=str(job.id))
            period = back_off(
                job.attempts, first=_FIRST_AFTER_A_FAILURE, longest=_LONGEST_AFTER_A_FAILURE
            )
            return RetryIn(period, type(error).__name__)

    async def _record(self, job: Job, outcome: JobOutcome) -> None:
        async with self._store.writing() as work:
            match outcome:
                case Done():
                    await work.jobs.finish(job)
                case RetryIn(period, note, counts):
                    run_at = self._clock.now() + period
                    await work.jobs.retry(job, run_at=run_at, note=note, counts=counts)
                case WhenConnected(note):
                    await self._put_off(work, job, note)
                case GiveUp(note):
                    log.info("job_given_up", kind=job.kind, job=str(job.id), note=note)
                    await work.jobs.fail(job, note=note)
            await work.commit()

    async def _put_off(self, work: UnitOfWork, job: Job, note: str) -> None:
        """The connection wakes the job, and waiting for it is no attempt. A connection that came
        between the failed CALL and now has not: then soon, and ever less so, for the session may be
        a dead node's.
        """
        session = await work.sessions.current(job.station_id) if job.station_id else None
        period = UNTIL_IT_CONNECTS
        if session is not None:
            period = back_off(job.attempts, first=_CAME_MEANWHILE, longest=UNTIL_IT_CONNECTS)
        run_at = self._clock.now() + period
        await work.jobs.retry(job, run_at=run_at, note=note, counts=session is not None)

    async def _give_back(self) -> None:
        """Stopped in mid-job: whoever starts next need not wait for the leases to run out."""
        now = self._clock.now()
        for job in self._held.values():
            try:
                async with self._store.writing() as work:
                    await work.jobs.retry(job, run_at=now, note="worker stopped", counts=False)
                    await work.commit()
            except StoreError as error:
                log.warning("job_not_given_back", kind=job.kind, error=type(error).__name__)
        self._held.clear()
