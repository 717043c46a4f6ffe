"""What was promised, what was done to it, how often, and whether it held: a table at the end.

A test opens its row and counts in it; a row whose test failed says so. Nothing is asserted here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import pytest

BOARD_BY: Final = "CSMS_TEST_BOARD"  # a file for the rows, where several runs make one table
_KEY = pytest.StashKey["Scoreboard"]()


@dataclass
class Row:
    promise: str  # the ids: "P33", "A03 P17"
    injected: str
    tried: int = 0
    held: int = 0
    measured: list[str] = field(default_factory=list)

    def count(self, tried: int = 1) -> None:
        """So many were tried, and all of them held: said after the asserts."""
        self.tried += tried
        self.held += tried

    def measure(self, text: str) -> None:
        """A figure for the reader; a test never depends on one."""
        self.measured.append(text)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One try; it held if nothing is raised."""
        self.tried += 1
        yield
        self.held += 1


class Scoreboard:
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def row(self, promise: str, injected: str) -> Row:
        row = Row(promise, injected)
        self.rows.append(row)
        return row

    def lines(self) -> list[str]:
        head = ("promise", "injected", "tried", "held", "measured")
        table = [head] + [
            (row.promise, row.injected, str(row.tried), _held(row), "; ".join(row.measured))
            for row in sorted(self.rows, key=lambda row: (row.promise, row.injected))
        ]
        widths = [max(len(line[column]) for line in table) for column in range(4)]
        return [
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]
            ).rstrip()
            for line in table
        ]


def _held(row: Row) -> str:
    return str(row.held) if row.tried and row.held == row.tried else f"{row.held} FAILED"


@pytest.fixture(scope="session")
def scoreboard(pytestconfig: pytest.Config) -> Scoreboard:
    return pytestconfig.stash[_KEY]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_KEY] = Scoreboard()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    board = config.stash[_KEY]
    if file := os.environ.get(BOARD_BY):
        Path(file).write_text(json.dumps([asdict(row) for row in board.rows]))
    elif board.rows:
        terminalreporter.section("promises under attack")
        for line in board.lines():
            terminalreporter.write_line(line)
