"""Refused accesses: recorded, counted, bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from structlog.testing import capture_logs

from csms.api import refusals
from csms.api.refusals import RECORDS_IN_ALL, RECORDS_PER_SOURCE, RefusalLog, RefusedAccess
from csms.domain.audit import AuditRecord
from csms.ports.store import StoreUnavailable
from tests.fixtures.inside import MovableClock


@dataclass
class Records:
    """A store that remembers audit records: the one thing it is asked for here."""

    kept: list[AuditRecord] = field(default_factory=list)
    away: bool = False

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        async def add(record: AuditRecord) -> None:
            self.kept.append(record)

        async def commit() -> None: ...

        if self.away:
            raise StoreUnavailable
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


def details_of(store: Records) -> dict[str, Any]:
    return dict(store.kept[-1].details)


def test_a_flood_of_strangers_does_not_hide_what_a_client_tries() -> None:
    store, clock = Records(), MovableClock()
    log = RefusalLog(cast("Any", store), clock)
    for number in range(RECORDS_IN_ALL + 1):
        record(log, f"source:{number}", 1)
    record(log, "client:a", 1)
    assert store.kept[-1].actor == "client:a"


def test_what_went_beyond_the_bound_of_all_is_counted_too() -> None:
    store, clock = Records(), MovableClock()
    log = RefusalLog(cast("Any", store), clock)
    for number in range(RECORDS_IN_ALL + 50):
        record(log, f"source:{number}", 1)
    clock.pass_time(timedelta(seconds=61))
    record(log, "source:late", 2)
    assert dict(store.kept[-2].details) == {"unrecorded_of_others": 50}
    assert details_of(store) == {}


def test_what_a_forgotten_source_did_is_not_forgotten(monkeypatch: Any) -> None:
    monkeypatch.setattr(refusals, "_REMEMBERED_SOURCES", 1)
    store = Records()
    log = RefusalLog(cast("Any", store), MovableClock())
    record(log, "source:a", RECORDS_PER_SOURCE + 7)
    record(log, "source:b", 1)
    assert details_of(store) == {"unrecorded_of_others": 7}


def test_what_the_store_did_not_take_is_counted() -> None:
    store, clock = Records(), MovableClock()
    log = RefusalLog(cast("Any", store), clock)
    store.away = True
    record(log, "source:a", 2)
    store.away = False
    record(log, "source:a", 1)
    assert details_of(store) == {"unrecorded_before": 2}


def test_the_log_has_a_line_for_each_record_and_no_more() -> None:
    log = RefusalLog(cast("Any", Records()), MovableClock())
    with capture_logs() as lines:
        record(log, "source:a", 100)
    assert len(lines) == RECORDS_PER_SOURCE
