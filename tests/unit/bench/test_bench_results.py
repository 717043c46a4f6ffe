"""The result document has the shape that docs/performance.md tells, and its numbers add up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from bench.__main__ import FIGURES, verdicts
from bench.figures import Figure, Goal, Measured, Round, Scale, Side, measure
from bench.plot import svg
from bench.results import Machine, decode, document, encode

MACHINE = Machine(
    cpu="a cpu",
    cores=2,
    memory_mib=1024,
    system="Linux 1",
    python="3.11",
    openssl="OpenSSL 3",
    libraries={},
    measured_at="2026-11-23T00:00:00+00:00",
    load_average_before=0.5,
)
NO_GOAL = Goal()
REQUIRED = {"name", "unit", "ours", "raw_limit", "plain", "rounds", "spread"}


def figure(rounds: list[Round], goal: Goal = NO_GOAL, most_rounds: int = 100) -> Figure:
    @contextmanager
    def setup(_: Scale) -> Iterator[Callable[[], Round]]:
        remaining = iter(rounds)
        yield lambda: next(remaining)

    return Figure(
        name="things_per_core",
        unit="things/s",
        what="-",
        raw_limit="-",
        plain="-",
        goal=goal,
        measure=setup,
        most_rounds=most_rounds,
    )


def measured(rounds: list[Round], goal: Goal = NO_GOAL, **more: int) -> Measured:
    scale = Scale(rounds=5, full=False, scratch=Path(), server_core=None, load_core=None)
    return list(measure(figure(rounds, goal, **more), scale))[-1]


ROUNDS: list[Round] = [
    {Side.OURS: ours, Side.RAW_LIMIT: 40.0, Side.PLAIN: 4.0}
    for ours in (8.0, 12.0, 10.0, 11.0, 9.0)
]


def test_a_row_holds_the_required_fields_and_its_samples() -> None:
    made = json.loads(encode(document(MACHINE, [measured(ROUNDS)])))
    assert {"machine", "commit", "figures"} == set(made)
    (row,) = made["figures"]
    assert set(row) >= REQUIRED
    assert (row["ours"], row["raw_limit"], row["plain"], row["rounds"]) == (10.0, 40.0, 4.0, 5)
    assert row["spread"] == pytest.approx(0.4)
    assert row["samples"]["ours"] == [8.0, 12.0, 10.0, 11.0, 9.0]


def test_a_side_that_does_not_apply_is_null() -> None:
    rounds: list[Round] = [{Side.OURS: 1.0}] * 5
    row = json.loads(encode(document(MACHINE, [measured(rounds)])))["figures"][0]
    assert (row["raw_limit"], row["plain"], row["spread"]) == (None, None, 0.0)


def test_a_document_reads_back_and_a_broken_one_does_not() -> None:
    made = document(MACHINE, [measured(ROUNDS)])
    assert decode(encode(made)) == made
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"machine":{},"commit":"c","figures":[]}')


def test_slow_figures_take_fewer_rounds() -> None:
    assert measured(ROUNDS, most_rounds=2).rounds == 2


def test_a_goal_is_reached_or_missed_by_the_ratio_of_the_same_run() -> None:
    reached = measured(ROUNDS, Goal(of_raw=0.25, of_plain=2.5, at_least=10, at_most=10))
    assert all(verdict.endswith(": reached") for verdict in verdicts(reached))
    missed = measured(ROUNDS, Goal(of_raw=0.26, of_plain=2.6, at_least=10.1, at_most=9.9))
    assert [verdict.rpartition(": ")[2] for verdict in verdicts(missed)] == ["missed"] * 4
    alone = measured([{Side.OURS: 1.0}] * 5, Goal(of_raw=0.5))
    assert verdicts(alone) == ["≥ 0.5 of raw: not measured"]


def test_the_picture_has_a_bar_for_each_side_and_none_for_what_does_not_apply() -> None:
    both = document(MACHINE, [measured(ROUNDS), measured([{Side.OURS: 3.0}] * 5)])
    bars = ET.fromstring(svg(both)).findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 1 + 3 + 1  # the background, three sides, one side
    widths = [float(bar.attrib["width"]) for bar in bars[1:4]]
    assert widths[1] / widths[0] == pytest.approx(4, rel=0.01)


def test_every_figure_of_the_first_cut_is_in_the_table() -> None:
    assert [each.name for each in FIGURES] == [
        "mtls_connect_per_core",
        "rss_per_idle_station_kib",
        "heartbeat_per_core",
        "certificates_per_second",
        "start_seconds",
    ]
