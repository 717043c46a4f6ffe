"""csms.adapters.clock: aware time, steady time, real randomness."""

from datetime import UTC, timedelta

from csms.adapters.clock import SystemClock, SystemRandomness


def test_now_is_aware_utc_and_monotonic_does_not_step_back() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.now() - clock.now() <= timedelta(0)
    assert clock.monotonic() <= clock.monotonic()


def test_randomness_differs_each_time() -> None:
    randomness = SystemRandomness()
    assert randomness.uuid() != randomness.uuid()
    assert len(randomness.bytes(16)) == 16
    assert randomness.bytes(16) != randomness.bytes(16)
