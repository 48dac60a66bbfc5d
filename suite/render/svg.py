"""Dot charts with intervals, as inline SVG.

Written here rather than by a plotting library: no library's chart follows the page's light and dark
colours without a script, and 300 boards are drawn in a second. Colours are classes of the page's style.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from suite.store.row import Cell

MOST = 60
"""Rows drawn; a board's further rows are in its table alone."""
WIDTH, LABELS, TOP, BOTTOM, RIGHT = 760, 230, 6, 44, 24
ROW, LANE = 12, 12
"""Height of a row: `ROW` and a `LANE` per series, in pixels."""
LABEL_LETTERS = 30
LARGEST = 1e100


class Series(NamedTuple):
    """What is drawn in one colour and shape: a cell per row.

    `strong` says which rows are drawn filled; the others are hollow.
    """

    name: str
    cells: Sequence[Cell]
    strong: Sequence[bool]


def dots(
    title: str, labels: Sequence[str], series: Sequence[Series], scale: float, unit: str
) -> Markup:
    """A row per label, a dot and its interval per series. `scale` multiplies values (100: percent).

    Empty where there is nothing to draw. All texts are escaped here.
    """
    labels = labels[:MOST]
    values = [
        value * scale
        for line in series
        for cell in line.cells[:MOST]
        for value in (cell.mean, cell.low, cell.high)
        if value is not None and _drawable(value)
    ]
    if not values:
        return Markup()
    low, high, step = _axis(min(values), max(values))
    tall = ROW + LANE * len(series)
    base = TOP + tall * len(labels)
    height = base + BOTTOM

    def x(value: float) -> str:
        return f"{LABELS + (value - low) / (high - low) * (WIDTH - LABELS - RIGHT):.1f}"

    # everything but labels, title and unit is made of our own numbers
    parts = [Markup("<title>{}</title>").format(title)]
    for number in range(round((high - low) / step) + 1):
        tick = low + number * step
        parts.append(
            Markup(
                '<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
                '<text class="tick" x="{0}" y="{3}" text-anchor="middle">{4}</text>'
            ).format(x(tick), TOP, base, base + 16, f"{tick:.6g}")
        )
    parts.append(
        Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (LABELS + WIDTH - RIGHT) / 2, base + 36, unit
        )
    )
    for row, label in enumerate(labels):
        top = TOP + tall * row
        short = label if len(label) <= LABEL_LETTERS else label[: LABEL_LETTERS - 1] + "…"
        parts.append(
            Markup('<text class="label" x="{}" y="{}" text-anchor="end">{}</text>').format(
                LABELS - 10, f"{top + tall / 2 + 4:.1f}", short
            )
        )
        for place, line in enumerate(series):
            y = top + ROW / 2 + LANE * (place + 0.5)
            parts.append(_mark(line, row, place, y, x, scale))
    return Markup(
        '<svg role="img" viewBox="0 0 {w} {h}" width="{w}" height="{h}" class="chart">{body}</svg>'
    ).format(w=WIDTH, h=height, body=Markup().join(parts))


def _drawable(value: float) -> bool:
    # beyond, differences of values overflow; only a forged record has such
    return abs(value) < LARGEST


def _mark(line: Series, row: int, place: int, y: float, x, scale: float) -> Markup:  # type: ignore[no-untyped-def]
    cell = line.cells[row]
    mean = cell.mean
    if mean is None or not _drawable(mean):
        return Markup()
    low, high = cell.low, cell.high
    text = f"{line.name}: {mean * scale:.4g}"
    whisker = Markup()
    if low is not None and high is not None and _drawable(low) and _drawable(high):
        text += f" [{low * scale:.4g}, {high * scale:.4g}]"
        whisker = Markup('<line class="whisker" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
            x(low * scale), x(high * scale), y=f"{y:.1f}"
        )
    at = x(mean * scale)
    kind = f"s{place % 4}{'' if line.strong[row] else ' hollow'}"
    return Markup('<g class="{}"><title>{}</title>{}{}</g>').format(
        kind, text, whisker, _shape(place, float(at), y)
    )


def _shape(place: int, x: float, y: float) -> Markup:
    """A shape of its own for every series: colour alone does not reach everybody."""
    if place % 4 == 1:
        return Markup('<rect x="{:.1f}" y="{:.1f}" width="7" height="7"/>').format(x - 3.5, y - 3.5)
    if place % 4 == 2:
        points = f"{x:.1f},{y - 4.5:.1f} {x + 4.5:.1f},{y + 3.5:.1f} {x - 4.5:.1f},{y + 3.5:.1f}"
        return Markup('<polygon points="{}"/>').format(points)
    if place % 4 == 3:
        points = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
        return Markup('<polygon points="{}"/>').format(points)
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4"/>').format(x, y)


def _axis(low: float, high: float) -> tuple[float, float, float]:
    """(first tick, last tick, step) around the values, with about six ticks at 1, 2 or 5 times 10^k."""
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        pad = abs(low) * 0.05 if abs(low) > 1e-9 else 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 5) if raw <= m * power), 10 * power)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


KEYS = tuple(_shape(place, 0.0, 0.0) for place in range(4))
"""The shapes around (0, 0), for a legend."""
