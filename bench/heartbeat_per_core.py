"""`heartbeat_per_core`: Heartbeats validated and answered per second of the server's CPU.

Stations stay connected over TLS, every second one with permessage-deflate, and each sends its next
Heartbeat when the answer to the last has come. The raw limit is `websockets` on uvloop echoing the
same texts, uncompressed: TLS and frames, no OCPP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from bench.figures import Figure, Goal, Round, Scale, Side
from bench.measuring import cpu_of
from bench.sides import Pair, echo, gateway, plain
from bench.world import make_world

_STATIONS: Final = 200
# So many that each side is busy for a second or two.
_BEATS: Final = {Side.OURS: 15_000, Side.RAW_LIMIT: 40_000, Side.PLAIN: 6_000}
_WARM: Final = 1_000


@contextmanager
def measure(scale: Scale) -> Iterator[Callable[[], Round]]:
    world = scale.scratch
    make_world(world, stations=_STATIONS)
    more = 4 if scale.full else 1
    with ExitStack() as stack:
        pairs = {
            Side.OURS: stack.enter_context(gateway(scale, world)),
            Side.RAW_LIMIT: stack.enter_context(echo(scale, world)),
            Side.PLAIN: stack.enter_context(plain(scale, world)),
        }
        for pair in pairs.values():
            pair.load.ask("hold", count=_STATIONS)
            pair.load.ask("beat", count=_WARM)
        yield lambda: {side: _beats(pair, more * _BEATS[side]) for side, pair in pairs.items()}


def _beats(pair: Pair, count: int) -> float:
    with cpu_of(pair.server.pid) as used:
        done = pair.load.ask("beat", count=count)["done"]
    return float(done) / used[0]


FIGURE: Final = Figure(
    name="heartbeat_per_core",
    unit="messages/s of CPU",
    what="Heartbeat over TLS, validated and answered",
    raw_limit="websockets on uvloop, echo over the same TLS",
    plain="ocpp package on websockets and asyncio",
    goal=Goal(of_plain=5),
    measure=measure,
)
