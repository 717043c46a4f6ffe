"""The pace of one station's messages (threat D09)."""

import pytest

from csms.domain.message_pace import MessagePace


def test_a_burst_passes_at_once_and_the_next_waits_its_turn() -> None:
    pace = MessagePace(rate=10, burst=5, now=100)
    assert [pace.wait(100) for _ in range(5)] == [0] * 5
    assert pace.wait(100) == pytest.approx(0.1)
    assert pace.slowed == 1


def test_the_bucket_fills_again() -> None:
    pace = MessagePace(rate=10, burst=5, now=0)
    for _ in range(5):
        pace.wait(0)
    assert pace.wait(0.1) == pytest.approx(0, abs=1e-9)
    assert pace.wait(0.1) > 0
    assert [pace.wait(1000) for _ in range(5)] == [0] * 5
    assert pace.wait(1000) > 0, "and holds no more than its burst"


def test_who_sends_flat_out_gets_the_rate() -> None:
    """Each message waits only for itself, since the next is not read before."""
    pace, now = MessagePace(rate=50, burst=500, now=0), 0.0
    for _ in range(1500):
        waited = pace.wait(now)
        assert waited <= 1 / 50 + 0.001
        now += waited
    assert now == pytest.approx(20, abs=0.001)


def test_an_honest_pace_is_never_slowed() -> None:
    pace = MessagePace(rate=50, burst=500, now=0)
    assert not any(pace.wait(number / 50) for number in range(5000))
    assert pace.slowed == 0
