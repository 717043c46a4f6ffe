"""P22, D10, D11, M12: peers that are slow at every layer, in numbers.

They come from many addresses of loopback, as many from each as it may have; stations come from
another. The gateway has a process of its own, since it is its memory and descriptors that count.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.attacks.hostile import HostileStation, basic, client_tls, frame, upgrade
from tests.attacks.keep import Keep, keep
from tests.attacks.outpost import Outpost, outpost
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, World

PER_SOURCE = 200  # max_strangers_per_source, as it is unless set
HONEST = "127.0.3.1"
# Every step has its own deadline, and an eviction is an abort half a second later; the rest is a
# guard against a peer that is never evicted, on a machine that is busy.
GUARD_SECONDS = 20.0
MIB = 1 << 20


def source_of(number: int) -> str:
    return f"127.0.4.{number // PER_SOURCE + 1}"


def client_hello(trust: str) -> bytes:
    """What a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_tls(trust).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


class Slow:
    """One slow peer; `drip` is called again and again while it lasts."""

    def __init__(self, wire: HostileStation, drip: Callable[[], None] | None = None) -> None:
        self.wire = wire
        self.drip = drip
        self.began = time.monotonic()

    def is_gone(self) -> bool:
        """Whether the gateway has closed it; what it sends is read and passed over."""
        sock = self.wire.socket
        try:
            while sock.recv(65_536):
                pass
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True


def silent(fort: Outpost | Keep, number: int) -> Slow:
    return Slow(fort.visit(2, context=None, source=source_of(number)))


def half_a_client_hello(fort: Outpost | Keep, number: int) -> Slow:
    wire = fort.visit(2, context=None, source=source_of(number))
    hello = client_hello(fort.trust)
    wire.send(hello[: len(hello) // 2])
    rest = iter(hello[len(hello) // 2 : -1])  # never the last byte

    def drip() -> None:
        if (byte := next(rest, None)) is not None:
            wire.send(bytes([byte]))

    return Slow(wire, drip)


def slow_header(fort: Outpost | Keep, number: int) -> Slow:
    wire = fort.visit(2, source=source_of(number))
    wire.send(b"GET /ocpp/cs001 HTTP/1.1\r\nX-Slow: ")
    return Slow(wire, lambda: wire.send(b"a"))


def slow_frame(fort: Outpost, number: int) -> Slow:
    wire = fort.connected(f"frame{number}", source=source_of(number))
    text = frame(json.dumps([2, "1", "Heartbeat", {}]).encode())
    wire.send(text[:3])
    rest = iter(text[3:-1])

    def drip() -> None:
        if (byte := next(rest, None)) is not None:
            wire.send(bytes([byte]))

    return Slow(wire, drip)


def slow_fragments_and_pongs(fort: Outpost, number: int) -> Slow:
    """A message without end, and every sign of life a peer can give."""
    wire = fort.connected(f"fragments{number}", source=source_of(number))
    wire.send(frame(b'[2,"1","Heartbeat",{', final=False))

    def drip() -> None:
        wire.send(frame(b" ", opcode=0, final=False) + frame(b"", opcode=10))

    return Slow(wire, drip)


STRANGERS: dict[str, Callable[[Outpost | Keep, int], Slow]] = {
    "silent TCP": silent,
    "half a ClientHello": half_a_client_hello,
    "slow header": slow_header,
}
LAYERS: dict[str, Callable[[Outpost, int], Slow]] = {
    **STRANGERS,
    "slow frame": slow_frame,
    "slow fragments and pongs": slow_fragments_and_pongs,
}
ADMITTED = {"slow frame": "frame", "slow fragments and pongs": "fragments"}


@pytest.fixture(scope="module")
def fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outpost]:
    with outpost(
        tmp_path_factory.mktemp("outpost"),
        handshake_timeout_seconds=SIZES.slow_seconds,
        message_assembly_seconds=SIZES.slow_assembly_seconds,
    ) as made:
        made.add("cs001", "witness")
        yield made


def attacked(
    fort: Outpost,
    layer: Callable[[Outpost, int], Slow],
    count: int,
    meanwhile: Callable[[], None],
) -> list[float]:
    """So many slow peers; how long each lasted, in seconds."""
    arrived: deque[Slow] = deque()

    def arrive(number: int) -> None:
        peer = layer(fort, number)
        peer.wire.socket.setblocking(False)
        arrived.append(peer)

    with ThreadPoolExecutor(8) as pool:
        arrivals = [pool.submit(arrive, number) for number in range(count)]
        lasted = last(arrived, count, meanwhile)
        for arrival in arrivals:
            arrival.result()
    return lasted


def last(arrived: deque[Slow], count: int, meanwhile: Callable[[], None]) -> list[float]:
    left: list[Slow] = []
    lasted: list[float] = []
    quiet_since = time.monotonic()
    while len(lasted) < count:
        while arrived:
            left.append(arrived.popleft())
            quiet_since = time.monotonic()
        still = []
        for peer in left:
            with contextlib.suppress(OSError):
                if peer.drip is not None:
                    peer.drip()
            if peer.is_gone():
                lasted.append(time.monotonic() - peer.began)
                peer.wire.close()
            else:
                still.append(peer)
        left = still
        assert time.monotonic() - quiet_since < GUARD_SECONDS, f"{len(left)} are still there"
        meanwhile()
        select.select([], [], [], 0.2)  # a byte each fifth of a second is slow
    return lasted


@pytest.mark.timeout(240)
@pytest.mark.parametrize("layer", LAYERS)
def test_slow_peers_are_evicted_and_cost_nobody_anything(
    fort: Outpost, layer: str, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P22 D10", layer)
    if layer in ADMITTED:
        fort.add(*(f"{ADMITTED[layer]}{number}" for number in range(SIZES.slow_sockets)))
    with fort.connected("witness", source=HONEST) as witness:
        fort.seconds_to_connect("cs001", source=HONEST)  # whatever is made once, is made
        before, memory = fort.descriptors(), fort.rss()
        fort.health()
        took: list[float] = []
        most = memory

        def honest() -> None:
            nonlocal most
            took.append(fort.seconds_to_connect("cs001", source=HONEST))
            most = max(most, fort.rss())

        honest()
        lasted = attacked(fort, LAYERS[layer], SIZES.slow_sockets, honest)
        assert witness.call("Heartbeat", {})[0] == 3
        fort.quiet()
        until = time.monotonic() + 5
        while fort.descriptors() > before:
            assert time.monotonic() < until, (before, fort.descriptors())
            time.sleep(0.05)
        # A TLS connection is 60-80 KiB, its task and its WebSocket some more; a silent one a few.
        grown = most - memory
        assert grown < 20 * MIB + len(lasted) * 160 * 1024
        lag = fort.health()["lag"]
        assert lag < 2
        row.count(len(lasted))
    took.sort()
    row.measure(f"evicted after {min(lasted):.1f}-{max(lasted):.1f} s")
    row.measure(f"honest connect p99 {took[int(len(took) * 0.99)]:.2f} s ({len(took)}x)")
    row.measure(f"RSS +{grown / MIB:.0f} MiB; lag {lag * 1000:.0f} ms")


@pytest.mark.timeout(180)
def test_many_silent_sockets_cost_little_memory(tmp_path: Path, scoreboard: Scoreboard) -> None:
    """M12: asyncio and uvloop give each connection 256 KiB, before anybody has said a word."""
    count = SIZES.silent_sockets
    with (
        outpost(tmp_path, max_strangers=3 * count, handshake_timeout_seconds=30.0) as fort,
        contextlib.ExitStack() as peers,
    ):
        fort.add("cs001")
        fort.seconds_to_connect("cs001", source=HONEST)
        hello = client_hello(fort.trust)
        numbers = itertools.count()
        for what, said in {
            "silent TCP": b"",
            "half a ClientHello": hello[: len(hello) // 2],
        }.items():
            row = scoreboard.row("D11 M12", what)
            before = fort.rss()
            for number in itertools.islice(numbers, count):
                peer = fort.visit(2, context=None, source=source_of(number))
                peers.enter_context(peer)
                peer.send(said)
            until = time.monotonic() + 20
            while fort.health()["strangers"] < min(number + 1, count):
                assert time.monotonic() < until, fort.health()
                time.sleep(0.1)
            took = fort.seconds_to_connect("cs001", source=HONEST)
            grown = settled_rss(fort) - before
            assert grown < 10 * MIB + count * 28 * 1024  # 150 MB of 5,000
            row.count(count)
            row.measure(f"RSS +{grown / MIB:.0f} MiB, {grown / count / 1024:.1f} KiB each")
            row.measure(f"honest connect {took:.2f} s")
        peers.close()
        fort.quiet()


@pytest.mark.parametrize("known", [False, True], ids=["anybody", "neighbours of stations"])
@pytest.mark.parametrize("layer", STRANGERS)
def test_slow_peers_in_all_places_keep_nobody_out(
    tmp_path: Path, layer: str, scoreboard: Scoreboard, *, known: bool
) -> None:
    """More of them than there are places for strangers, for as long as an attack may last."""
    row = scoreboard.row("P22 D10", f"{layer} in all places of strangers")
    places = 50
    settings = {"max_strangers": places, "handshake_timeout_seconds": 30.0}
    with keep(World(tmp_path), tmp_path, **settings) as fort, contextlib.ExitStack() as peers:
        fort.add("CS001", "SN001")
        header = f"Authorization: {basic('cs001', PASSWORD)}"
        if known:  # a station was let in from each of their addresses, and from that of the next
            for source in (*{source_of(number * 7) for number in range(2 * places)}, HONEST):
                with fort.visit(2, source=source) as wire:
                    assert wire.ask(upgrade("/ocpp/cs001", header)).status == 101
        for number in range(2 * places):
            with contextlib.suppress(OSError):  # turned away
                peers.enter_context(STRANGERS[layer](fort, number * 7).wire)
        until = time.monotonic() + 10
        while fort.home.gateway.health().strangers < places:
            assert time.monotonic() < until, fort.home.gateway.health()
            time.sleep(0.01)
        for _ in range(3):
            with row.attempt(), fort.visit(2, source=HONEST) as wire:
                assert wire.ask(upgrade("/ocpp/cs001", header)).status == 101
        peers.close()
        fort.quiet()


def settled_rss(fort: Outpost) -> int:
    """Once it grows no more."""
    most, since = 0, time.monotonic()
    while time.monotonic() - since < 1.5:
        if (now := fort.rss()) > most + MIB // 8:
            most, since = now, time.monotonic()
        time.sleep(0.1)
    return max(most, fort.rss())


def test_no_way_of_being_slow_lasts_longer_than_its_four_steps(
    fort: Outpost, scoreboard: Scoreboard
) -> None:
    """First record, gate, TLS, request: each at the last moment, and an octet now and then."""
    row = scoreboard.row("D10", "each step taken at its last moment")
    fort.reasons()
    late = SIZES.slow_seconds * 0.8
    with row.attempt():
        wire = fort.visit(2, context=None)
        began = time.monotonic()
        time.sleep(late)  # not a wait for anything: this peer is slow
        wire.socket = _slowly_through_tls(wire.socket, fort.trust, late)
        wire.send(b"GET /ocpp/cs001 HTTP/1.1\r\nX-Slow: ")
        wire.socket.setblocking(False)
        last(deque([Slow(wire, lambda: wire.send(b"a"))]), 1, lambda: None)
        lasted = time.monotonic() - began
        assert fort.reasons() == {"http": 1}
    row.measure(f"gone after {lasted:.1f} s, {SIZES.slow_seconds:.0f} s for each step")


def _slowly_through_tls(sock: socket.socket, trust: str, seconds: float) -> ssl.SSLSocket:
    """The handshake begins at once, and its last word is said after so many seconds."""
    tls = client_tls(trust).wrap_socket(
        sock, server_hostname="localhost", do_handshake_on_connect=False
    )
    tls.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    time.sleep(seconds)
    tls.setblocking(True)
    tls.do_handshake()
    return tls
