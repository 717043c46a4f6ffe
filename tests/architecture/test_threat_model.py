"""docs/threat-model.md is complete, and the tests that it names are there."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/threat-model.md"
# How many attacks each group of the catalogue has.
GROUPS = {"A": 16, "B": 16, "C": 17, "D": 14}
ROW = re.compile(r"^\| ([A-D]\d\d) \|(.*)\|$", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LATER = re.compile(r"\bissue \d+\b")


def rows(root: Path) -> list[tuple[str, str]]:
    return ROW.findall((root / PAGE).read_text(encoding="utf-8"))


def missing_attacks(root: Path) -> list[str]:
    """Each id of the catalogue stands in exactly one row."""
    known = [identifier for identifier, _ in rows(root)]
    wanted = [f"{group}{n:02d}" for group, count in GROUPS.items() for n in range(1, count + 1)]
    return [f"{each}: {known.count(each)} rows" for each in wanted if known.count(each) != 1]


def unanswered_attacks(root: Path) -> list[str]:
    """A row names a test, or the issue that will bring one."""
    return [
        identifier
        for identifier, row in rows(root)
        if NAMED.search(row) is None and LATER.search(row) is None
    ]


def missing_tests(root: Path) -> list[str]:
    text = (root / PAGE).read_text(encoding="utf-8")
    return [
        f"{file}::{name}" for file, name in NAMED.findall(text) if name not in names_in(root / file)
    ]


def names_in(path: Path) -> set[str]:
    if not path.exists():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    classes = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    made = {  # `TestLateClose = Machine.TestCase` of a Hypothesis state machine
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.startswith("Test")
    }
    return classes | made | {n.name for n in ast.walk(tree) if isinstance(n, functions)}


CHECKS = (missing_attacks, unanswered_attacks, missing_tests)
GOOD_ROW = "| {} | forged | refused | `tests/test_door.py::test_it_is_refused` |"
GOOD = "\n".join(GOOD_ROW.format(f"{g}{n:02d}") for g, c in GROUPS.items() for n in range(1, c + 1))
# What is done to the good page, and which check must find it.
FAULTS: tuple[tuple[Callable[[Path], list[str]], str, str, str], ...] = (
    (missing_attacks, GOOD_ROW.format("B07") + "\n", "", "B07"),
    (missing_attacks, "| B07 |", "| B08 |", "B08: 2"),
    (
        unanswered_attacks,
        GOOD_ROW.format("C03"),
        "| C03 | weak key | refused | somewhere |",
        "C03",
    ),
    (missing_tests, "test_it_is_refused", "test_it_is_not", "test_it_is_not"),
    (missing_tests, "tests/test_door.py", "tests/test_window.py", "tests/test_window.py"),
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_is_wrong_with_the_threat_model(check: Callable[[Path], list[str]]) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize(("check", "old", "new", "found"), FAULTS)
def test_a_fault_is_found(
    tmp_path: Path, check: Callable[[Path], list[str]], old: str, new: str, found: str
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_door.py").write_text("def test_it_is_refused(): ...\n")
    page = tmp_path / PAGE
    page.write_text(GOOD)
    assert check(tmp_path) == []
    page.write_text(GOOD.replace(old, new))
    assert found in "\n".join(check(tmp_path))
