"""Protocol seconds and time stamps."""

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone

from station.clock import Clock, timestamp


def test_scaled_clock_lets_an_hour_pass_in_a_moment() -> None:
    clock = Clock(scale=0.00001)
    before, started = clock.elapsed(), time.monotonic()
    asyncio.run(clock.sleep(3600))
    assert clock.elapsed() - before >= 3600
    assert time.monotonic() - started < 1
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5), "the wall clock is real"


def test_timestamp_is_utc_without_fraction() -> None:
    east = datetime(2026, 1, 1, 1, 0, 0, 999, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(east) == "2025-12-31T23:00:00Z"
