"""The pages of the project: links lead somewhere, decisions are complete, named files exist.

Every check is a function from a repository to what is wrong in it. It is run on this repository,
where it must find nothing, and on a small one with a fault in it, which it must find.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {"node_modules", "var", "vendor"}
# Of the text that the Apache Software Foundation publishes.
LICENCE_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
SECTIONS = ("Context", "Decision", "Consequences", "Alternatives", "Held by")
STATUSES = ("accepted", "proposed", "rejected", "superseded by")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
OUR_PATH = re.compile(
    r"(?:(?:csms|pki|station|tests|tools|certs|docs)/[\w./-]+\.\w+|policies/[\w./-]*)"
)
DECISION = re.compile(r"\bdecision (\d+)\b")
TENSION = re.compile(r"\bT\d{1,2}\b")
REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|registry\.yarnpkg\.com|proxy\.golang\.org"
    r"|docker\.io|ghcr\.io|quay\.io|crates\.io|deb\.debian\.org"
)
MACHINE_PATH = re.compile(
    r"(?<![\w.:/>}~-])/(?:work|home|root|tmp|usr|opt|mnt|srv|Users|private)/\w"
)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def pages(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.rglob("*.md")):
        parts = path.relative_to(root).parts
        if not any(part.startswith(".") or part in NOT_OURS for part in parts):
            yield "/".join(parts), path.read_text(encoding="utf-8")


def decisions(root: Path) -> Iterator[tuple[str, str]]:
    for name, text in pages(root):
        if name.startswith("docs/adr/") and not name.endswith("/README.md"):
            yield name, text


def sources(root: Path) -> Iterator[tuple[str, str]]:
    for folder in ("csms", "pki", "station", "policies"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".py", ".toml", ".hcl"}:
                yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """Headings as forges turn them into fragments."""
    titles = re.findall(r"^#{1,6} (.+)$", FENCE.sub("", text), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.replace(" ", "-") for title in kept}


def dead_links(root: Path) -> list[str]:
    found = []
    for name, text in pages(root):
        for link in LINK.findall(FENCE.sub("", text)):
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            target, _, fragment = link.partition("#")
            path = (root / name).parent / target if target else root / name
            if not path.exists() or (fragment and fragment not in anchors(path.read_text("utf-8"))):
                found.append(f"{name}: {link}")
    return found


def incomplete_decisions(root: Path) -> list[str]:
    found = []
    for name, text in decisions(root):
        file = re.fullmatch(r"docs/adr/(\d{4})-[a-z0-9-]+\.md", name)
        heading = re.match(r"# (\d+)\. \S", text)
        status = re.search(r"^- Status: (.+)$", text, re.MULTILINE)
        if file is None or heading is None or int(file[1]) != int(heading[1]):
            found.append(f"{name}: file name and heading")
        if status is None or not status[1].startswith(STATUSES):
            found.append(f"{name}: status")
        if re.search(r"^- Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE) is None:
            found.append(f"{name}: date")
        sections = tuple(re.findall(r"^## (.+)$", text, re.MULTILINE))
        if sections != SECTIONS:
            found.append(f"{name}: sections")
    return found


def repeated_numbers(root: Path) -> list[str]:
    numbers = [name.removeprefix("docs/adr/")[:4] for name, _ in decisions(root)]
    return sorted({number for number in numbers if numbers.count(number) > 1})


def unlisted_decisions(root: Path) -> list[str]:
    index = root / "docs/adr/README.md"
    listed = LINK.findall(text_of(index))
    return [name for name, _ in decisions(root) if name.removeprefix("docs/adr/") not in listed]


def missing_files(root: Path) -> list[str]:
    """Paths of ours in backticks, in `docs/` and on the security page."""
    return [
        f"{name}: {named}"
        for name, text in pages(root)
        if name.startswith("docs/") or name == "SECURITY.md"
        for named in CODE.findall(FENCE.sub("", text))
        if OUR_PATH.fullmatch(named) and not (root / named).exists()
    ]


def unknown_citations(root: Path) -> list[str]:
    """`decision 7` and `T8` in a comment lead to a page."""
    known = {int(name.removeprefix("docs/adr/")[:4]) for name, _ in decisions(root)}
    table = root / "docs/adr/0021-tensions-inside-the-specification.md"
    known_rows = re.findall(r"^\| (T\d+) \|", text_of(table), re.MULTILINE)
    found = []
    for name, text in sources(root):
        found += [f"{name}: decision {n}" for n in DECISION.findall(text) if int(n) not in known]
        found += [
            f"{name}: {tension}" for tension in TENSION.findall(text) if tension not in known_rows
        ]
    return found


def places_of_this_machine(root: Path) -> list[str]:
    return [
        f"{name}: {match.group()}"
        for name, text in pages(root)
        for pattern in (REGISTRY, MACHINE_PATH)
        for match in pattern.finditer(text)
    ]


def unnamed_rooms(root: Path) -> list[str]:
    """Packages that the page of the house does not name."""
    text = text_of(root / "docs/architecture.md")
    rooms = [
        path.parent.name
        for package in ("csms", "pki")
        for path in sorted((root / package).glob("*/__init__.py"))
    ]
    return [room for room in rooms if f"  {room}/ " not in text]


CHECKS = (
    dead_links,
    incomplete_decisions,
    repeated_numbers,
    unlisted_decisions,
    missing_files,
    unknown_citations,
    places_of_this_machine,
    unnamed_rooms,
)
GOOD = """# 1. A good page

- Status: accepted
- Date: 2026-11-23

## Context

See [the index](README.md#decisions) and `csms/room/door.py`.

## Decision

## Consequences

## Alternatives

## Held by
"""
FIRST = "docs/adr/0001-good.md"
# What is planted -> which check must find it. A file, its text, and part of the finding.
FAULTS: tuple[tuple[Callable[[Path], list[str]], str, str, str], ...] = (
    (dead_links, "README.md", "[gone](docs/gone.md)", "docs/gone.md"),
    (dead_links, "README.md", "[gone](docs/adr/README.md#nowhere)", "#nowhere"),
    (incomplete_decisions, FIRST, GOOD.replace("- Status: accepted\n", ""), "status"),
    (incomplete_decisions, FIRST, GOOD.replace("accepted", "perhaps"), "status"),
    (incomplete_decisions, FIRST, GOOD.replace("2026-11-23", "soon"), "date"),
    (incomplete_decisions, FIRST, GOOD.replace("# 1.", "# 2."), "heading"),
    (incomplete_decisions, FIRST, GOOD.replace("## Alternatives\n", ""), "sections"),
    (incomplete_decisions, "docs/adr/notes.md", GOOD, "file name"),
    (repeated_numbers, "docs/adr/0001-again.md", GOOD, "0001"),
    (unlisted_decisions, "docs/adr/0002-hidden.md", GOOD, "0002-hidden.md"),
    (missing_files, FIRST, GOOD.replace("door.py", "window.py"), "csms/room/window.py"),
    (missing_files, FIRST, GOOD.replace("csms/room/door.py", "policies/no.hcl"), "policies/no.hcl"),
    (unknown_citations, "csms/room/door.py", "# decision 9", "decision 9"),
    (unknown_citations, "csms/room/door.py", "# T77", "T77"),
    (places_of_this_machine, "README.md", "see https://" + "pypi" + ".org/x", "pypi"),
    (places_of_this_machine, "README.md", "look in /" + "home/somebody", "/home/s"),
    (unnamed_rooms, "csms/cellar/__init__.py", "", "cellar"),
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository in which nothing is wrong."""
    write(
        tmp_path,
        "README.md",
        "# A house\n\n[Decisions](docs/adr/README.md), [web](https://a.example).\n",
    )
    write(tmp_path, "docs/adr/README.md", "# Decisions\n\n[1](0001-good.md)\n")
    write(tmp_path, FIRST, GOOD)
    write(tmp_path, "docs/architecture.md", "```\ncsms/\n  room/   a room\n```\n")
    write(tmp_path, "csms/room/__init__.py", "")
    write(tmp_path, "csms/room/door.py", "# decision 1\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_is_wrong_with_the_pages(check: Callable[[Path], list[str]]) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_repository_passes(small: Path, check: Callable[[Path], list[str]]) -> None:
    assert check(small) == []


@pytest.mark.parametrize(("check", "name", "text", "found"), FAULTS)
def test_a_fault_is_found(
    small: Path, check: Callable[[Path], list[str]], name: str, text: str, found: str
) -> None:
    write(small, name, text)
    assert found in "\n".join(check(small))


def test_every_check_has_a_fault_that_it_finds() -> None:
    assert {check for check, *_ in FAULTS} == set(CHECKS)


def test_the_pages_are_there_to_be_checked() -> None:
    """A glob that matches nothing proves nothing."""
    names = {name for name, _ in pages(ROOT)}
    assert {"README.md", "SECURITY.md", "CHANGELOG.md", "docs/architecture.md"} <= names
    assert len(list(decisions(ROOT))) >= 21


def test_the_licence_is_apache_2_0_word_for_word() -> None:
    text = (ROOT / "LICENSE").read_bytes()
    assert hashlib.sha256(text).hexdigest() == LICENCE_SHA256
    assert 'license = "Apache-2.0"' in text_of(ROOT / "pyproject.toml")


def test_the_changelog_begins_with_what_is_unreleased_and_its_security() -> None:
    headings = re.findall(r"^#{2,3} .+$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[:2] == ["## [Unreleased]", "### Security"]
