"""What the commands print: tables for people, JSON for scripts, one line for errors.

Answers go to standard output, everything else to standard error. Text that once came from a
station is shown without control characters and is never read as markup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from csms.api_client.session import Access, ApiFailed, ApiSession

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")]
DataDir = Annotated[Path, typer.Option(envvar="CSMS_DATA_DIR", help="Data directory of `csms up`.")]
Url = Annotated[
    str | None, typer.Option(envvar="CSMS_URL", help="The API, instead of bootstrap's.")
]
ClientFile = Annotated[
    Path | None,
    typer.Option(envvar="CSMS_CLIENT_FILE", help="OAuth client, instead of bootstrap's."),
]
Root = Annotated[Path | None, typer.Option(help="CSMS root certificate, instead of bootstrap's.")]
_FAILED: Final = 1
# What people copy: never folded, however narrow the terminal.
_WHOLE: Final = frozenset({"id", "client_id", "identity", "serial", "serial_number", "password"})
_PIPED: Final = 1000
_GAP: Final = 2
_FOLDED: Final = 8  # no other column gets narrower
_FRACTION: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Connection:
    """How to get a session; made from the options before the sub-command."""

    open: Callable[[], ApiSession]


def connect(
    context: typer.Context,
    data_dir: DataDir = Path("var"),
    url: Url = None,
    client_file: ClientFile = None,
    root: Root = None,
) -> None:
    """The callback of every sub-app."""

    def open_session() -> ApiSession:
        return ApiSession(Access.find(data_dir, url=url, client_file=client_file, root=root))

    context.obj = Connection(open_session)


@contextmanager
def session(context: typer.Context) -> Iterator[ApiSession]:
    """The API for one command; what goes wrong becomes one line and exit code 1."""
    try:
        with context.obj.open() as opened:
            yield opened
    except ApiFailed as error:
        complain(str(error))
        raise typer.Exit(_FAILED) from None


def complain(message: str) -> None:
    typer.echo(f"csms: {plain(message)}", err=True)


def example(line: str) -> str:
    """The epilog of a command's help."""
    return f"Example: {line}"


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=True))


def print_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """One row per item, one column per field; a field that is absent or null stays empty."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    cells = [[cell(row.get(column)) for column in columns] for row in rows]
    needed = 0
    for index, column in enumerate(columns):
        widest = max((cell_len(line[index]) for line in cells), default=0)
        whole = column in _WHOLE
        least = widest if whole else min(widest, _FOLDED)
        needed += least + _GAP
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=whole, min_width=least)
    for line in cells:
        table.add_row(*map(Text, line))
    # What is whole may be wider than the terminal, which then breaks the line.
    _console(needed).print(table, crop=False)


def room_for_columns() -> int:
    """How wide a table may be."""
    return _console().width


def print_facts(facts: Mapping[str, Any]) -> None:
    """Names and values, one to a line."""
    width = max(map(len, facts), default=0) + 2
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' '):<{width}}{cell(value)}".rstrip())


def cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(cell(one) for one in value)
        case dict():
            return plain(json.dumps(value))
        case str() if (moment := _FRACTION.fullmatch(value)) is not None:
            return "".join(moment.groups())
    return plain(str(value))


def plain(text: str) -> str:
    """Without anything that a terminal would act on."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _console(least: int = 0) -> Console:
    console = Console(highlight=False, markup=False)
    # Piped output is for grep: lines as long as they are.
    width = console.width if console.is_terminal else _PIPED
    return Console(highlight=False, markup=False, width=max(width, least))
