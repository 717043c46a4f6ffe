"""A04, P15: a displaced peer that does not go: stopped, and with its receive window full."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from csms.domain.station import Station
from tests.attacks.entering import Credential, certified, enter, request_of
from tests.attacks.hostile import HostileStation, frame
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Row, Scoreboard
from tests.fixtures.gateway_house import World

STATION = """
import base64, socket, ssl, sys, time
port, ca, leaf, request = int(sys.argv[1]), sys.argv[2], sys.argv[3], base64.b64decode(sys.argv[4])
raw = socket.create_connection(("127.0.0.1", port))
if ca:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    if leaf:
        context.load_cert_chain(leaf)
    raw = context.wrap_socket(raw, server_hostname="localhost")
raw.sendall(request)
print(raw.recv(400)[:12].decode(), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def inode_of(fort: Keep, station: Station) -> str:
    """The gateway's side of the station's connection, as the kernel names it."""

    def look() -> str:
        session = fort.home.gateway._sessions.of_station(station.id)
        sock = session._socket.transport.get_extra_info("socket")  # type: ignore[union-attr]
        return str(Path(f"/proc/self/fd/{sock.fileno()}").readlink())

    return str(fort.now(look))


def descriptors() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed while we look
            found.add(str(path.readlink()))
    return found


def goes(inode: str, began: float, row: Row) -> None:
    until = time.monotonic() + 10  # a guard; what is promised is two seconds
    while inode in descriptors():
        assert time.monotonic() < until, "the old socket is still there"
        time.sleep(0.01)
    row.measure(f"old socket gone after {(time.monotonic() - began) * 1000:.0f} ms")


@contextmanager
def stopped(fort: Keep, profile: int, credential: Credential) -> Iterator[None]:
    """A station process that was admitted and then stopped (SIGSTOP)."""
    ca = fort.home.directory / "ca.pem"
    ca.write_text(fort.trust)
    request = base64.b64encode(request_of(credential)).decode()
    arguments = [
        str(fort.port(profile)),
        str(ca) if profile > 1 else "",
        str(credential.leaf or ""),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", STATION, *arguments, request], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert b"101" in process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_a_stopped_station_is_replaced_at_once_and_its_socket_goes(
    world: World, tmp_path: Path, scoreboard: Scoreboard, profile: int
) -> None:
    row = scoreboard.row("A04 P15", f"first station SIGSTOPped, profile {profile}")
    settings = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
    with keep(world, tmp_path, **settings) as fort, Witness(fort), fort.bounded_lag():
        station = fort.add("CS001", "SN001", minimum=profile, security_profile=profile)
        credential = certified(fort, station) if profile == 3 else Credential("cs001")
        with row.attempt(), stopped(fort, profile, credential):
            inode = inode_of(fort, station)
            began = time.monotonic()
            with enter(fort, profile, credential) as second:
                row.measure(f"101 after {(time.monotonic() - began) * 1000:.0f} ms")
                goes(inode, began, row)
                assert second.call("Heartbeat", {})[0] == 3
                session = fort.session_of(station)
                assert session is not None
                assert session.epoch == 2


@pytest.mark.parametrize("profile", [1, 2])
def test_a_peer_whose_window_is_full_is_replaced_just_so(
    world: World, tmp_path: Path, scoreboard: Scoreboard, profile: int
) -> None:
    """It asks and does not read: our close frame cannot be written."""
    row = scoreboard.row("A04 P15", f"first station's window full, profile {profile}")
    # At the usual pace (D09) its window fills in minutes only.
    settings = {
        "profile1_port": 0,
        "profile1_networks": ["127.0.0.0/8"],
        "messages_per_second": 100_000,
    }
    with keep(world, tmp_path, **settings) as fort, Witness(fort), fort.bounded_lag():
        station = fort.add("CS001", "SN001", minimum=profile, security_profile=profile)
        credential = Credential("cs001")
        with row.attempt(), enter(fort, profile, credential) as first:
            inode = inode_of(fort, station)
            fill(fort, station, first)
            began = time.monotonic()
            with enter(fort, profile, credential) as second:
                row.measure(f"101 after {(time.monotonic() - began) * 1000:.0f} ms")
                goes(inode, began, row)
                assert second.call("Heartbeat", {})[0] == 3


def fill(fort: Keep, station: Station, wire: HostileStation) -> None:
    """Pings and CALLs without reading, until the gateway has stopped writing to it."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    session = fort.home.gateway._sessions.of_station(station.id)
    calls = b"".join(
        frame(json.dumps([2, f"n{number}", "Heartbeat", {}]).encode()) + frame(b"x" * 125, opcode=9)
        for number in range(50)
    )
    wire.socket.settimeout(0.2)
    until = time.monotonic() + 8
    while not fort.now(lambda: session._socket.paused):  # type: ignore[union-attr]
        assert time.monotonic() < until, "its window never filled"
        with contextlib.suppress(TimeoutError):
            wire.send(calls)
