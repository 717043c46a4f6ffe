"""D09: stations that send flat out are read at their pace, and the honest ones do not notice.

Nothing is refused for being fast: what a flooder sent is answered, later. Only rules that are
broken end a connection (1008).
"""

from __future__ import annotations

import contextlib
import json
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from csms.domain.station import SecurityProfile, Station
from tests.attacks.hostile import HostileStation, basic, frame, upgrade
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, World

STATIONS = 10
PLAIN = {"security_profile": SecurityProfile.BASIC, "minimum": SecurityProfile.BASIC}
ON_PROFILE_1 = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
EVENT = {"type": "TamperDetectionActivated", "timestamp": "2026-01-01T00:00:00Z"}
RATE, BURST = 50, 100


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def connected(fort: Keep, identity: str) -> HostileStation:
    wire = fort.visit(1, seconds=60)
    header = f"Authorization: {basic(identity, PASSWORD)}"
    assert wire.ask(upgrade(f"/ocpp/{identity}", header)).status == 101
    return wire


@dataclass
class Flooder:
    """Sends events as fast as TCP takes them, and reads what comes back.

    All is made beforehand: an attacker's work must not be taken from the gateway's processor.
    """

    wire: HostileStation
    data: bytes
    acknowledged: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def sending(self) -> None:
        self.wire.socket.settimeout(0.2)
        left = memoryview(self.data)
        while left and not self.stop.is_set():
            with contextlib.suppress(TimeoutError):  # the window is full: that is the point
                left = left[self.wire.socket.send(left[:65_536]) :]

    def reading(self) -> None:
        while not self.stop.is_set():
            try:
                got = self.wire.read_frame()
            except TimeoutError:
                continue
            if got is None:
                return
            assert got[0] == 0x81, "never closed"
            answer = json.loads(got[1])
            assert answer[0] == 3, answer
            self.acknowledged.add(answer[1])


def event(number: int) -> bytes:
    said = EVENT | {"techInfo": "x" * 255}
    return frame(json.dumps([2, f"e-{number}", "SecurityEventNotification", said]).encode())


def latencies(wires: list[HostileStation], seconds: float) -> list[float]:
    """Of Heartbeats, each station one after the other."""
    found = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for wire in wires:
            began = time.monotonic()
            assert wire.call("Heartbeat", {})[0] == 3
            found.append(time.monotonic() - began)
            time.sleep(0.01)
    return found


def said(found: list[float]) -> str:
    p50, p99 = (statistics.quantiles(found, n=100)[at] * 1000 for at in (49, 98))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


@pytest.mark.timeout(900)
def test_floods_are_slowed_and_the_honest_do_not_notice(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("D09", f"{STATIONS} stations flat out beside {STATIONS} honest ones")
    pace = {"messages_per_second": RATE, "messages_burst": BURST}
    with (
        keep(world, tmp_path, **ON_PROFILE_1, **pace) as fort,
        Witness(fort),
        fort.bounded_lag(),
        contextlib.ExitStack() as stack,
    ):
        names = [f"{kind}-{number}" for kind in ("HONEST", "FLOOD") for number in range(STATIONS)]
        added = {name: fort.add(name, f"SN-{name}", **PLAIN) for name in names}
        wires = {name: stack.enter_context(connected(fort, name)) for name in names}
        honest = [wires[name] for name in names[:STATIONS]]
        calm = latencies(honest, SIZES.flood_seconds / 2)
        flood = b"".join(map(event, range(SIZES.flood_messages)))
        flooders = {name: Flooder(wires[name], flood) for name in names[STATIONS:]}
        threads = [
            threading.Thread(target=work)
            for flooder in flooders.values()
            for work in (flooder.sending, flooder.reading)
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        flooded = latencies(honest, SIZES.flood_seconds)
        for flooder in flooders.values():
            flooder.stop.set()
        for thread in threads:
            thread.join(30)
        lasted = time.monotonic() - began
        for name, flooder in flooders.items():
            count = len(flooder.acknowledged)
            # Its burst and its pace, and no more.
            assert 0 < count <= BURST + RATE * (lasted + 1), count
            events = fort.do(count_events(fort, added[name]))
            assert events >= count, "what was acknowledged is stored"
            row.count()
        answered = sum(len(flooder.acknowledged) for flooder in flooders.values())
        row.measure(
            f"honest: calm {said(calm)}; flooded {said(flooded)}; flood {answered} answered"
        )
    assert len(flooded) >= STATIONS


async def count_events(fort: Keep, station: Station) -> int:
    found, cursor = 0, None
    while True:
        async with fort.home.store.reading() as work:
            page = await work.security_events.page(
                station_id=station.id,
                limit=200,
                cursor=cursor,
            )
        found += len(page.items)
        cursor = page.next
        if cursor is None:
            return found


def test_a_queue_kept_while_offline_is_taken_at_once(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """The honest burst: 500 messages in a row, at the pace of the settings' own defaults."""
    row = scoreboard.row("D09", "an honest queue of 450 messages after a time offline")
    with keep(world, tmp_path, **ON_PROFILE_1) as fort, fort.bounded_lag():
        fort.add("QUEUE", "SN-QUEUE", **PLAIN)
        with connected(fort, "QUEUE") as wire:
            began = time.monotonic()
            for number in range(450):
                assert wire.call("SecurityEventNotification", EVENT, f"q-{number}")[0] == 3
            row.count(450)
            row.measure(f"{time.monotonic() - began:.2f} s")
