"""How a job's run ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

# Waiting for a station to come back: its connection wakes the job, this is only the safety net.
UNTIL_IT_CONNECTS: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Done:
    """Finished, or overtaken by events."""


@dataclass(frozen=True, slots=True)
class RetryIn:
    period: timedelta
    note: str
    counts: bool = True  # False: nothing was tried, so it brings the end no nearer


@dataclass(frozen=True, slots=True)
class WhenConnected:
    """The station is offline: run again as soon as it connects."""

    note: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The end of trying; kept for people to see."""

    note: str


JobOutcome = Done | RetryIn | WhenConnected | GiveUp


def back_off(attempts: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """Doubling from `first`, never above `longest`."""
    factor: int = 1 << min(attempts, 16)
    return min(longest, first * factor)
