"""What a figure is: a name, a unit, a goal, and a way to measure its sides in interleaved rounds.

A round measures every side once, one after the other, so that whatever else the machine does meets
all of them. What comes out is the median of the rounds and their spread; only ratios within one
run are worth comparing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from bench.measuring import middle, spread


class Side(StrEnum):
    OURS = "ours"
    RAW_LIMIT = "raw_limit"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured; `scratch` is an empty directory of the figure's own."""

    rounds: int
    full: bool
    scratch: Path
    server_core: int | None
    load_core: int | None


Round: TypeAlias = Mapping[Side, float]
# Entered once: sets up, and gives a function that measures one round.
Measurement: TypeAlias = Callable[[Scale], AbstractContextManager[Callable[[], Round]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What does not apply is None. `of_raw` and `of_plain` are ratios."""

    at_least: float | None = None
    at_most: float | None = None
    of_raw: float | None = None
    of_plain: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str
    unit: str
    what: str
    raw_limit: str  # what the raw limit is, or why there is none
    plain: str
    goal: Goal
    measure: Measurement
    most_rounds: int = 100  # rounds beyond that would take too long


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row of the result, with every sample it comes from."""

    figure: Figure
    samples: Mapping[Side, tuple[float, ...]]

    def value(self, side: Side) -> float | None:
        return middle(self.samples.get(side, ()))

    def spread(self, side: Side) -> float | None:
        return spread(self.samples.get(side, ()))

    @property
    def rounds(self) -> int:
        return len(self.samples[Side.OURS])

    def ratio(self, side: Side) -> float | None:
        ours, other = self.value(Side.OURS), self.value(side)
        return None if ours is None or not other else ours / other


def measure(figure: Figure, scale: Scale) -> Iterator[Measured]:
    """After every round what is known so far; the last one counts. Raises MeasurementFailed."""
    samples: dict[Side, list[float]] = {}
    with figure.measure(scale) as one_round:
        for _ in range(min(scale.rounds, figure.most_rounds)):
            for side, value in one_round().items():
                samples.setdefault(side, []).append(value)
            yield Measured(
                figure=figure,
                samples={side: tuple(values) for side, values in samples.items()},
            )
