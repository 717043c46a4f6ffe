"""How many strangers may wait at the door: in total, and from one source.

A stranger is a socket that has not been admitted yet. The bounds keep silent and slow peers from
costing more than a fixed amount (D10, D11); who is over them is closed without a word. Bounds that
anybody can fill must not keep out everybody else: places are shared fairly between the sources.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from csms.domain.failure_budget import Source

_IPV6_SITE_BITS = 64  # one subscriber owns all addresses of a /64


def source_of(host: str) -> Source:
    """The peer's address as it counts: IPv4-mapped as IPv4, an IPv6 site as one."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    shift = 128 - _IPV6_SITE_BITS
    return IPv6Address(int(address) >> shift << shift)


def source_of_peer(peer: str) -> Source:
    """Of `host:port`, as records have it. Raises ValueError when it is no such thing."""
    return source_of(peer.rpartition(":")[0].strip("[]"))


class Stay:
    """A stranger's place; given back once, at admission, at the end, or when it is needed more."""

    __slots__ = ("_budget", "displaced", "known", "source")

    def __init__(self, budget: StrangerBudget, source: Source, *, known: bool) -> None:
        self._budget: StrangerBudget | None = budget
        self.source = source
        self.known = known
        self.displaced: Callable[[], object] = lambda: None  # sends the stranger away

    def settle(self) -> None:
        """It has asked to be let in: it is not sent away any more."""
        if self._budget is not None:
            self._budget._settled(self)  # noqa: SLF001 -- two halves of one thing

    def end(self) -> None:
        if self._budget is not None:
            budget, self._budget = self._budget, None
            budget._given_back(self)  # noqa: SLF001 -- as above


class _Shares:
    """Who may be sent away, oldest first; and the sources by how many of those they have."""

    def __init__(self) -> None:
        self.slow: dict[Source, OrderedDict[Stay, None]] = {}
        self.by_size: dict[int, OrderedDict[Source, None]] = {}
        self.largest = 0

    def of(self, source: Source) -> int:
        return len(self.slow.get(source, ()))

    def oldest_of_the_greediest(self) -> Stay:
        greediest = next(iter(self.by_size[self.largest]))
        return next(iter(self.slow[greediest]))

    def add(self, stay: Stay) -> None:
        slow = self.slow.setdefault(stay.source, OrderedDict())
        slow[stay] = None
        self._moved(stay.source, len(slow) - 1, len(slow))

    def discard(self, stay: Stay) -> None:
        slow = self.slow.get(stay.source, OrderedDict())
        if stay not in slow:
            return
        del slow[stay]
        self._moved(stay.source, len(slow) + 1, len(slow))
        if not slow:
            del self.slow[stay.source]

    def _moved(self, source: Source, old: int, new: int) -> None:
        if old:
            del self.by_size[old][source]
            if not self.by_size[old]:
                del self.by_size[old]
        if new:
            self.by_size.setdefault(new, OrderedDict())[source] = None
        # By one at a time, so that the next largest is this one or the one below.
        self.largest = max(self.largest, new)
        while self.largest and self.largest not in self.by_size:
            self.largest -= 1


class StrangerBudget:
    """When all places are taken, whoever has many gives one up to whoever has few: its oldest, the
    slowest. A known source takes a place from any that is not, and loses none to it. So a few
    sources cannot keep the others out, and many cannot keep out those that were here before.
    """

    def __init__(
        self,
        *,
        total: int,
        per_source: int,
        is_known: Callable[[Source], bool] = lambda _: False,
    ) -> None:
        self._total = total
        self._per_source = per_source
        self._is_known = is_known
        self._held: Counter[Source] = Counter()
        self._count = 0
        self._shares = {known: _Shares() for known in (False, True)}

    @property
    def strangers(self) -> int:
        return self._count

    def take(self, source: Source, *, crowded: bool = False) -> Stay | None:
        """A place, if there is one or one can be made free; None when there is not. `crowded`: as
        if all were taken.
        """
        if self._held.get(source, 0) >= self._per_source:
            return None
        known = self._is_known(source)
        if (crowded or self._count >= self._total) and not self._make_room(source, known=known):
            return None
        stay = Stay(self, source, known=known)
        self._held[source] += 1
        self._count += 1
        self._shares[known].add(stay)
        return stay

    def _make_room(self, source: Source, *, known: bool) -> bool:
        own, others = self._shares[known], self._shares[False]
        if known and others.largest:
            oldest = others.oldest_of_the_greediest()
        elif own.largest > own.of(source) + 1:
            oldest = own.oldest_of_the_greediest()
        else:
            return False
        oldest.end()
        oldest.displaced()
        return True

    def _settled(self, stay: Stay) -> None:
        self._shares[stay.known].discard(stay)

    def _given_back(self, stay: Stay) -> None:
        self._settled(stay)
        self._count -= 1
        self._held[stay.source] -= 1
        if not self._held[stay.source]:
            del self._held[stay.source]
