"""How many strangers may wait at the door: in total, and from one source.

A stranger is a socket that has not been admitted yet. The bounds keep silent and slow peers from
costing more than a fixed amount (D10, D11); who is over them is closed without a word.
"""

from __future__ import annotations

from collections import Counter
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


class StrangerBudget:
    def __init__(self, *, total: int, per_source: int) -> None:
        self._total = total
        self._per_source = per_source
        self._held: Counter[Source] = Counter()
        self._count = 0

    @property
    def strangers(self) -> int:
        return self._count

    def take(self, source: Source) -> bool:
        """Whether there is room for one more; it is taken then, and `give_back` is owed."""
        if self._count >= self._total or self._held[source] >= self._per_source:
            if not self._held[source]:
                del self._held[source]
            return False
        self._held[source] += 1
        self._count += 1
        return True

    def give_back(self, source: Source) -> None:
        self._count -= 1
        self._held[source] -= 1
        if not self._held[source]:
            del self._held[source]
