"""Jobs: leased, so that a worker's crash gives them back, and with an end.

A finished job is deleted; what it did is in the audit log. A failed one stays for people to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, delete, or_, select, text, update

from csms.ports.records import Job, JobKind
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

    async def claim(self, *, now: datetime, lease_until: datetime, limit: int) -> Sequence[Job]:
        due = (
            select(_J.c.id)
            .where(_J.c.state == WAITING, _J.c.run_at <= now, _free(now))
            .order_by(_J.c.run_at, _J.c.created_at, _J.c.id)
            .limit(min(max(limit, 1), MAXIMUM_LIMIT))
            .with_for_update(skip_locked=True)  # SQLite renders nothing: it has one writer
        )
        leased = update(_J).where(_J.c.id.in_(due)).values(leased_until=lease_until).returning(_J)
        found = [_readable(row) for row in await self._transaction.rows(leased)]
        jobs = [job for job in found if job is not None]
        return sorted(jobs, key=lambda job: (job.run_at, job.created_at, job.id))

    async def finish(self, job_id: UUID) -> None:
        await self._transaction.execute(delete(_J).where(_J.c.id == job_id))

    async def retry(self, job_id: UUID, *, run_at: datetime, note: str) -> None:
        waiting = update(_J).where(_J.c.id == job_id, _J.c.state == WAITING)
        await self._transaction.execute(
            waiting.values(run_at=run_at, note=note, leased_until=None, attempts=_J.c.attempts + 1)
        )

    async def fail(self, job_id: UUID, *, note: str) -> None:
        statement = update(_J).where(_J.c.id == job_id)
        await self._transaction.execute(
            statement.values(state=FAILED, note=note, leased_until=None)
        )

    async def wake(self, station_id: UUID, *, now: datetime) -> int:
        sleeping = and_(
            _J.c.station_id == station_id, _J.c.state == WAITING, _J.c.run_at > now, _free(now)
        )
        return await self._transaction.count(update(_J).where(sleeping).values(run_at=now))


def _free(now: datetime) -> Any:
    return or_(_J.c.leased_until.is_(None), _J.c.leased_until <= now)


def _job_of(row: Mapping[str, Any]) -> Job:
    return Job(
        id=row["id"],
        kind=JobKind(row["kind"]),
        key=row["key"],
        station_id=row["station_id"],
        payload=dict(row["payload"]),
        attempts=row["attempts"],
        run_at=row["run_at"],
        created_at=row["created_at"],
    )


_readable: Final = reader("jobs", _job_of)
