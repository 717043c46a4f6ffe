"""Time as a station lives it: the wall clock, and protocol seconds that may run faster.

Every duration the protocol names (heartbeat, back-off, life of a CSR's key) is counted in
protocol seconds; `scale` says how many real seconds one of them lasts, so that a test of an hour's
patience takes no hour. Certificate validity always uses the wall clock.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """The real clock; tests pass a scale or override a method."""

    def __init__(self, *, scale: float = 1.0) -> None:
        self._scale = scale

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        """Protocol seconds since an arbitrary start; never goes back."""
        return time.monotonic() / self._scale

    def real(self, seconds: float) -> float:
        """How long that many protocol seconds last for the event loop."""
        return seconds * self._scale

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(self.real(seconds))


def timestamp(moment: datetime) -> str:
    """RFC 3339, UTC, no fraction (OCPP 2.0.1 Part 2 §3.1)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
