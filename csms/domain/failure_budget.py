"""How often a source may fail to get in, and who gets in all the same (threat A09).

Only failures cost: whoever knows its password is never slowed down by its own traffic. Nothing
here locks an identity, and nothing reaches a session that is open:

1. A source (an address; an IPv6 site) has `burst` failures, and one more each `seconds_each`. An
   attempt that comes while there is none left costs a little of what comes back, so that a flood
   keeps itself out, and stations behind one address that are set up wrong and knock now and then
   do not.
2. A station that was let in from a source is known there. With the very credential that let it in
   it may always try, whatever others behind the same address do: comparing it asks neither the
   database nor anybody's patience, and guessing it is guessing 245 bits.
3. With another credential, as after a change of password, a known station has a few failures of
   its own, which strangers who do not know its identity cannot spend.

To try is not to be let in: what passes here is verified like any other. Attempts that are verified
at once are paid for afterwards, if need be as a debt, so that a hundred stations that come back
together are not taken for an attack, and an attack that comes as a hundred pays for each.

Memory is bounded: the source that failed longest ago, and the station that came longest ago, are
forgotten first. State is lost with the process, but for what `admitted` is told of at its start.
"""

from __future__ import annotations

import hmac
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

Source = IPv4Address | IPv6Address

# An attempt without a token costs so much of the next one: from one in two seconds on, at the
# usual rate of one token in ten, nothing comes back.
KNOCK_COST: Final = 0.2
KNOWN_BURST: Final = 5  # a station tries its new password, the old one, and a person tries twice
MAXIMUM_SOURCES: Final = 16_384  # some 6 MiB; who has more addresses has a burst on each anyway
MAXIMUM_STATIONS: Final = 65_536  # some 40 MiB, when so many stations have connected
SOURCES_PER_STATION: Final = 4  # two SIMs and a cable, and the last address of one of them

GUESSES: Final = 10  # half a burst: one source alone raises the alarm
GUESS_WINDOW_SECONDS: Final = 60.0
MAXIMUM_GUESSED: Final = 4096


@dataclass(slots=True)
class _Bucket:
    level: float
    filled_at: float


@dataclass(slots=True)
class _Known:
    """A station at a source it was let in from."""

    proof: bytes | None = field(repr=False)
    bucket: _Bucket | None = None


class FailureBudget:
    """`now` is seconds of a clock that never steps; `proof` what stands for a credential: equal for
    equal credentials, and not to be guessed from outside.
    """

    def __init__(self, *, burst: int, seconds_each: float) -> None:
        self._burst = burst
        self._seconds_each = seconds_each
        self._sources: OrderedDict[Source, _Bucket] = OrderedDict()
        self._stations: OrderedDict[str, OrderedDict[Source, _Known]] = OrderedDict()
        self._known_at: Counter[Source] = Counter()

    def is_shut(self, source: Source, *, now: float) -> bool:
        """Whether nobody from there can get in now, so that it need not come as far as TLS."""
        if not self._is_spent(source, now) or source in self._known_at:
            return False
        self._knocked(self._sources[source])
        return True

    def is_known(self, source: Source) -> bool:
        """Whether a station was let in from there."""
        return source in self._known_at

    def may_try(
        self, source: Source, identity: str | None, proof: bytes | None, *, now: float
    ) -> bool:
        """Whether this attempt may be verified. `failed` or `admitted` is owed then."""
        if not self._is_spent(source, now):
            return True
        known = self._known(source, identity)
        if known is not None:
            if _same(known.proof, proof):
                return True
            bucket = self._of_known(known, now)
            if bucket.level >= 1:
                return True
            self._knocked(bucket)
        self._knocked(self._sources[source])
        return False

    def failed(
        self, source: Source, identity: str | None, proof: bytes | None, *, now: float
    ) -> bool:
        """It was refused, at whatever step. Whether that is worth a record of its own: it is not
        when it was paid for by nobody, or rows would be the flood.
        """
        worth = not self._is_spent(source, now)
        known = self._known(source, identity)
        if known is not None and identity is not None:
            if _same(known.proof, proof):
                self._forget(source, identity)  # the station is blocked, gone, or not itself
                worth = True
            elif not worth:
                bucket = self._of_known(known, now)
                worth = bucket.level >= 1
                bucket.level = max(0.0, bucket.level - 1)
        bucket = self._sources.setdefault(source, _Bucket(self._burst, now))
        bucket.level = max(-float(self._burst), bucket.level - 1)
        self._sources.move_to_end(source)
        if len(self._sources) > MAXIMUM_SOURCES:
            self._sources.popitem(last=False)
        return worth

    def admitted(self, source: Source, identity: str, proof: bytes | None) -> None:
        """It is known there from now on. Without a proof, as when only a record tells of it, by
        its identity alone.
        """
        at = self._stations.setdefault(identity, OrderedDict())
        self._stations.move_to_end(identity)
        if source not in at:
            self._known_at[source] += 1
            at[source] = _Known(proof)
        # Its bucket stays as it is: coming and going must not fill it for whoever guesses.
        elif proof is not None:
            at[source].proof = proof
        at.move_to_end(source)
        if len(at) > SOURCES_PER_STATION:
            self._left(at.popitem(last=False)[0])
        if len(self._stations) > MAXIMUM_STATIONS:
            for left in self._stations.popitem(last=False)[1]:
                self._left(left)

    def _known(self, source: Source, identity: str | None) -> _Known | None:
        at = self._stations.get(identity) if identity is not None else None
        return at.get(source) if at is not None else None

    def _forget(self, source: Source, identity: str) -> None:
        at = self._stations[identity]
        del at[source]
        self._left(source)
        if not at:
            del self._stations[identity]

    def _left(self, source: Source) -> None:
        self._known_at[source] -= 1
        if not self._known_at[source]:
            del self._known_at[source]

    # Buckets

    def _is_spent(self, source: Source, now: float) -> bool:
        bucket = self._sources.get(source)
        if bucket is None:
            return False
        self._refill(bucket, self._burst, now)
        return bucket.level < 1

    def _of_known(self, known: _Known, now: float) -> _Bucket:
        if known.bucket is None:
            known.bucket = _Bucket(KNOWN_BURST, now)
        self._refill(known.bucket, KNOWN_BURST, now)
        return known.bucket

    def _refill(self, bucket: _Bucket, burst: int, now: float) -> None:
        bucket.level = min(burst, bucket.level + (now - bucket.filled_at) / self._seconds_each)
        bucket.filled_at = now

    def _knocked(self, bucket: _Bucket) -> None:
        """A debt is not made worse: it was for attempts that were verified."""
        if bucket.level > 0:
            bucket.level = max(0.0, bucket.level - KNOCK_COST)


def _same(known: bytes | None, shown: bytes | None) -> bool:
    return known is not None and shown is not None and hmac.compare_digest(known, shown)


@dataclass(slots=True)
class _Guessed:
    since: float
    count: int = 0


class GuessWatch:
    """When somebody guesses at a station's password, from however many sources."""

    def __init__(self) -> None:
        self._guessed: OrderedDict[str, _Guessed] = OrderedDict()

    def wrong_password(self, identity: str, *, now: float) -> bool:
        """Whether this one raises the alarm: once in each window, at the tenth."""
        seen = self._guessed.get(identity)
        if seen is None or now - seen.since >= GUESS_WINDOW_SECONDS:
            seen = self._guessed[identity] = _Guessed(now)
            self._guessed.move_to_end(identity)
        seen.count += 1
        if len(self._guessed) > MAXIMUM_GUESSED:
            self._guessed.popitem(last=False)
        return seen.count == GUESSES
