"""How often a source may fail at the token endpoint.

Failures are counted, successes are not: a client that knows its secret is never slowed down by
its own traffic. They are counted by source and claimed client, and more generously by source
alone, so that whoever fails behind the same address does not lock the others out at once (A09).
IPv6 sources count by /64, which is what one subscriber gets.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

FAILURES_PER_CLIENT: Final = 10  # a minute, from one source
FAILURES_PER_SOURCE: Final = 100  # a minute
_IPV6_PREFIX: Final = 64


class FailureBudget:
    """Failures per source in a moving minute."""

    def __init__(
        self,
        *,
        failures_per_client: int = FAILURES_PER_CLIENT,
        failures_per_source: int = FAILURES_PER_SOURCE,
    ) -> None:
        self._by_client = RateLimitItemPerMinute(failures_per_client)
        self._by_source = RateLimitItemPerMinute(failures_per_source)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def is_spent(self, source: str, client_id: str | None = None) -> bool:
        """Whether the source has failed too often, and with a client id: as that client."""
        group = source_group(source)
        if client_id is None:
            return not self._limiter.test(self._by_source, group)
        return not self._limiter.test(self._by_client, group, client_id)

    def spend(self, source: str, client_id: str) -> None:
        group = source_group(source)
        self._limiter.hit(self._by_source, group)
        self._limiter.hit(self._by_client, group, client_id)


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
