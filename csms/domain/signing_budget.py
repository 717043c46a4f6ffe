"""How often a station may ask for a certificate, and how many requests may wait (threat C07).

Every CSR with a new key is a signature of the CA, rows and jobs; all stations share the CA. A
station repeats an unanswered request after CertSigningWaitMinimum seconds, doubling (A02.FR.17-19):
the burst lets the eagerest of them through, and a loop of CSRs is bounded to one a minute.

While the CA cannot sign (Vault sealed) requests wait, and so many of the whole fleet may: those
that were Accepted must be answered soon after it is back, within their keys' life (P03).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

BURST: Final = 10
SECONDS_EACH: Final = 60.0
# At the 200 certificates a second that are measured: half a minute.
MAXIMUM_OPEN: Final = 5000


class Spending(StrEnum):
    GRANTED = "granted"
    REFUSED = "refused"  # the first refusal after a grant: worth a record
    REFUSED_AGAIN = "refused_again"  # recorded already; a flood must not write


@dataclass(slots=True)
class _Bucket:
    level: float
    filled_at: float
    refusing: bool = False


class SigningBudget:
    """A token bucket for each station that asked in the last ten minutes; it outlives the station's
    connections, and is forgotten when it is full again and so no different from a new one.
    """

    def __init__(self, *, maximum_open: int = MAXIMUM_OPEN) -> None:
        self._buckets: OrderedDict[UUID, _Bucket] = OrderedDict()  # who asked last stands last
        self._maximum_open = maximum_open
        self._queue_was_full = False

    def __len__(self) -> int:
        return len(self._buckets)

    @property
    def enough_open(self) -> int:
        """Nobody needs to count further."""
        return self._maximum_open

    def queue(self, open_requests: int) -> Spending:
        """Whether one more may wait. Full is a new thing only after it was half empty."""
        if open_requests < self._maximum_open:
            self._queue_was_full &= open_requests > self._maximum_open // 2
            return Spending.GRANTED
        again, self._queue_was_full = self._queue_was_full, True
        return Spending.REFUSED_AGAIN if again else Spending.REFUSED

    def spend(self, station_id: UUID, *, now: float) -> Spending:
        """`now`: seconds of a clock that never steps."""
        self._forget_the_full(now)
        bucket = self._buckets.setdefault(station_id, _Bucket(BURST, now))
        self._buckets.move_to_end(station_id)
        bucket.level = min(BURST, bucket.level + (now - bucket.filled_at) / SECONDS_EACH)
        bucket.filled_at = now
        if bucket.level >= 1:
            bucket.level -= 1
            bucket.refusing = False
            return Spending.GRANTED
        again, bucket.refusing = bucket.refusing, True
        return Spending.REFUSED_AGAIN if again else Spending.REFUSED

    def _forget_the_full(self, now: float) -> None:
        while self._buckets:
            station_id, bucket = next(iter(self._buckets.items()))
            if now - bucket.filled_at < BURST * SECONDS_EACH:
                return
            del self._buckets[station_id]
