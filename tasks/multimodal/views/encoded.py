"""Colour, shape and dash of what a chart of the page tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import altair as alt
import pandas as pd

from tasks.multimodal.views.board import FUSED

GREY = "#8A8A8A"
"""Text and marks that can be read on light and dark ground."""
WHOLE, HALF = 480, 230
"""Pixels that a legend has in a narrow window, below a chart of the page's width and below one of two beside each other."""
_LABEL, _SYMBOL, _LINE = 150, 30, 18


class Palette(NamedTuple):
    """What the dashboard draws with, the last colour a grey."""

    colours: Sequence[str]
    shapes: Sequence[str]
    dashes: Sequence[Sequence[int]]


class Encoded(NamedTuple):
    """A colour, shape and dash for each name of a field."""

    field: str
    names: tuple[str, ...]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]
    dashes: tuple[Sequence[int], ...]

    @property
    def colour(self) -> alt.Color:
        return alt.Color(f"{self.field}:N", scale=self._scale(self.colours))

    @property
    def shape(self) -> alt.Shape:
        return alt.Shape(f"{self.field}:N", scale=self._scale(self.shapes))

    @property
    def dash(self) -> alt.StrokeDash:
        return alt.StrokeDash(f"{self.field}:N", scale=self._scale(self.dashes))

    def legend(self, width: int, orient: Literal["top", "bottom"] = "bottom") -> alt.Legend:
        """In as many columns as there is room for: what is outside of the width is cut off."""
        return alt.Legend(
            title=None, orient=orient, columns=self._columns(width), labelLimit=_LABEL
        )

    def legend_height(self, width: int) -> int:
        return _LINE * -(-len(self.names) // self._columns(width))

    def _columns(self, width: int) -> int:
        # about, of the font's wider letters
        widest = max((min(_LABEL, 8 * len(name)) for name in self.names), default=0)
        return max(1, min(4, width // (widest + _SYMBOL)))

    def _scale(self, values: Sequence[Any]) -> alt.Scale:
        return alt.Scale(domain=list(self.names), range=list(values))


def of_rows(names: Sequence[str], palette: Palette) -> Encoded:
    return _made("row", names, palette.colours, palette)


def of_parts(names: Sequence[str], palette: Palette) -> Encoded:
    """Of modalities and the fused logits, which are grey wherever they are, with a full line."""
    free = _cycled(palette.colours[:-1], len(names))
    made = _made("part", names, free, palette)
    if FUSED not in names:
        return made
    place = list(names).index(FUSED)
    # the full line and its shape are the fused logits'; the modalities have those that come next
    dashes = list(_cycled([one for one in palette.dashes if list(one) != [1, 0]], len(names)))
    colours = (*free[:place], GREY, *free[place : len(names) - 1])
    dashes[place:] = [[1, 0], *dashes[place : len(names) - 1]]
    return made._replace(colours=colours, dashes=tuple(dashes))


def frame(rows: Sequence[Any], kind: Any) -> pd.DataFrame:
    """A line for each of the named tuples `rows` of type `kind`, with its columns where there is none."""
    return pd.DataFrame([one._asdict() for one in rows], columns=list(kind._fields))


def _made(field: str, names: Sequence[str], colours: Sequence[str], palette: Palette) -> Encoded:
    count = len(names)
    return Encoded(
        field,
        tuple(names),
        _cycled(colours, count),
        _cycled(palette.shapes, count),
        _cycled(palette.dashes, count),
    )


def _cycled(values: Sequence[Any], count: int) -> tuple[Any, ...]:
    return tuple(values[place % len(values)] for place in range(count))
