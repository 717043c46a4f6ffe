"""`python -m bench`: measure the figures, print them beside their goals, write the document.

Nothing is asserted: a figure that misses its goal is shown as such. The exit code says only whether
everything could be measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from bench import (
    certificates_per_second,
    heartbeat_per_core,
    mtls_connect_per_core,
    rss_per_idle_station_kib,
    start_seconds,
)
from bench.figures import Figure, Goal, Measured, Scale, Side, measure
from bench.measuring import CPU_TICK, ROOT, MeasurementFailed, cores
from bench.plot import number, svg
from bench.results import decode, document, encode, this_machine

FIGURES: Final[tuple[Figure, ...]] = (
    mtls_connect_per_core.FIGURE,
    rss_per_idle_station_kib.FIGURE,
    heartbeat_per_core.FIGURE,
    certificates_per_second.FIGURE,
    start_seconds.FIGURE,
)
LATEST: Final = ROOT / "bench" / "results" / "latest.json"

# As wide as it needs: a result in a log file is read as well as one on a terminal.
out = Console(width=None if Console().is_terminal else 132, highlight=False)


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Measure this figure; may be repeated.")
    ] = None,
    *,
    full: Annotated[bool, typer.Option(help="Larger sizes: 5,000 stations, longer runs.")] = False,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds per figure.")] = 5,
    output: Annotated[Path, typer.Option(help="Where the result is written.")] = LATEST,
    plot: Annotated[
        Path | None, typer.Option(help="Draw an existing result as SVG beside it; measure nothing.")
    ] = None,
) -> None:
    """Measure each figure beside its raw limit and a plain central system, in the same run.

    Example: python -m bench --only heartbeat_per_core --rounds 9
    """
    if plot is not None:
        plot.with_suffix(".svg").write_text(svg(decode(plot.read_bytes())), encoding="utf-8")
        return
    chosen = _chosen(only)
    machine = this_machine()
    server_core, load_core = cores()
    _say_how(server_core, load_core)
    measured = [
        _measured(figure, rounds=rounds, full=full, pins=(server_core, load_core))
        for figure in chosen
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(encode(document(machine, measured)))
    out.print(table(measured))
    out.print(f"written to {output}")


def _chosen(only: Sequence[str] | None) -> list[Figure]:
    names = {figure.name for figure in FIGURES}
    if unknown := sorted(set(only or ()) - names):
        raise typer.BadParameter(f"no figure {unknown[0]}; there are {', '.join(sorted(names))}")
    return [figure for figure in FIGURES if not only or figure.name in only]


def _say_how(server_core: int | None, load_core: int | None) -> None:
    where = (
        "not pinned: one core, or no taskset"
        if server_core is None
        else f"servers on core {server_core}, stations on core {load_core}"
    )
    out.print(f"{where}; per core = per second of the server's CPU, in ticks of {CPU_TICK:.2f} s")


def _measured(
    figure: Figure, *, rounds: int, full: bool, pins: tuple[int | None, int | None]
) -> Measured:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as scratch,
        out.status(f"{figure.name} …") as status,
    ):
        scale = Scale(
            rounds=rounds,
            full=full,
            scratch=Path(scratch),
            server_core=pins[0],
            load_core=pins[1],
        )
        try:
            for known in measure(figure, scale):
                measured = known
                status.update(f"{figure.name}: round {known.rounds}")
        except MeasurementFailed as error:
            out.print(f"{figure.name}: {error}", markup=False)
            raise typer.Exit(1) from error
    out.print(f"{figure.name}: {_shown(measured.value(Side.OURS))} {figure.unit}")
    return measured


# --- the printed result


def table(measured: Sequence[Measured]) -> Table:
    made = Table(title="ours, beside the raw limit and a plain central system of the same run")
    made.add_column("figure", no_wrap=True)
    for column in ("ours", "±", "raw limit", "of raw", "plain", "of plain"):
        made.add_column(column, justify="right")
    made.add_column("goal")
    for each in measured:
        made.add_row(
            each.figure.name,
            f"{_shown(each.value(Side.OURS))} {each.figure.unit.partition(' of ')[0]}",
            _percent(each.spread(Side.OURS)),
            _shown(each.value(Side.RAW_LIMIT)),
            _times(each.ratio(Side.RAW_LIMIT)),
            _shown(each.value(Side.PLAIN)),
            _times(each.ratio(Side.PLAIN)),
            "; ".join(verdicts(each)),
        )
    return made


def verdicts(measured: Measured) -> list[str]:
    """Each part of the goal with what became of it."""
    goal: Goal = measured.figure.goal
    ours = measured.value(Side.OURS)
    of_raw, of_plain = measured.ratio(Side.RAW_LIMIT), measured.ratio(Side.PLAIN)
    parts = [
        ("≥", goal.at_least, ours, ""),
        ("≤", goal.at_most, ours, ""),
        ("≥", goal.of_raw, of_raw, " of raw"),
        ("≥", goal.of_plain, of_plain, " of plain"),
    ]
    return [
        f"{sign} {target:g}{of}: {_verdict(sign, target, value)}"
        for sign, target, value, of in parts
        if target is not None
    ]


def _verdict(sign: str, target: float, value: float | None) -> str:
    if value is None:
        return "not measured"
    reached = value >= target if sign == "≥" else value <= target
    return "reached" if reached else "missed"


def _shown(value: float | None) -> str:
    return "-" if value is None else number(value)


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


if __name__ == "__main__":
    typer.run(main)
