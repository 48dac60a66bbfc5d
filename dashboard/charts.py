"""How charts look: one palette, shapes beside colours, no data row limit.

Names and values travel as data, never as field names: a field's name is read as an expression.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import streamlit as st

from dashboard.palette import PALETTE
from suite.base.text import clipped, plain

alt.data_transformers.disable_max_rows()

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [10, 4], [1, 3], [4, 1], [6, 2, 1, 2])
GROUP_COLOURS = {"head": PALETTE[0], "medium": PALETTE[4], "tail": PALETTE[2]}
"""The same in every chart and table; a further group takes the next free colour."""

MOST_SERIES = len(PALETTE)
"""Lines or sorts of points that one chart tells apart."""


def colour(field: str, names: Sequence[str], title: str | None = None, **more: Any) -> alt.Color:
    """A colour a name, in their order."""
    return alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=list(names), range=_cycled(PALETTE, len(names))),
        title=title,
        **more,
    )


def group_colour(field: str, names: Sequence[str], title: str | None = None) -> alt.Color:
    """The colour of each group of classes."""
    free = [one for one in PALETTE if one not in GROUP_COLOURS.values()]
    chosen = [GROUP_COLOURS.get(name, free[place % len(free)]) for place, name in enumerate(names)]
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(names), range=chosen), title=title)


def shape(field: str, names: Sequence[str], title: str | None = None) -> alt.Shape:
    """A shape a name: colour is never the only thing that tells two apart."""
    return alt.Shape(
        f"{field}:N",
        scale=alt.Scale(domain=list(names), range=_cycled(SHAPES, len(names))),
        title=title,
    )


def dash(field: str, names: Sequence[str], title: str | None = None) -> alt.StrokeDash:
    """A kind of line a name."""
    return alt.StrokeDash(
        f"{field}:N",
        scale=alt.Scale(domain=list(names), range=_cycled(DASHES, len(names))),
        title=title,
    )


def name(text: object) -> str:
    """A name as charts show it."""
    return clipped(plain(text), 40)


def legend_columns(names: Sequence[str], width: int, limit: int = 320) -> int:
    """Columns of a legend that has `width` pixels, 1 to 4: what is outside of them is cut off. `limit`: of a label."""
    # about, of the font's wider letters, and the symbol
    widest = max((min(limit, 7 * len(one)) for one in names), default=0) + 30
    return max(1, min(4, width // widest))


def show(chart: Any, key: str, alt_text: str) -> None:
    """The chart over the page's width; `alt_text` says in one line what can be seen."""
    st.altair_chart(chart, key=key, alt=plain(alt_text))


def _cycled(values: Sequence[Any], count: int) -> list[Any]:
    return [values[place % len(values)] for place in range(count)]
