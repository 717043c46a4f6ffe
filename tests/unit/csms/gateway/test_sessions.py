"""csms.gateway.sessions: the registry's rules, without sockets."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.adapters.clock import SystemClock
from csms.bus.memory import MemoryBus
from csms.domain.station import SecurityProfile
from csms.gateway import sessions as module
from csms.gateway.sessions import OrderUnreadable, Sessions, read_order
from csms.ports.bus import SESSIONS_CLOSE
from csms.store.unit_of_work import SqlStore

STATION, OTHER, CERTIFICATE = uuid4(), uuid4(), uuid4()


@dataclass(eq=False)
class Session:
    station_id: UUID = STATION
    epoch: int = 1
    profile: SecurityProfile = SecurityProfile.TLS_BASIC
    certificate_id: UUID | None = CERTIFICATE
    certificate_ends_at: datetime | None = None
    decided_at: float = 0.0
    outbox_seen: int = 0
    closed: list[tuple[int, str]] = field(default_factory=list)

    def cut(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


def registry(tmp_path: Path) -> tuple[Sessions, SqlStore, MemoryBus]:
    store, bus = SqlStore(f"sqlite+aiosqlite:///{tmp_path}/csms.db"), MemoryBus()
    return Sessions(store=store, bus=bus, clock=SystemClock(), node="n"), store, bus


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return registry(tmp_path)[0]


def test_the_higher_epoch_stays_whichever_registers_last(sessions: Sessions) -> None:
    old, new = Session(epoch=1), Session(epoch=2)
    assert sessions.register(new)
    assert not sessions.register(old)
    assert old.closed == [(1008, "replaced")]
    assert new.closed == []
    newest = Session(epoch=3)
    assert sessions.register(newest)
    assert new.closed == [(1008, "replaced")]
    assert sessions.of_station(STATION) is newest


def test_a_late_close_does_not_remove_the_newer(sessions: Sessions) -> None:
    """A03."""
    old, new = Session(epoch=1), Session(epoch=2)
    sessions.register(old)
    sessions.register(new)
    assert not sessions.unregister(old)
    assert sessions.of_station(STATION) is new
    assert sessions.unregister(new)
    assert len(sessions) == 0


@given(st.lists(st.tuples(st.sampled_from(["open", "close"]), st.integers(1, 6)), max_size=30))
def test_whatever_the_order_the_entry_is_the_newest_open_session(
    steps: list[tuple[str, int]],
) -> None:
    sessions = Sessions(store=None, bus=None, clock=None, node="n")  # type: ignore[arg-type]
    made: dict[int, Session] = {}
    for what, epoch in steps:
        if what == "open" and epoch not in made:
            made[epoch] = Session(epoch=epoch)
            sessions.register(made[epoch])
        elif what == "close" and epoch in made:
            sessions.unregister(made[epoch])
            made[epoch].cut(1000, "gone")
    live = sessions.of_station(STATION)
    unclosed = [session for session in made.values() if not session.closed]
    assert unclosed == ([live] if live is not None else [])


@pytest.mark.parametrize(
    ("order", "closes"),
    [
        ({"station_id": str(STATION)}, True),
        ({"certificate_id": str(CERTIFICATE)}, True),
        ({"station_id": str(STATION), "certificate_id": str(CERTIFICATE)}, True),
        ({"station_id": str(STATION), "before_epoch": 2}, True),
        ({"station_id": str(OTHER)}, False),
        ({"certificate_id": str(OTHER)}, False),
        ({"station_id": str(STATION), "certificate_id": str(OTHER)}, False),
        ({"station_id": str(OTHER), "certificate_id": str(CERTIFICATE)}, False),
        ({"station_id": str(STATION), "before_epoch": 1}, False),
    ],
)
def test_an_order_closes_whom_it_names(
    sessions: Sessions,
    order: dict[str, Any],
    closes: bool,
) -> None:
    session = Session()
    sessions.register(session)
    reply = asyncio.run(sessions._on_order({**order, "reason": "revoked"}))
    assert (reply["node"], reply["closed"]) == ("n", int(closes))
    assert session.closed == ([(1008, "revoked")] if closes else [])
    assert (sessions.of_station(STATION) is None) is closes


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"reason": "all"},
        {"station_id": "x"},
        {"station_id": None},
        {"certificate_id": 5},
        {"station_id": str(STATION), "before_epoch": "x"},
        {"station_id": str(STATION), "before_epoch": []},
    ],
)
def test_an_order_that_names_nobody_is_unreadable(order: dict[str, Any]) -> None:
    with pytest.raises(OrderUnreadable):
        read_order(order)


def test_orders_overtaking_a_session_meet_it_at_the_door(sessions: Sessions) -> None:
    asyncio.run(sessions._on_order({"certificate_id": str(CERTIFICATE)}))
    late = Session(decided_at=0.0)
    assert not sessions.register(late)
    assert late.closed
    fresh = Session(epoch=2, decided_at=SystemClock().monotonic())
    assert sessions.register(fresh)
    sessions._on_event(7, {"station_id": str(OTHER)})
    assert not sessions.register(Session(station_id=OTHER, certificate_id=None, outbox_seen=6))
    assert sessions.register(Session(station_id=OTHER, certificate_id=None, outbox_seen=7))


def test_the_cursor_reads_on_from_the_start_and_skips_what_it_cannot_read(tmp_path: Path) -> None:
    async def main() -> None:
        sessions, store, bus = registry(tmp_path)
        await store.migrate()

        async def say(topic: str, payload: dict[str, Any]) -> None:
            async with store.writing() as work:
                await work.outbox.add(topic, payload)
                await work.commit()

        await say(SESSIONS_CLOSE, {"station_id": str(STATION)})
        await sessions.start()
        session = Session(outbox_seen=1)
        sessions.register(session)
        await sessions.catch_up()
        assert not session.closed  # the order was older than the start
        await say(SESSIONS_CLOSE, {"nobody": 1})
        await say("something.else", {"station_id": str(STATION)})
        await sessions.catch_up()
        assert not session.closed
        await say(SESSIONS_CLOSE, {"station_id": str(STATION), "reason": "blocked"})
        await sessions.catch_up()
        assert session.closed == [(1008, "blocked")]
        await sessions.stop()
        await sessions.stop()
        assert await bus.survey(SESSIONS_CLOSE, {"station_id": str(STATION)}, timeout=1) == []
        await store.close()

    asyncio.run(main())


def test_an_order_below_a_profile_leaves_higher_sessions_alone() -> None:
    """A05.FR.07 for who is connected while the minimum is raised."""
    order = read_order({"station_id": str(STATION), "below_profile": 3})
    assert order.meets(Session(profile=SecurityProfile.TLS_BASIC))
    assert not order.meets(Session(profile=SecurityProfile.TLS_CERTIFICATE))


def test_whatever_goes_wrong_with_one_poll_the_next_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that ended for good would let revoked stations stay."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)

    async def main() -> None:
        sessions, store, bus = registry(tmp_path)
        seen = 0
        enough = asyncio.Event()

        async def bad() -> None:
            nonlocal seen
            seen += 1
            if seen == 3:
                enough.set()
            raise RuntimeError("a bug")

        monkeypatch.setattr(sessions, "catch_up", bad)
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            polling = group.create_task(sessions.poll())
            await enough.wait()
            polling.cancel()
        await bus.close()
        await store.close()

    asyncio.run(main())


def test_the_end_of_a_certificate_is_the_end_of_its_session(sessions: Sessions) -> None:
    ended = Session(certificate_ends_at=datetime(2020, 1, 1, tzinfo=UTC))
    valid = Session(station_id=OTHER, certificate_ends_at=datetime(2999, 1, 1, tzinfo=UTC))
    without = Session(station_id=uuid4(), certificate_id=None)
    for session in (ended, valid, without):
        sessions.register(session)
    sessions._close_ended()
    assert ended.closed == [(1008, "certificate expired")]
    assert valid.closed == without.closed == []


def test_when_orders_were_forgotten_at_the_door_nobody_is_let_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """B04: a mass revocation must not push the one order that counts out of memory."""
    monkeypatch.setattr(module, "REMEMBERED", 4)
    sessions, _, _ = registry(tmp_path)
    for _ in range(3):
        asyncio.run(sessions._on_order({"station_id": str(OTHER)}))
    assert sessions.register(Session(decided_at=0.0)), "three of four: none is forgotten"
    asyncio.run(sessions._on_order({"station_id": str(OTHER)}))
    during = Session(epoch=2, decided_at=0.0)
    assert not sessions.register(during)
    assert during.closed == [(1008, "too many orders, try again")]
    assert sessions.register(Session(epoch=3, decided_at=SystemClock().monotonic()))


def test_a_certificate_ends_a_session_whatever_the_database_does(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P10: `poll` may hang; `expire` does not ask anybody."""
    monkeypatch.setattr(module, "EXPIRY_SECONDS", 0.01)
    ended = Session(certificate_ends_at=datetime(2020, 1, 1, tzinfo=UTC))
    sessions.register(ended)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sessions.expire(), 0.05)

    asyncio.run(main())
    assert ended.closed[0] == (1008, "certificate expired")


def test_a_session_that_has_lost_its_epoch_goes_even_if_its_successor_is_sent_away(
    sessions: Sessions,
) -> None:
    """A03: nobody stays who is not in the database."""
    old = Session(epoch=1, certificate_id=None, decided_at=0.0)
    sessions.register(old)
    asyncio.run(sessions._on_order({"certificate_id": str(CERTIFICATE)}))
    assert not sessions.register(Session(epoch=2, decided_at=0.0))
    assert old.closed == [(1008, "replaced")]
    assert len(sessions) == 0


def test_who_registers_after_its_successor_has_come_and_gone_is_not_taken(
    sessions: Sessions,
) -> None:
    """A03: let in first, delayed on its way, and no row in the database is its own any more."""
    late, successor = Session(epoch=1), Session(epoch=2)
    sessions.register(successor)
    sessions.unregister(successor)
    assert not sessions.register(late)
    assert late.closed == [(1008, "replaced")]
