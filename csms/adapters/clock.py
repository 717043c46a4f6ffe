"""The operating system's clock and randomness: the only place that asks for them."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from uuid import UUID, uuid4


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class SystemRandomness:
    def uuid(self) -> UUID:
        return uuid4()

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)
