"""`mtls_connect_per_core`: a station is let in and has booted, per second of the server's CPU.

Ours is the full TLS 1.3 handshake with both certificates, the upgrade, admission with its database
read, the claim with its audit row, BootNotification answered after its commit, and the session
given back when the station leaves. The plain one admits anybody and stores nothing; the raw limit
is OpenSSL in C doing the handshake alone.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.figures import Figure, Goal, Round, Scale, Side
from bench.measuring import MeasurementFailed, cpu_of, pinned
from bench.sides import Pair, gateway, openssl_server, plain
from bench.world import TRUST, make_world

_STATIONS: Final = 200
_CONNECTS: Final = 300
_WARM: Final = 100
_AT_ONCE: Final = 8
_HANDSHAKE_SECONDS: Final = 2


@contextmanager
def measure(scale: Scale) -> Iterator[Callable[[], Round]]:
    world = scale.scratch
    make_world(world, stations=_STATIONS)
    count = _CONNECTS * (4 if scale.full else 1)
    with ExitStack() as stack:
        ours = stack.enter_context(gateway(scale, world))
        other = stack.enter_context(plain(scale, world))
        openssl = stack.enter_context(openssl_server(scale, world))
        for pair in (ours, other):
            pair.load.ask("cycle", count=_WARM, at_once=_AT_ONCE)
        yield lambda: {
            Side.OURS: _connects(ours, count),
            Side.RAW_LIMIT: _handshakes(scale, world, *openssl),
            Side.PLAIN: _connects(other, count),
        }


def _connects(pair: Pair, count: int) -> float:
    with cpu_of(pair.server.pid) as used:
        pair.load.ask("cycle", count=count, at_once=_AT_ONCE)
    return count / used[0]


def _handshakes(scale: Scale, world: Path, pid: int, port: int) -> float:
    with cpu_of(pid) as used:
        done = subprocess.run(
            pinned(scale.load_core, _s_time(world, port)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    counted = re.search(r"(\d+) connections in \d+ real seconds", done.stdout)
    if counted is None or int(counted[1]) < 10:
        raise MeasurementFailed(f"openssl s_time: {done.stderr[-300:]}")
    return int(counted[1]) / used[0]


def _s_time(world: Path, port: int) -> list[str]:
    station = str(world / "00000.pem")
    return [
        *("openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", "-tls1_3"),
        *("-cert", station, "-key", station, "-CAfile", str(world / TRUST)),
        *("-time", str(_HANDSHAKE_SECONDS)),
    ]


FIGURE: Final = Figure(
    name="mtls_connect_per_core",
    unit="connects/s of CPU",
    what="TLS 1.3 mutual handshake, upgrade, admission, BootNotification answered, leave",
    raw_limit="OpenSSL's handshake alone (s_server)",
    plain="ocpp package on websockets: admits anybody, stores nothing",
    goal=Goal(of_raw=0.50, of_plain=1.3),
    measure=measure,
)
