"""D12, D14: a station that does not read, and one that pings without end."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from csms.gateway.websocket import SEND_SECONDS
from tests.attacks.hostile import HostileStation, basic, client_tls, frame, upgrade
from tests.attacks.outpost import Outpost, outpost
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD

MIB = 1 << 20
TCP_ESTABLISHED = 1
TINY = 1024  # SO_RCVBUF; the kernel makes it 2,304
GUARD_SECONDS = SEND_SECONDS + 20


@pytest.fixture(scope="module")
def fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outpost]:
    # At the usual pace (D09) nothing piles up for minutes, and there would be nothing to cut.
    with outpost(tmp_path_factory.mktemp("outpost"), messages_per_second=100_000) as made:
        made.add("cs001", "witness")
        yield made


def deaf(fort: Outpost, identity: str) -> HostileStation:
    """Admitted, with the smallest window that the kernel allows."""
    wire = fort.visit(2, context=None, receive_buffer=TINY)
    wire.socket = client_tls(fort.trust).wrap_socket(wire.socket, server_hostname="localhost")
    header = f"Authorization: {basic(identity, PASSWORD)}"
    assert wire.ask(upgrade(f"/ocpp/{identity}", header)).status == 101
    return wire


def sent_until_cut(wire: HostileStation, frames: Iterator[bytes]) -> int:
    """How many went out, nothing being read, before we are not read any more either."""
    wire.socket.settimeout(1.0)
    count = 0
    until = time.monotonic() + GUARD_SECONDS
    for data in frames:
        try:
            wire.send(data)
        except OSError:
            break
        count += 1
        assert time.monotonic() < until
    return count


def calls() -> Iterator[bytes]:
    """CALLs whose answers are longer than they are."""
    for number in itertools.count():
        text = json.dumps([2, f"m{number}", "Heartbeat", {"customData": {"vendorId": "x" * 200}}])
        yield frame(text.encode())


def pings() -> Iterator[bytes]:
    """By the hundred, the longest there are."""
    hundred = b"".join(frame(b"p" * 125, opcode=9) for _ in range(100))
    return itertools.repeat(hundred)


FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {"calls": calls, "pings": pings}


def test_who_does_not_read_is_cut_and_costs_no_memory(
    fort: Outpost, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("D12", "CALLs, or pings, and no answer is read")
    fort.add(*FLOODS)
    with fort.connected("witness") as witness:
        memory = most = fort.rss()
        with ThreadPoolExecutor(len(FLOODS)) as pool:
            floods = {what: pool.submit(flood, fort, what) for what in FLOODS}
            began = time.monotonic()
            while fort.health()["sessions"] > 1 or not all(f.done() for f in floods.values()):
                most = max(most, fort.rss())
                assert time.monotonic() - began < GUARD_SECONDS, "not cut"
                assert witness.call("Heartbeat", {})[0] == 3
                time.sleep(0.1)
            took = time.monotonic() - began
        for what, flooding in floods.items():
            with row.attempt():
                row.measure(f"{what}: {flooding.result()} sent")
        assert most - memory < 16 * MIB
        assert fort.health()["lag"] < 2
    row.measure(f"both cut after {took:.1f} s; RSS +{(most - memory) / MIB:.1f} MiB")


def flood(fort: Outpost, what: str) -> int:
    with deaf(fort, what) as wire:
        sent = sent_until_cut(wire, itertools.islice(FLOODS[what](), 20 * SIZES.unread_calls))
        assert sent < 20 * SIZES.unread_calls, "the gateway went on reading"
        until = time.monotonic() + GUARD_SECONDS
        while is_established(wire):
            assert time.monotonic() < until, "not cut"
            time.sleep(0.1)
    return sent


def is_established(wire: HostileStation) -> bool:
    """Asked of the kernel, since nothing is read."""
    return wire.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED


@pytest.mark.timeout(120)
def test_a_flood_of_pings_is_answered_and_holds_up_nobody(
    fort: Outpost, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("D14", "pings of 125 octets without end, pongs read")
    with fort.connected("witness") as witness, fort.connected("cs001") as wire:
        memory = fort.rss()
        fort.health()
        batch = b"".join(frame(b"p" * 125, opcode=9) for _ in range(100))
        pongs = [0]

        def read() -> None:
            with contextlib.suppress(OSError):
                while pongs[0] < SIZES.pings and (got := wire.read_frame()) is not None:
                    pongs[0] += got[0] & 0x0F == 10

        began = time.monotonic()
        reader = threading.Thread(target=read)
        reader.start()
        took = []
        for _ in range(SIZES.pings // 100):
            wire.send(batch)
            asked = time.monotonic()
            assert witness.call("Heartbeat", {})[0] == 3
            took.append(time.monotonic() - asked)
        reader.join(60)
        assert not reader.is_alive()
        assert pongs[0] == SIZES.pings
        rate = SIZES.pings / (time.monotonic() - began)
        grown, lag = fort.rss() - memory, fort.health()["lag"]
        assert grown < 16 * MIB
        assert lag < 2
        row.count(SIZES.pings)
    row.measure(f"{rate:.0f}/s; another's Heartbeat max {max(took) * 1000:.0f} ms")
    row.measure(f"RSS +{grown / MIB:.1f} MiB; lag {lag * 1000:.0f} ms")
