"""What the commands print: tables for people, JSON for scripts, one line for errors.

Answers go to standard output, everything else to standard error. Text that once came from a
station is shown without control characters and is never read as markup.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
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
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row.get(column))) for column in columns))
    _console().print(table)


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
    return plain(str(value))


def plain(text: str) -> str:
    """Without anything that a terminal would act on."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    # Piped output is for grep: lines as long as they are.
    return console if console.is_terminal else Console(highlight=False, markup=False, width=1000)
