"""csms.domain.takeovers: when a replaced session is an alarm."""

from itertools import pairwise
from uuid import uuid4

import pytest

from csms.domain import takeovers as module
from csms.domain.takeovers import MOST_IN_WINDOW, WINDOW_SECONDS, Takeovers

STATION, OTHER = uuid4(), uuid4()


def alarms(times: list[float]) -> list[float]:
    watch = Takeovers()
    return [now for now in times if watch.replaced(STATION, now=now)]


def test_the_one_too_many_in_a_window_is_the_alarm() -> None:
    close = [float(second) for second in range(MOST_IN_WINDOW + 1)]
    assert alarms(close[:-1]) == []
    assert alarms(close) == [float(MOST_IN_WINDOW)]


def test_a_station_behind_a_bad_line_is_none() -> None:
    """Evenly as many as allowed: the one before the first has left the window."""
    step = WINDOW_SECONDS / MOST_IN_WINDOW
    assert alarms([number * step for number in range(100)]) == []


def test_a_fight_of_an_hour_is_one_alarm_in_each_window() -> None:
    raised = alarms([float(second) for second in range(3600)])
    assert len(raised) == 6
    assert all(two - one >= WINDOW_SECONDS for one, two in pairwise(raised))


def test_stations_are_counted_apart() -> None:
    watch = Takeovers()
    for second in range(MOST_IN_WINDOW):
        assert not watch.replaced(STATION, now=second)
        assert not watch.replaced(OTHER, now=second)
    assert watch.replaced(STATION, now=MOST_IN_WINDOW)
    assert watch.replaced(OTHER, now=MOST_IN_WINDOW)


def test_who_was_quiet_for_a_window_is_forgotten() -> None:
    watch = Takeovers()
    watch.replaced(STATION, now=0)
    watch.replaced(OTHER, now=WINDOW_SECONDS)
    assert len(watch) == 1


def test_memory_is_bounded_and_the_quietest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STATIONS", 3)
    watch = Takeovers()
    for second in range(MOST_IN_WINDOW):
        watch.replaced(STATION, now=second)
        watch.replaced(uuid4(), now=second)
        assert len(watch) <= 3
    assert watch.replaced(STATION, now=MOST_IN_WINDOW), "the busiest is still counted"
