"""How often a source may fail at the token endpoint.

Failures are counted, successes are not: a client that knows its secret is never slowed down by
its own traffic. IPv6 sources count by /64, which is what one subscriber gets.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

FAILURES_PER_MINUTE: Final = 10
_IPV6_PREFIX: Final = 64


class FailureBudget:
    """Failures per source in a moving minute."""

    def __init__(self, failures_per_minute: int = FAILURES_PER_MINUTE) -> None:
        self._limit = RateLimitItemPerMinute(failures_per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def is_spent(self, source: str) -> bool:
        return not self._limiter.test(self._limit, source_group(source))

    def spend(self, source: str) -> None:
        self._limiter.hit(self._limit, source_group(source))


def source_group(source: str) -> str:
    """The address that failures are counted under."""
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _IPV6_PREFIX), strict=False))
