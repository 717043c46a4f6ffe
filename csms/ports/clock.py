"""Time and randomness, as arguments: nothing inside asks the operating system."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware UTC wall clock, for records and validity."""

    def monotonic(self) -> float:
        """Seconds that never step, for timeouts."""


class Randomness(Protocol):
    def uuid(self) -> UUID: ...

    def bytes(self, count: int) -> bytes: ...
