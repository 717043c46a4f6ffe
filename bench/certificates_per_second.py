"""`certificates_per_second`: CSR in, chain out, by the clock on the wall.

The whole issuance cycle on SQLite with a real OpenBao on the same two cores: asked and checked,
serial reserved and linted, intent stored, signed by Transit, verified, stored, audited; eight at a
time. The raw limit is Transit signing alone, eight connections, no client library in the way. Every
station key is new: a repeated request would be answered from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from bench.figures import Figure, Goal, Round, Scale, Side
from bench.measuring import Spoken, spoken

_AT_ONCE: Final = 8
_CERTIFICATES: Final = 200
_SIGNATURES: Final = 2_000


@contextmanager
def measure(scale: Scale) -> Iterator[Callable[[], Round]]:
    more = 4 if scale.full else 1
    # Not pinned: OpenBao is a child of it, and as in production both may use every core.
    with spoken(
        "bench.servers.authority",
        str(scale.scratch),
        core=None,
        log=scale.scratch / "authority.log",
    ) as authority:
        _rate(authority, "issue", _CERTIFICATES // 4)
        yield lambda: {
            Side.OURS: _rate(authority, "issue", more * _CERTIFICATES),
            Side.RAW_LIMIT: _rate(authority, "sign", more * _SIGNATURES),
        }


def _rate(authority: Spoken, do: str, count: int) -> float:
    answer = authority.ask(do, count=count, at_once=_AT_ONCE)
    return float(answer["done"]) / float(answer["seconds"])


FIGURE: Final = Figure(
    name="certificates_per_second",
    unit="certificates/s",
    what="CSR in, chain out through the whole issuance cycle, 8 at once, real OpenBao",
    raw_limit="Transit signatures, 8 connections, prepared requests",
    plain="a plain central system has no CA",
    goal=Goal(at_least=200, of_raw=0.10),
    measure=measure,
)
