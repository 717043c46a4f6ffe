"""Jobs: leased, so that a worker's crash gives them back, and with an end.

A finished job is deleted; what it did is in the audit log. A failed one stays for people to see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import and_, bindparam, delete, literal_column, or_, select, text, update

from csms.ports.records import Job, JobKind
from csms.ports.store import Superseded
from csms.store import tables
from csms.store.pages import MAXIMUM_LIMIT, reader
from csms.store.prepared import DialectInsert, Prepared, insertion
from csms.store.transaction import Transaction

_J = tables.jobs
WAITING: Final = "waiting"
FAILED: Final = "failed"


def _unless_unfinished(insert: DialectInsert) -> DialectInsert:
    return insert.on_conflict_do_nothing(
        index_elements=["kind", "key"], index_where=text("state = 'waiting'")
    )


_ADD: Final = insertion(
    _J,
    "id",
    "kind",
    "key",
    "station_id",
    "payload",
    "attempts",
    "run_at",
    "created_at",
    "state",
    then=_unless_unfinished,
)
_NOW: Final = bindparam("now", type_=_J.c.run_at.type)
_FREE: Final = or_(_J.c.leased_until.is_(None), _J.c.leased_until <= _NOW)
_DUE: Final = (
    select(_J.c.id)
    .where(
        _J.c.state == WAITING,
        _J.c.run_at <= _NOW,
        _FREE,
        # Only kinds we know: those of a newer version are left to a node that knows them.
        _J.c.kind.in_(bindparam("kinds", expanding=True)),
        or_(
            _J.c.station_id.is_(None),
            _J.c.station_id.not_in(bindparam("busy", expanding=True)),
        ),
    )
    .order_by(_J.c.run_at, _J.c.created_at, _J.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)  # SQLite renders nothing: it has one writer
)
_CLAIM: Final = (
    update(_J)
    .where(_J.c.id.in_(_DUE))
    .values(leased_until=bindparam("lease_until"), attempts=_J.c.attempts + 1)
    .returning(_J)
)
# A later lease ends later, so its end names the claim.
_MINE: Final = and_(
    _J.c.id == bindparam("its_id"),
    _J.c.state == WAITING,
    _J.c.leased_until.is_not_distinct_from(bindparam("lease", type_=_J.c.leased_until.type)),
)
_FINISH: Final = Prepared(delete(_J).where(_MINE))
_RETRY: Final = Prepared(
    update(_J)
    .where(_MINE)
    .values(
        run_at=bindparam("next_run"),
        note=bindparam("why"),
        attempts=bindparam("runs"),
        leased_until=None,
    )
)
_FAIL: Final = Prepared(
    update(_J).where(_MINE).values(state=FAILED, note=bindparam("why"), leased_until=None)
)
_AGAIN: Final = Prepared(
    update(_J)
    .where(
        _J.c.kind == bindparam("of_kind"),
        _J.c.key == bindparam("of_key"),
        _J.c.state == literal_column(f"'{WAITING}'"),
    )
    .values(payload=bindparam("instead"), run_at=_NOW, leased_until=None)
)
_END_LEASES: Final = (
    update(_J)
    .where(_J.c.state == WAITING, _J.c.leased_until.is_not(None))
    .values(leased_until=None)
)
_SLEEPING: Final = (
    update(_J)
    .where(_J.c.station_id == bindparam("of_station"), _J.c.run_at > _NOW, _FREE)
    .values(run_at=_NOW)
)
_WAKE: Final = Prepared(
    # The plus keeps SQLite, which has no statistics, from walking through every station's jobs.
    _SLEEPING.where(literal_column("+jobs.state", _J.c.state.type) == WAITING),
    _SLEEPING.where(_J.c.state == WAITING),
)
_WAKE_KIND: Final = Prepared(
    update(_J)
    .where(
        _J.c.state == literal_column(f"'{WAITING}'"),
        _J.c.kind == bindparam("of_kind"),
        _J.c.run_at > _NOW,
        _FREE,
    )
    .values(run_at=_NOW)
)


class JobRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, job: Job) -> bool:
        added = await self._transaction.change(
            _ADD,
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
        return added == 1

    async def add_again(self, job: Job) -> None:
        if not await self.add(job):
            await self._transaction.change(
                _AGAIN,
                of_kind=job.kind,
                of_key=job.key,
                instead=dict(job.payload),
                now=job.run_at,
            )

    async def claim(
        self,
        *,
        now: datetime,
        lease_until: datetime,
        limit: int,
        kinds: Collection[JobKind] = tuple(JobKind),
        not_of: Collection[UUID] = (),
    ) -> Sequence[Job]:
        values = {
            "now": now,
            "lease_until": lease_until,
            "kinds": list(kinds),
            "busy": list(not_of),
            "most": min(max(limit, 1), MAXIMUM_LIMIT),
        }
        rows = (await self._transaction.execute(_CLAIM, values)).all()
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
        await self._end(_FINISH, job)

    async def retry(self, job: Job, *, run_at: datetime, note: str, counts: bool = True) -> None:
        attempts = job.attempts + 1 if counts else job.attempts
        await self._end(_RETRY, job, next_run=run_at, why=note, runs=attempts)

    async def fail(self, job: Job, *, note: str) -> None:
        await self._end(_FAIL, job, why=note)

    async def _end(self, prepared: Prepared, job: Job, **values: Any) -> None:
        ended = await self._transaction.change(
            prepared, its_id=job.id, lease=job.leased_until, **values
        )
        if ended != 1:
            raise Superseded("somebody else has claimed the job")

    async def end_leases(self) -> int:
        return await self._transaction.count(_END_LEASES)

    async def wake(self, station_id: UUID, *, now: datetime) -> int:
        return await self._transaction.change(_WAKE, of_station=station_id, now=now)

    async def wake_kind(self, kind: JobKind, *, now: datetime) -> int:
        return await self._transaction.change(_WAKE_KIND, of_kind=kind, now=now)


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
