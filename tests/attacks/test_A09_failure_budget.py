"""A09, P38: passwords are guessed from many addresses; who must not notice does not."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from csms.domain.audit import AuditRecord
from csms.domain.failure_budget import KNOWN_BURST
from csms.domain.station import SecurityProfile, Station
from csms.store.stations import StationRepository
from tests.attacks.hostile import Answer, HostileStation, basic, client_tls, upgrade
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, World

BURST, EACH = 20, 10.0  # as they are unless set
SETTINGS = {
    "failures_per_source": BURST,
    "failure_recovery_seconds": 600.0,
    "handshake_timeout_seconds": 5.0,
}
ATTACKERS = 6  # threads
WRONG = "not-the-password-of-forty-characters-xxx"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def fort(world: World, tmp_path: Path) -> Iterator[Keep]:
    """With the product's own burst; nothing comes back while a test lasts, however slow it is."""
    with keep(world, tmp_path, **SETTINGS) as made:
        yield made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the database was asked who somebody is, by identity."""
    counter: Counter[str] = Counter()
    real = StationRepository.for_admission

    async def counted(self: StationRepository, identity: Any, fingerprint: str | None) -> Any:
        counter[str(identity)] += 1
        return await real(self, identity, fingerprint)

    monkeypatch.setattr(StationRepository, "for_admission", counted)
    return counter


def request(identity: str, password: str) -> bytes:
    return upgrade(f"/ocpp/{identity}", f"Authorization: {basic(identity, password)}")


def attempt(
    fort: Keep, source: str, identity: str, password: str = WRONG, *, profile: int = 2, **more: Any
) -> Answer | None:
    """The answer, or None when the door did not even open for TLS."""
    try:
        with fort.visit(profile, source=source, **more) as visitor:
            return visitor.ask(request(identity, password))
    except OSError:
        return None


def comes_in(fort: Keep, source: str, identity: str, **more: Any) -> float:
    """An honest station connects, and goes; how long it took."""
    began = time.monotonic()
    with fort.visit(2, source=source, **more) as wire:
        assert wire.ask(request(identity, PASSWORD)).status == 101
        took = time.monotonic() - began
        assert wire.call("Heartbeat", {})[0] == 3
    return took


def spend(fort: Keep, source: str) -> None:
    for _ in range(BURST):
        assert attempt(fort, source, "nobody") is not None


def counted(records: list[AuditRecord]) -> tuple[Counter[str], Counter[str]]:
    """By reason: rows of single attempts, and what the rows of a window add up to."""
    rows: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for record in records:
        count = record.details.get("count")
        if record.outcome == "refused" and isinstance(count, int):
            sums[str(record.reason)] += count
        elif record.outcome == "refused":
            rows[str(record.reason)] += 1
        assert PASSWORD not in repr(record)
        assert WRONG not in repr(record)
    return rows, sums


class Storm:
    """Wrong passwords from all sources at once, as fast as they go."""

    def __init__(self, fort: Keep, sources: list[str], identities: list[str], count: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._fort = fort
        targets = itertools.cycle(itertools.product(identities, sources))
        self._work = iter(list(itertools.islice(targets, count)))
        self._lock = threading.Lock()
        self.is_over = threading.Event()

    def _attack(self) -> None:
        while True:
            with self._lock:
                target = next(self._work, None)
            if target is None:
                return
            identity, source = target
            answer = attempt(self._fort, source, identity)
            what = "unheard" if answer is None else str(answer.status)
            with self._lock:
                self.outcomes[what] += 1

    @contextlib.contextmanager
    def raging(self) -> Iterator[None]:
        with ThreadPoolExecutor(ATTACKERS + 1) as pool:
            attackers = [pool.submit(self._attack) for _ in range(ATTACKERS)]

            def wait() -> None:
                for attacker in attackers:
                    attacker.exception()
                self.is_over.set()

            pool.submit(wait)
            yield
            for attacker in attackers:
                attacker.result()


@pytest.mark.timeout(240)
def test_guessing_is_not_heard_and_no_station_is_kept_out(
    world: World, tmp_path: Path, asked: Counter[str], scoreboard: Scoreboard
) -> None:
    """With the product's own rate: a token comes back in ten seconds, unless one goes on."""
    row = scoreboard.row("P38 A09", "wrong passwords from many sources at once")
    sources = [f"127.0.1.{number + 1}" for number in range(SIZES.guessing_sources)]
    shared = sources[0]  # an attacker's and a station's, as behind a NAT
    times: dict[str, list[float]] = {"known": [], "clean": []}
    settings = SETTINGS | {"failure_recovery_seconds": EACH}
    with (
        keep(world, tmp_path, **settings) as fort,
        Witness(fort, "victim") as witness,
        fort.bounded_lag(),
    ):
        behind = fort.add("behind", "SN-BEHIND")
        fort.add("elsewhere", "SN-ELSEWHERE")
        comes_in(fort, shared, "behind")
        fort.records()
        began = time.monotonic()
        spending = Storm(fort, sources, ["victim", "behind"], len(sources) * (BURST + 5))
        with spending.raging():
            pass
        for _ in range(KNOWN_BURST):
            attempt(fort, shared, "behind")
        heard = asked["victim"] + asked["behind"] - 1
        came_back = len(sources) * int((time.monotonic() - began) / EACH + 1)
        budget = len(sources) * BURST + KNOWN_BURST + ATTACKERS + came_back
        assert heard <= budget

        # All budgets are spent; from here on it is said who gets in.
        before, honest = asked.total(), itertools.count(1)
        storm = Storm(fort, sources, ["victim", "behind"], SIZES.guesses)
        with storm.raging():
            came = 0
            while not storm.is_over.is_set() or came < 3:
                times["known"].append(comes_in(fort, shared, "behind"))
                times["clean"].append(comes_in(fort, f"127.0.2.{next(honest) % 250}", "elsewhere"))
                witness.noticed_nothing()
                came += 1
        reached = asked.total() - before - 2 * came
        assert reached <= max(2, SIZES.guesses // 1000), "wrong passwords were verified"
        assert set(storm.outcomes) <= {"unheard", "401"}
        row.count(SIZES.guesses)

        records = fort.records()
        rows, sums = counted(records)
        attempts = SIZES.guesses + len(sources) * (BURST + 5) + KNOWN_BURST
        assert rows.total() + sums.total() == attempts, "each attempt is on record, once"
        assert rows.total() <= budget + reached
        assert set(rows) == {"password"}
        windows = [record for record in records if "count" in record.details]
        assert len(windows) < 30  # of ten seconds, for at most three reasons
        assert max(int(str(record.details["sources"])) for record in windows) == len(sources)
        for station in (witness.station, behind):
            events = fort.do(fort.home.events(station))
            assert 1 <= events.count("StationPasswordGuessing") <= 3, events
        assert fort.session_of(behind) is None
    row.measure(f"{reached} of {SIZES.guesses} verified")
    for what, took in times.items():
        row.measure(f"reconnect {what} source max {max(took):.2f} s ({came}x)")
    row.measure(f"{rows.total()} rows, {len(windows)} sums; lag {fort.worst_lag * 1000:.0f} ms")


def test_unheard_is_answered_with_the_bytes_of_any_refusal(
    fort: Keep, scoreboard: Scoreboard
) -> None:
    fort.add("CS001", "SN001")
    with scoreboard.row("A06 A09", "unheard beside a known station").attempt():
        comes_in(fort, "127.0.1.1", "cs001")
        heard = attempt(fort, "127.0.1.1", "nobody")
        spend(fort, "127.0.1.1")
        unheard = attempt(fort, "127.0.1.1", "nobody")
        assert heard is not None
        assert unheard is not None
        assert heard.raw == unheard.raw
        rows, sums = counted(fort.records())
        assert (rows["unknown_station"], sums["too_many_failures"]) == (BURST, 2)


def test_a_spent_source_does_not_come_as_far_as_tls(fort: Keep, scoreboard: Scoreboard) -> None:
    fort.add("CS001", "SN001")
    with scoreboard.row("A09", "a spent source at the accept").attempt(), Witness(fort):
        spend(fort, "127.0.1.1")
        for _ in range(5):
            with HostileStation(fort.port(2), source="127.0.1.1") as visitor:
                assert visitor.read_answer().raw == b""
        assert attempt(fort, "127.0.1.1", "cs001", PASSWORD) is None, "not known there"
        comes_in(fort, "127.0.1.2", "cs001")
        assert counted(fort.records())[1] == {"too_many_failures": 6}


def test_the_guessed_station_itself_comes_back_from_the_attackers_address(
    fort: Keep, asked: Counter[str], scoreboard: Scoreboard
) -> None:
    """The attacker knows its identity and has its address; all it lacks is the password."""
    fort.add("CS001", "SN001")
    row = scoreboard.row("A09", "guesses in the name of the station behind the same address")
    comes_in(fort, "127.0.1.1", "cs001")
    for _ in range(BURST + KNOWN_BURST + 10):
        assert attempt(fort, "127.0.1.1", "cs001") is not None
    with row.attempt():
        assert asked["cs001"] <= 1 + BURST + KNOWN_BURST + 1
        comes_in(fort, "127.0.1.1", "cs001")


def test_no_refusal_is_lost_or_written_twice_when_the_gateway_stops(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("A09", "the gateway stops while refusals wait to be written")
    with keep(world, tmp_path, **SETTINGS) as fort:
        for _ in range(BURST + 10):
            attempt(fort, "127.0.1.1", "nobody")
    with row.attempt(), keep(world, tmp_path, **SETTINGS) as after:
        rows, sums = counted(after.records())
        assert (rows, sums) == ({"unknown_station": BURST}, {"too_many_failures": 10})


def test_after_a_restart_stations_are_known_from_the_record(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """Stations of one address come back while others there, set up wrong, go on failing."""
    with keep(world, tmp_path, **SETTINGS) as before:
        for number in range(3):
            before.add(f"CS00{number}", f"SN00{number}")
            comes_in(before, "127.0.1.1", f"cs00{number}")
    row = scoreboard.row("A09", "the source is spent before its stations come back from a restart")
    with keep(world, tmp_path, **SETTINGS) as fort:
        spend(fort, "127.0.1.1")
        for number in range(3):
            with row.attempt():
                comes_in(fort, "127.0.1.1", f"cs00{number}")


def test_a_known_station_that_was_blocked_is_no_way_around_the_budget(
    fort: Keep, asked: Counter[str], scoreboard: Scoreboard
) -> None:
    station = fort.add("CS001", "SN001")
    with scoreboard.row("A09", "a blocked station, known, hammering").attempt():
        comes_in(fort, "127.0.1.1", "cs001")
        fort.do(fort.home.change(station, blocked=True))
        for _ in range(BURST + 10):
            attempt(fort, "127.0.1.1", "cs001", PASSWORD)
        assert asked["cs001"] <= BURST + 2
        assert counted(fort.records())[0]["blocked"] <= BURST + 1


def test_refused_certificates_and_failed_handshakes_spend_the_source(
    fort: Keep, asked: Counter[str], scoreboard: Scoreboard, world: World, tmp_path: Path
) -> None:
    known = fort.add("CS003", "SN003", security_profile=SecurityProfile.TLS_CERTIFICATE)
    good = certified(fort, world, known, tmp_path)
    unknown = client_tls(fort.trust, leaf=world.stations.station("SN9").write(tmp_path, "9.pem"))
    row = scoreboard.row("A09", "profile 3: certificates refused by TLS and by the record")

    def enters() -> None:
        with fort.visit(3, source="127.0.1.1", context=good) as wire:
            assert wire.ask(upgrade("/ocpp/cs003")).status == 101

    for what, context in {"no certificate": client_tls(fort.trust), "unknown": unknown}.items():
        with row.attempt():
            enters()
            asked.clear()
            answers = [
                attempt(fort, "127.0.1.1", "cs003", profile=3, context=context)
                for _ in range(BURST + 10)
            ]
            if what == "unknown":
                assert {answer.status for answer in answers if answer} == {403}
            assert asked["cs003"] <= BURST + KNOWN_BURST, what
            enters()
    rows, _ = counted(fort.records())
    assert rows.total() <= BURST + 2 * KNOWN_BURST
    # A source where nobody is known is shut for all profiles.
    for _ in range(BURST):
        attempt(fort, "127.0.1.9", "cs003", profile=3, context=client_tls(fort.trust))
    deadline = time.monotonic() + 5
    while attempt(fort, "127.0.1.9", "cs003") is not None:
        assert time.monotonic() < deadline


def certified(fort: Keep, world: World, station: Station, directory: Path) -> Any:
    leaf = world.stations.station(station.serial_number)
    fort.do(fort.home.certify(station, leaf))
    return client_tls(fort.trust, leaf=leaf.write(directory, f"{station.identity}.pem"))
