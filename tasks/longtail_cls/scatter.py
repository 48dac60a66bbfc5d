"""The chart and the tables of the page Geometry: runs by a measure of their last layer and by a score. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from suite.boards.correlations import Correlated
from suite.render.table import Column, Sheet

FAR = 20.0
"""Where the largest value is so many times the smallest, an axis is logarithmic."""
OTHERS = "other rows"
UNDECIDED, NONE = "undecided", "no interval"
GREY = "#8A8A8A"


class Dot(NamedTuple):
    """A run: its row, as the chart tells rows apart (`OTHERS`), and by name; x, and the score in percent or as it is."""

    told: str
    row: str
    seed: int
    x: float
    y: float


class Style(NamedTuple):
    """Colours and shapes of the rows that are told apart, in their order, and columns of the legend."""

    names: Sequence[str]
    colours: Sequence[str]
    shapes: Sequence[str]
    columns: int = 4


def dots(
    one: Correlated, names: Mapping[int, str], told: Sequence[str], percent: bool
) -> list[Dot]:
    """The runs of rows that the page names; those of rows that are told apart come last, and so lie on top."""
    made = [
        Dot(
            names[p.row_id] if names[p.row_id] in told else OTHERS,
            names[p.row_id],
            p.seed,
            p.x,
            100 * p.y if percent else p.y,
        )
        for p in one.points
        if p.row_id in names
    ]
    return sorted(made, key=lambda dot: dot.told != OTHERS)


def logarithmic(values: Sequence[float]) -> bool:
    """Whether an axis of these values has to be: all above 0, and far apart."""
    return bool(values) and min(values) > 0 and max(values) > FAR * min(values)


def scale(values: Sequence[float]) -> alt.Scale:
    """With room on either side: no mark is cut."""
    low, high = min(values), max(values)
    if logarithmic(values):
        more = (high / low) ** 0.06
        return alt.Scale(type="log", domain=[low / more, high * more], nice=False)
    more = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return alt.Scale(zero=False, domain=[low - more, high + more], nice=False)


def scatter(runs: Sequence[Dot], style: Style, x_title: str, y_title: str) -> Any:
    """A point a run, grey where its row is not told apart; hollow, since runs of two rows may be the same."""
    data = pd.DataFrame(runs, columns=list(Dot._fields))
    shown = [*style.names, *([OTHERS] if any(dot.told == OTHERS for dot in runs) else [])]
    colours = [*style.colours[: len(style.names)], GREY][: len(shown)]
    shapes = [*style.shapes[: len(style.names)], "circle"][: len(shown)]
    legend = alt.Legend(title=None, orient="bottom", columns=style.columns, labelLimit=320)
    return (
        alt.Chart(data)
        .mark_point(filled=False, size=80, strokeWidth=2.2)
        .encode(
            x=alt.X(
                "x:Q",
                title=x_title,
                scale=scale([dot.x for dot in runs]),
                axis=alt.Axis(tickCount=6),
            ),
            y=alt.Y(
                "y:Q",
                title=y_title,
                scale=scale([dot.y for dot in runs]),
                axis=alt.Axis(tickCount=6),
            ),
            color=alt.Color("told:N", scale=alt.Scale(domain=shown, range=colours), legend=legend),
            shape=alt.Shape("told:N", scale=alt.Scale(domain=shown, range=shapes), legend=legend),
            opacity=alt.condition(f"datum.told == '{OTHERS}'", alt.value(0.6), alt.value(1)),
            tooltip=[
                alt.Tooltip("row:N"),
                alt.Tooltip("seed:Q"),
                alt.Tooltip("x:Q", title=x_title, format=".4g"),
                alt.Tooltip("y:Q", title=y_title, format=".4g"),
            ],
        )
        .properties(height=400 + 20 * -(-len(shown) // style.columns))
    )


def sentence(one: Correlated) -> str:
    """The correlation in a line."""
    if one.found is None:
        return one.words
    rho = one.found
    text = f"Spearman's rho {rho.rho:+.2f}"
    if rho.low is not None and rho.high is not None:
        text += f" (95 % interval {rho.low:+.2f} to {rho.high:+.2f}, by the jackknife over rows)"
    return f"{text}, over {rho.runs} runs of {rho.rows} rows: {one.words}."


def correlation_sheet(title: str, found: Sequence[Correlated]) -> Sheet:
    """A line a metric."""
    beside = next((one.beside for one in found if one.beside), None)
    columns = [
        Column("metric"),
        Column("rows", "integer"),
        Column("runs", "integer"),
        Column("rho", "number", "Spearman's rank correlation over runs."),
        Column("low", "number"),
        Column("high", "number"),
        Column("score is", "text", "Where the metric is higher."),
    ]
    if beside:
        columns += [
            Column("gain", "number", f"|rho| less that of {beside} with the same score."),
            Column("gain low", "number"),
            Column("gain high", "number"),
            Column("predicts", "text", f"As {beside} does, or better, or worse."),
        ]
    rows: list[list[Any]] = []
    for one in found:
        rho, gain = one.found, one.gain
        line: list[Any] = [one.by]
        if rho is None:
            line += [None] * 5 + [NONE]
        else:
            line += [rho.rows, rho.runs, *_rounded(rho.rho, rho.low, rho.high)]
            line.append(_side(rho.low, rho.high, "higher", "lower"))
        if beside and gain is None:
            line += [None] * 3 + [NONE]
        elif gain is not None:
            line += _rounded(gain.mean, gain.low, gain.high)
            line.append(_side(gain.low, gain.high, "better", "worse"))
        rows.append(line)
    notes = ["low, high: 95 % interval by the jackknife over rows, all replicates of a row at once"]
    if beside:
        notes.append(f"gain: |rho| less that of {beside} with the same score")
    return Sheet(title, tuple(columns), rows, notes=tuple(notes))


def _rounded(*values: float | None) -> list[float | None]:
    # intervals are wide: more digits would say nothing
    return [None if value is None else round(value, 2) for value in values]


def _side(low: float | None, high: float | None, above: str, below: str) -> str:
    if low is None or high is None:
        return NONE
    return above if low > 0 else below if high < 0 else UNDECIDED


def run_sheet(title: str, one: Correlated, names: Mapping[int, str]) -> Sheet:
    """A line a run."""
    columns = (
        Column("row"),
        Column("run", "run"),
        Column("seed", "integer"),
        Column(one.by, "number"),
        Column(one.of, "number"),
    )
    rows = [(names[p.row_id], p.run_id, p.seed, p.x, p.y) for p in one.points if p.row_id in names]
    return Sheet(title, columns, rows)
