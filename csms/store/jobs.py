"""Jobs: leased, so that a worker's crash gives them back, and with an end.

A finished job is deleted; what it did is in the audit log. A failed one stays for people to see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Delete, Update, and_, delete, or_, select, text, update

from csms.ports.records import Job, JobKind
from csms.ports.store import Superseded
from csms.store import tables
from csms.store.pages import MAXIMUM_LIMIT, reader
from csms.store.transaction import Transaction

_J = tables.jobs
WAITING: Final = "waiting"
FAILED: Final = "failed"


class JobRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, job: Job) -> bool:
        insert = self._transaction.insert(_J).values(
            id=job.id,
            kind=job.kind,
            key=job.key,
            station_id=job.station_id,
            payload=dict(job.payload),
            attempts=job.attempts,
            run_at=job.run_at,
            created_at=job.created_at,
            state=WAITING,
        )
        unfinished = insert.on_conflict_do_nothing(
            index_elements=["kind", "key"], index_where=text("state = 'waiting'")
        )
        return await self._transaction.count(unfinished) == 1

    async def claim(
        self,
        *,
        now: datetime,
        lease_until: datetime,
        limit: int,
        kinds: Collection[JobKind] = tuple(JobKind),
    ) -> Sequence[Job]:
        due = (
            select(_J.c.id)
            # Only kinds we know: those of a newer version are left to a node that knows them.
            .where(
                _J.c.state == WAITING, _J.c.run_at <= now, _free(now), _J.c.kind.in_(list(kinds))
            )
            .order_by(_J.c.run_at, _J.c.created_at, _J.c.id)
            .limit(min(max(limit, 1), MAXIMUM_LIMIT))
            .with_for_update(skip_locked=True)  # SQLite renders nothing: it has one writer
        )
        claimed = update(_J).where(_J.c.id.in_(due))
        leased = claimed.values(leased_until=lease_until, attempts=_J.c.attempts + 1).returning(_J)
        rows = await self._transaction.rows(leased)
        jobs = [job for row in rows if (job := _readable(row)) is not None]
        if len(jobs) < len(rows):
            readable = {job.id for job in jobs}
            broken = [row.id for row in rows if row.id not in readable]
            await self._transaction.execute(
                update(_J)
                .where(_J.c.id.in_(broken))
                .values(state=FAILED, note="cannot be read", leased_until=None)
            )
        return sorted(jobs, key=lambda job: (job.run_at, job.created_at, job.id))

    async def finish(self, job: Job) -> None:
        await self._end(delete(_J), job)

    async def retry(self, job: Job, *, run_at: datetime, note: str, counts: bool = True) -> None:
        attempts = job.attempts + 1 if counts else job.attempts
        values = {"run_at": run_at, "note": note, "leased_until": None, "attempts": attempts}
        await self._end(update(_J).values(values), job)

    async def fail(self, job: Job, *, note: str) -> None:
        await self._end(update(_J).values(state=FAILED, note=note, leased_until=None), job)

    async def _end(self, statement: Delete | Update, job: Job) -> None:
        """A later lease ends later, so its end names the claim."""
        mine = and_(_J.c.id == job.id, _J.c.state == WAITING, _lease_is(job.leased_until))
        if await self._transaction.count(statement.where(mine)) != 1:
            raise Superseded("somebody else has claimed the job")

    async def wake(self, station_id: UUID, *, now: datetime) -> int:
        sleeping = and_(
            _J.c.station_id == station_id, _J.c.state == WAITING, _J.c.run_at > now, _free(now)
        )
        return await self._transaction.count(update(_J).where(sleeping).values(run_at=now))


def _free(now: datetime) -> Any:
    return or_(_J.c.leased_until.is_(None), _J.c.leased_until <= now)


def _lease_is(leased_until: datetime | None) -> Any:
    lease = _J.c.leased_until
    return lease.is_(None) if leased_until is None else lease == leased_until


def _job_of(row: Mapping[str, Any]) -> Job:
    return Job(
        id=row["id"],
        kind=JobKind(row["kind"]),
        key=row["key"],
        station_id=row["station_id"],
        payload=dict(row["payload"]),
        attempts=row["attempts"] - 1,  # the row counts the run that begins now
        run_at=row["run_at"],
        created_at=row["created_at"],
        leased_until=row["leased_until"],
    )


_readable: Final = reader("jobs", _job_of)
