"""`rss_per_idle_station_kib`: what a connected, booted and then silent station costs in memory.

(resident memory with n stations - before them) / n, on profile 3, every second one with
permessage-deflate. Every round starts fresh servers, since a process gives little back. The raw
limit is TLS on uvloop with nothing behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from bench.figures import Figure, Goal, Round, Scale, Side
from bench.measuring import rss_kib
from bench.sides import Pair, gateway, plain, tls_only
from bench.world import make_world

_STATIONS: Final = 1000
_STATIONS_FULL: Final = 5000
_WARM: Final = 20  # code paths and pools that the first stations would pay for
_SETTLE_SECONDS: Final = 1.0

Server = Callable[[Scale, Path], AbstractContextManager[Pair]]


@contextmanager
def measure(scale: Scale) -> Iterator[Callable[[], Round]]:
    world = scale.scratch
    count = _STATIONS_FULL if scale.full else _STATIONS
    make_world(world, stations=count + _WARM)
    yield lambda: {
        Side.OURS: _each(gateway, scale, world, count),
        Side.RAW_LIMIT: _each(tls_only, scale, world, count),
        Side.PLAIN: _each(plain, scale, world, count),
    }


def _each(server: Server, scale: Scale, world: Path, count: int) -> float:
    with server(scale, world) as pair:
        pair.load.ask("hold", count=_WARM)
        time.sleep(_SETTLE_SECONDS)
        before = rss_kib(pair.server.pid)
        pair.load.ask("hold", count=count)
        time.sleep(_SETTLE_SECONDS)
        return (rss_kib(pair.server.pid) - before) / count


FIGURE: Final = Figure(
    name="rss_per_idle_station_kib",
    unit="KiB",
    what="resident memory per connected, silent station on profile 3, half with deflate",
    raw_limit="TLS on uvloop, nothing behind it",
    plain="ocpp package on websockets and asyncio",
    goal=Goal(at_most=80),
    measure=measure,
    most_rounds=3,
)
