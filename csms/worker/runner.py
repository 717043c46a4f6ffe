"""The job runner: claims due jobs under a lease, runs them, records how they ended.

A job whose runner dies is claimed again when its lease ends, so every handler is idempotent. The
table is the truth; the bus only shortens the wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog

from csms.operations.jobs import (
    UNTIL_IT_CONNECTS,
    Done,
    GiveUp,
    JobOutcome,
    RetryIn,
    WhenConnected,
)
from csms.ports.bus import JOBS_WAKE, Bus, Json
from csms.ports.clock import Clock
from csms.ports.records import Job, JobKind
from csms.ports.store import Store, StoreError, UnitOfWork

log = structlog.get_logger()

JobHandler = Callable[[Job], Awaitable[JobOutcome]]

# A CALL may wait 30 s for its turn and 30 s for its answer; twice that, and it is not running.
_LEASE: Final = timedelta(minutes=2)
_POLL_SECONDS: Final = 1.0
_CONCURRENCY: Final = 32
# After a handler's own failure (a bug, the database away): soon enough, and not at once.
_AFTER_A_FAILURE: Final = timedelta(seconds=30)
_CAME_MEANWHILE: Final = timedelta(seconds=1)


class JobRunner:
    """Owns the tasks of its jobs; `run` returns when it is cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        clock: Clock,
        handlers: Mapping[JobKind, JobHandler],
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._handlers = handlers
        self._wake = asyncio.Event()
        self._running = 0

    @property
    def running(self) -> int:
        return self._running

    async def run(self) -> None:
        subscription = await self._bus.subscribe(JOBS_WAKE, self._woken)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    claimed = await self._claim()
                    for job in claimed:
                        self._running += 1
                        tasks.create_task(self._work(job))
                    if not claimed:
                        await self._rest()
        finally:
            await subscription.close()

    async def _woken(self, message: Json) -> Json:
        del message
        self._wake.set()
        return {}

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _claim(self) -> list[Job]:
        free = _CONCURRENCY - self._running
        if free <= 0:
            return []
        now = self._clock.now()
        try:
            async with self._store.writing() as work:
                jobs = await work.jobs.claim(now=now, lease_until=now + _LEASE, limit=free)
                if jobs:
                    await work.commit()
        except StoreError as error:
            log.warning("jobs_not_claimed", error=type(error).__name__)
            return []
        return list(jobs)

    async def _work(self, job: Job) -> None:
        try:
            outcome = await self._outcome(job)
            await self._record(job, outcome)
        except StoreError as error:
            log.warning("job_not_recorded", kind=job.kind, error=type(error).__name__)
        finally:
            self._running -= 1
            self._wake.set()

    async def _outcome(self, job: Job) -> JobOutcome:
        handler = self._handlers.get(job.kind)
        if handler is None:
            return GiveUp("no handler for this kind of job")
        try:
            async with asyncio.timeout(_LEASE.total_seconds() * 0.9):
                return await handler(job)
        except Exception as error:  # a job's outermost frame: the runner outlives any handler
            log.exception("job_failed", kind=job.kind, job=str(job.id))
            return RetryIn(_AFTER_A_FAILURE, type(error).__name__)

    async def _record(self, job: Job, outcome: JobOutcome) -> None:
        async with self._store.writing() as work:
            match outcome:
                case Done():
                    await work.jobs.finish(job.id)
                case RetryIn(period, note):
                    run_at = self._clock.now() + period
                    await work.jobs.retry(job.id, run_at=run_at, note=note)
                case WhenConnected(note):
                    run_at = await self._when_connected(work, job)
                    await work.jobs.retry(job.id, run_at=run_at, note=note)
                case GiveUp(note):
                    log.info("job_given_up", kind=job.kind, job=str(job.id), note=note)
                    await work.jobs.fail(job.id, note=note)
            await work.commit()

    async def _when_connected(self, work: UnitOfWork, job: Job) -> datetime:
        """The connection wakes the job; one that came between the failed CALL and now has not."""
        now = self._clock.now()
        session = await work.sessions.current(job.station_id) if job.station_id else None
        return now + (UNTIL_IT_CONNECTS if session is None else _CAME_MEANWHILE)
