"""A result document as a picture: one panel per figure, a bar per side, its rounds as a whisker.

Hand-made SVG: no library, no script, readable as text. Every panel has a scale of its own, from
zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from bench.results import Document, FigureRow

_WIDTH: Final = 720
_LABEL: Final = 92
_VALUE: Final = 92  # room behind the longest bar
_BAR: Final = 18
_GAP: Final = 6
_TITLE: Final = 26
_PANEL_GAP: Final = 20
_MARGIN: Final = 14
_SIDES: Final = (
    ("ours", "ours", "#1f6f8b"),
    ("raw_limit", "raw limit", "#9aa5ad"),
    ("plain", "plain", "#d08c3f"),
)
_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#222}"
    ".t{font-weight:600}.n{fill:#555;font-size:12px}.w{stroke:#222;stroke-width:1.5}"
)


def svg(document: Document) -> str:
    panels: list[str] = []
    top = _MARGIN
    for row in document.figures:
        bars = _bars(row)
        panels.extend(_panel(row, bars, top))
        top += _TITLE + len(bars) * (_BAR + _GAP) + _PANEL_GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img">',
            "<title>Bench results: ours, the raw limit, a plain central system</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{_WIDTH}" height="{top}" fill="#fff"/>',
            *panels,
            "</svg>",
            "",
        ]
    )


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _bars(row: FigureRow) -> list[tuple[str, str, float, list[float]]]:
    values = {"ours": row.ours, "raw_limit": row.raw_limit, "plain": row.plain}
    return [
        (label, colour, value, row.samples[side])
        for side, label, colour in _SIDES
        if (value := values[side]) is not None
    ]


def _panel(
    row: FigureRow, bars: list[tuple[str, str, float, list[float]]], top: int
) -> Iterator[str]:
    yield (
        f'<text class="t" x="{_MARGIN}" y="{top + 14}">{escape(row.name)}'
        f'<tspan class="n" dx="8">{escape(row.unit)}, median of {row.rounds}</tspan></text>'
    )
    longest = max(max(samples) for *_, samples in bars)
    scale = (_WIDTH - _LABEL - _VALUE - 2 * _MARGIN) / longest if longest > 0 else 0.0
    left = _MARGIN + _LABEL
    for index, (label, colour, value, samples) in enumerate(bars):
        y = top + _TITLE + index * (_BAR + _GAP)
        middle = y + _BAR / 2
        least, most = left + min(samples) * scale, left + max(samples) * scale
        text_x = max(most, left + value * scale) + 8
        yield f'<text x="{left - 8}" y="{middle + 4:.1f}" text-anchor="end">{label}</text>'
        yield (
            f'<rect x="{left}" y="{y}" width="{value * scale:.1f}" height="{_BAR}" '
            f'fill="{colour}"/>'
        )
        yield (
            f'<line class="w" x1="{least:.1f}" x2="{most:.1f}" y1="{middle:.1f}" '
            f'y2="{middle:.1f}"/>'
        )
        yield f'<text class="n" x="{text_x:.1f}" y="{middle + 4:.1f}">{number(value)}</text>'
