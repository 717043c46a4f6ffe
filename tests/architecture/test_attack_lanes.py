"""`make attack` leaves no test out, and runs none twice."""

from dataclasses import asdict

from tests.attacks.__main__ import BESIDE, HERE, WAITING, lanes
from tests.attacks.scoreboard import Row, Scoreboard


def test_every_attack_is_in_one_lane() -> None:
    waiting, working = lanes()
    assert sorted([*waiting, *working]) == sorted([*HERE.glob("test_*.py"), BESIDE])
    assert BESIDE.exists()
    assert {file.name.split("_")[1] for file in waiting} == set(WAITING)


def test_rows_of_two_runs_make_one_table() -> None:
    board = Scoreboard()
    board.row("P33", "cells").count(816)
    board.row("A03", "interleavings").tried += 1
    together = Scoreboard()
    together.rows = [Row(**asdict(row)) for row in board.rows]
    assert together.lines() == board.lines()
    assert [line.split()[0] for line in together.lines()] == ["promise", "A03", "P33"]
    assert "FAILED" in together.lines()[1]
