"""How fast one station's messages are taken (threat D09).

A token bucket, kept as the instant at which it will be full again (the generic cell rate
algorithm): one number for each session and no timer. It says how long to wait before a message is
looked at; nothing is ever refused. Who does not read makes the station wait by TCP, and a station
that waits for its answers, as it must (Part 4 §4.1.1), loses at most `1 / rate` seconds for each.
"""

from __future__ import annotations

from typing import Final

WORTH_A_TIMER: Final = 0.001  # less is owed by the next message, and rounding is no debt


class MessagePace:
    """`burst` messages at once, then `rate` in a second; time is an argument, in seconds."""

    __slots__ = ("_each", "_full_at", "_slack", "slowed")

    def __init__(self, *, rate: float, burst: int, now: float) -> None:
        self._each = 1 / rate
        self._slack = burst / rate
        self._full_at = now
        self.slowed = 0

    def wait(self, now: float) -> float:
        """Count one message; seconds until it may be handled, 0 for an honest station."""
        self._full_at = max(self._full_at, now) + self._each
        ahead = self._full_at - self._slack - now
        if ahead < WORTH_A_TIMER:
            return 0.0
        self.slowed += 1
        return ahead
