"""Refused accesses: recorded, counted, bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from csms.api import refusals
from csms.api.refusals import RECORDS_IN_ALL, RECORDS_PER_SOURCE, RefusalLog, RefusedAccess
from csms.domain.audit import AuditRecord
from tests.fixtures.inside import MovableClock


@dataclass
class Records:
    """A store that remembers audit records: the one thing it is asked for here."""

    kept: list[AuditRecord] = field(default_factory=list)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        async def add(record: AuditRecord) -> None:
            self.kept.append(record)

        async def commit() -> None: ...

        yield SimpleNamespace(audit=SimpleNamespace(add=add), commit=commit)


def refused(actor: str) -> RefusedAccess:
    return RefusedAccess(actor=actor, route="GET /stations", reason="token_missing")


def record(log: RefusalLog, actor: str, times: int) -> None:
    async def main() -> None:
        for _ in range(times):
            await log.record(refused(actor))

    asyncio.run(main())


def test_one_source_gets_its_first_refusals_of_a_minute_recorded() -> None:
    store, clock = Records(), MovableClock()
    log = RefusalLog(cast("Any", store), clock)
    record(log, "source:a", 20)
    assert len(store.kept) == RECORDS_PER_SOURCE
    record(log, "source:b", 1)
    assert store.kept[-1].actor == "source:b"


def test_what_was_not_recorded_is_counted_in_the_next_record() -> None:
    store, clock = Records(), MovableClock()
    log = RefusalLog(cast("Any", store), clock)
    record(log, "source:a", 20)
    clock.pass_time(timedelta(seconds=61))
    record(log, "source:a", 2)
    assert [dict(one.details) for one in store.kept[-2:]] == [
        {"unrecorded_before": 20 - RECORDS_PER_SOURCE},
        {},
    ]


def test_all_sources_together_have_a_bound() -> None:
    store, clock = Records(), MovableClock()
    log = RefusalLog(cast("Any", store), clock)
    for number in range(RECORDS_IN_ALL + 50):
        record(log, f"source:{number}", 1)
    assert len(store.kept) == RECORDS_IN_ALL
    clock.pass_time(timedelta(seconds=61))
    record(log, "source:late", 1)
    assert len(store.kept) == RECORDS_IN_ALL + 1


def test_memory_is_bounded_however_many_sources_come(monkeypatch: Any) -> None:
    monkeypatch.setattr(refusals, "_REMEMBERED_SOURCES", 10)
    log = RefusalLog(cast("Any", Records()), MovableClock())
    for number in range(50):
        record(log, f"source:{number}", 1)
    assert len(log._windows) == 10
