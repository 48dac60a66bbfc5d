"""Pictures of the page of robustness: AUC by severity or corruption, heat map, clean against corrupted AUC.

Values are in percent, and None where undefined; names are as the page shows them, each once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from tasks.robust_auc.conditions import CLEAN
from tasks.robust_auc.levels import Line

GREY = "#8A8A8A"
"""Text and marks that can be read on light and dark ground."""
_NONE = "#B8B8B8"
_ACROSS = 12
_BESIDE = 0.035
"""Of a severity: how far the intervals of two rows stand apart."""


class Encoded(NamedTuple):
    """Colour, shape and dash of the rows."""

    colour: alt.Color
    shape: alt.Shape
    dash: alt.StrokeDash


class Point(NamedTuple):
    """A row's mean at a condition, with its interval over seeds."""

    row: str
    where: str
    severity: int
    mean: float | None
    low: float | None
    high: float | None
    n: int


class Spot(NamedTuple):
    """A row's clean and corrupted AUCs, with intervals over seeds of the clean AUC and the mean."""

    row: str
    clean: float
    clean_low: float | None
    clean_high: float | None
    mean: float
    mean_low: float | None
    mean_high: float | None
    pooled: float | None
    n: int


class Cell(NamedTuple):
    """A cell of the heat map. `apart`: the interval of the difference leaves 0 out."""

    row: str
    column: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    apart: bool = False


_LEGEND: dict[str, Any] = {"orient": "bottom", "columns": 3, "labelLimit": 300}


def by_severity(points: Sequence[Point], rows: Sequence[str], seen: Encoded, what: str) -> Any:
    """A line a row from the clean images to the highest severity."""
    beside = {name: k - (len(rows) - 1) / 2 for k, name in enumerate(rows)}
    data = _frame(points, Point)
    data["x"] = [p.severity + _BESIDE * beside[p.row] for p in points]
    levels = sorted({p.severity for p in points})
    x = alt.X(
        "x:Q",
        title="severity",
        scale=alt.Scale(domain=[min(levels) - 0.25, max(levels) + 0.25], nice=False),
        axis=alt.Axis(
            values=levels,
            grid=False,
            labelExpr=f"datum.value == {CLEAN} ? 'clean' : format(datum.value, 'd')",
        ),
    )
    scale = _scale(points)
    y = alt.Y("mean:Q", title=f"{what} / %", scale=scale)
    base = alt.Chart(data).transform_filter("isValid(datum.mean)")
    legend = alt.Legend(**_LEGEND, symbolType="stroke", symbolSize=500)
    lines = base.mark_line(strokeWidth=2.2).encode(
        x=x, y=y, color=seen.colour.legend(legend), strokeDash=seen.dash.legend(legend)
    )
    rules = base.mark_rule(strokeWidth=1.5, opacity=0.6, clip=True).encode(
        x=x,
        y=alt.Y("low:Q", title=f"{what} / %", scale=scale),
        y2="high:Q",
        color=seen.colour.legend(None),
    )
    marks = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=x,
        y=y,
        color=seen.colour.legend(None),
        shape=seen.shape.legend(None),
        tooltip=_about("where"),
    )
    drawn = alt.layer(rules, lines, marks).resolve_scale(
        color="independent", strokeDash="independent", shape="independent"
    )
    return drawn.properties(height=400)


def by_corruption(
    points: Sequence[Point], rows: Sequence[str], order: Sequence[str], seen: Encoded
) -> Any:
    """A lane a corruption, in `order`, with a point a row: for corruptions of one strength."""
    data = _frame(points, Point)
    y = alt.Y("where:N", sort=list(order), title=None, axis=alt.Axis(labelLimit=180, grid=True))
    beside = alt.YOffset("row:N", sort=list(rows), scale=alt.Scale(paddingOuter=0.3))
    base = alt.Chart(data).transform_filter("isValid(datum.mean)")
    legend = alt.Legend(**{**_LEGEND, "orient": "top"})
    # the chart is longer than a window: what explains it stands above
    axis = alt.Axis(orient="top", tickCount=6)
    rules = base.mark_rule(strokeWidth=1.5, opacity=0.6, clip=True).encode(
        x=alt.X("low:Q", title="AUC / %", scale=_scale(points), axis=axis),
        x2="high:Q",
        y=y,
        yOffset=beside,
        color=seen.colour.legend(None),
    )
    marks = base.mark_point(filled=True, size=55, opacity=1).encode(
        x=alt.X("mean:Q", title="AUC / %", scale=_scale(points), axis=axis),
        y=y,
        yOffset=beside,
        color=seen.colour.legend(legend),
        shape=seen.shape.legend(legend),
        tooltip=_about("where"),
    )
    drawn = alt.layer(rules, marks).resolve_scale(color="independent", shape="independent")
    return drawn.properties(height=max(200, len(order) * (12 + 9 * len(rows))))


def heat_map(
    cells: Sequence[Cell], rows: Sequence[str], columns: Sequence[str], *, signed: bool
) -> Any:
    """AUC of each row (down) under each corruption (across), with its numbers; grey where it is undefined.

    `signed`: differences in points, whose colours part at 0; those that an interval tells from 0 are in bold.
    """
    known = [cell.value for cell in cells if cell.value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    top = max(abs(low), abs(high)) or 1.0
    data = _frame(cells, Cell)
    data["text"] = [_number(cell.value, signed) for cell in cells]
    # white on the darkest cells alone
    if signed:
        dark = [cell.value is not None and abs(cell.value) > 0.6 * top for cell in cells]
        scale = alt.Scale(scheme="blueorange", domain=[-top, 0, top], reverse=True)
        title, form = "difference / points", "+.2f"
    else:
        border = low + 0.6 * (high - low)
        dark = [cell.value is not None and cell.value > border for cell in cells]
        scale = alt.Scale(scheme="blues", domain=[low, high] if high > low else [low - 1, high + 1])
        title, form = "AUC / %", ".2f"
    data["ink"] = ["white" if one else "black" for one in dark]
    # in a narrow window there is room for a dozen numbers beside each other: of more, the fewer go across
    turned = len(columns) > _ACROSS and len(rows) < len(columns)
    (across, order), (down, lanes) = ("column", columns), ("row", rows)
    if turned:
        (across, order), (down, lanes) = (down, lanes), (across, order)
    base = alt.Chart(data).encode(
        x=alt.X(
            f"{across}:N",
            sort=list(order),
            axis=alt.Axis(
                title=None, orient="top", labelAngle=-50, labelLimit=150, labelOverlap=False
            ),
        ),
        y=alt.Y(
            f"{down}:N",
            sort=list(lanes),
            axis=alt.Axis(title=None, labelLimit=180, labelOverlap=False),
        ),
    )
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("column:N", title="test set"),
        alt.Tooltip("value:Q", title=title, format=form),
        alt.Tooltip("low:Q", title="from", format=form),
        alt.Tooltip("high:Q", title="to", format=form),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    rects = base.mark_rect().encode(
        color=alt.condition(
            "isValid(datum.value)",
            # beside the cells a legend would take their room
            alt.Color(
                "value:Q",
                scale=scale,
                title=title,
                legend=alt.Legend(orient="bottom", gradientLength=220),
            ),
            alt.value(_NONE),
        ),
        tooltip=tooltip,
    )
    size = 12 if len(order) <= 9 else 11 if len(order) <= _ACROSS else 9
    ink = alt.Color("ink:N", scale=None)
    layers = [
        rects,
        base.transform_filter("!datum.apart")
        .mark_text(fontSize=size)
        .encode(text="text:N", color=ink),
        base.transform_filter("datum.apart")
        .mark_text(fontSize=size + 1, fontWeight="bold")
        .encode(text="text:N", color=ink),
    ]
    drawn = alt.layer(*layers).resolve_scale(color="independent")
    return drawn.properties(height=min((26 if turned else 34) * len(lanes), 1200) + 190)


def level_and_drop(
    spots: Sequence[Spot],
    lines: Sequence[Line],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    seen: Encoded,
) -> Any:
    """Clean AUC (x) against corrupted AUC (y): filled the mean, hollow the pooled one; `lines` of equal drop."""
    x_scale = alt.Scale(domain=list(x_range), nice=False, zero=False)
    y_scale = alt.Scale(domain=list(y_range), nice=False, zero=False)
    axis = alt.Axis(grid=False, tickCount=6)
    x = alt.X("clean:Q", title="clean AUC / %", scale=x_scale, axis=axis)
    corrupted = "corrupted AUC / %"
    y = alt.Y("mean:Q", title=corrupted, scale=y_scale, axis=axis)
    drops = pd.DataFrame(
        [
            {
                "x": line.x[0],
                "x2": line.x[1],
                "y": line.y[0],
                "y2": line.y[1],
                "text": f"drop {line.drop:g}".replace("-", "−"),
                "begins": line.y[0] > y_range[0] + 0.05 * (y_range[1] - y_range[0]),
            }
            for line in lines
        ],
        columns=["x", "x2", "y", "y2", "text", "begins"],
    )
    ground = alt.Chart(drops)
    layers: list[Any] = [
        ground.mark_rule(color=GREY, strokeDash=[4, 4], strokeWidth=1, opacity=0.7).encode(
            x=alt.X("x:Q", scale=x_scale, title="clean AUC / %", axis=axis),
            x2="x2:Q",
            y=alt.Y("y:Q", scale=y_scale, title=corrupted, axis=axis),
            y2="y2:Q",
        ),
        # points crowd on the right, where the AUC ends: names stand at the left ends, below lines that rise away, and
        # beside those that begin at the bottom
        ground.transform_filter("datum.begins")
        .mark_text(color=GREY, align="left", baseline="top", dx=3, dy=4, fontSize=11)
        .encode(
            x=alt.X("x:Q", scale=x_scale),
            y=alt.Y("y:Q", scale=y_scale),
            text="text:N",
        ),
        ground.transform_filter("!datum.begins")
        .mark_text(color=GREY, align="right", baseline="bottom", dx=-4, dy=-1, fontSize=11)
        .encode(
            x=alt.X("x:Q", scale=x_scale),
            y=alt.Y("y:Q", scale=y_scale),
            text="text:N",
        ),
    ]
    base = alt.Chart(_frame(spots, Spot))
    colour, shape = seen.colour.legend(None), seen.shape.legend(None)
    legend = alt.Legend(**_LEGEND)
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("clean:Q", title="clean AUC / %", format=".2f"),
        alt.Tooltip("mean:Q", title="mean corrupted AUC / %", format=".2f"),
        alt.Tooltip("pooled:Q", title="pooled AUC / %", format=".2f"),
        alt.Tooltip("drop:Q", title="drop / points", format=".2f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    base = base.transform_calculate(drop="datum.clean - datum.mean")
    pooled = base.transform_filter("isValid(datum.pooled)")
    layers += [
        base.transform_filter("isValid(datum.clean_low)")
        .mark_rule(strokeWidth=1.3, opacity=0.4, clip=True)
        .encode(x=alt.X("clean_low:Q", scale=x_scale), x2="clean_high:Q", y=y, color=colour),
        base.transform_filter("isValid(datum.mean_low)")
        .mark_rule(strokeWidth=1.3, opacity=0.4, clip=True)
        .encode(x=x, y=alt.Y("mean_low:Q", scale=y_scale), y2="mean_high:Q", color=colour),
        pooled.mark_rule(strokeDash=[2, 2], strokeWidth=1.3).encode(
            x=x, y=y, y2="pooled:Q", color=colour
        ),
        pooled.mark_point(filled=False, size=75, strokeWidth=1.8).encode(
            x=x,
            y=alt.Y("pooled:Q", scale=y_scale),
            color=colour,
            shape=shape,
            tooltip=tooltip,
        ),
        base.mark_point(filled=True, size=95, opacity=1).encode(
            x=x,
            y=y,
            color=seen.colour.legend(legend),
            shape=seen.shape.legend(legend),
            tooltip=tooltip,
        ),
    ]
    drawn = alt.layer(*layers).resolve_scale(color="independent", shape="independent")
    return drawn.properties(height=460)


def _scale(points: Sequence[Point]) -> alt.Scale:
    """Of AUCs with their intervals, which are cut at 0 and 100."""
    ends = [v for p in points for v in (p.mean, p.low, p.high) if v is not None]
    low, high = padded([min(100.0, max(0.0, v)) for v in ends])
    return alt.Scale(domain=[low, high], nice=False, zero=False)


def _number(value: float | None, signed: bool) -> str:
    if value is None:
        return "–"
    if not signed:
        return f"{value:.1f}"
    text = f"{abs(value):.1f}"
    return text if text == "0.0" else f"{'−' if value < 0 else '+'}{text}"


def _about(where: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("row:N"),
        alt.Tooltip(f"{where}:N", title="test set"),
        alt.Tooltip("mean:Q", title="AUC / %", format=".2f"),
        alt.Tooltip("low:Q", title="from / %", format=".2f"),
        alt.Tooltip("high:Q", title="to / %", format=".2f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]


def _frame(rows: Sequence[Any], kind: Any) -> pd.DataFrame:
    return pd.DataFrame([one._asdict() for one in rows], columns=list(kind._fields))


def padded(values: Sequence[float], least: float = 1.0) -> tuple[float, float]:
    """A range that holds the values with a tenth to spare on either side, at least `least` wide; inside 0..100 where
    the values are."""
    low, high = min(values), max(values)
    more = max(0.1 * (high - low), (least - (high - low)) / 2, 0.1)
    return (
        max(low - more, 0.0) if low >= 0 else low - more,
        min(high + more, 100.0) if high <= 100 else high + more,
    )


def percents(cell: Any) -> tuple[float | None, float | None, float | None]:
    """(mean, low, high) of a board's cell, in percent."""
    return tuple(None if v is None else 100 * v for v in (cell.mean, cell.low, cell.high))  # type: ignore[return-value]


def lowest_first(points: Sequence[Point], clean: str) -> list[str]:
    """The conditions of `points`, the clean one first, then those with the lowest mean over rows."""
    found: dict[str, list[float]] = {}
    for one in points:
        found.setdefault(one.where, []).extend([] if one.mean is None else [one.mean])
    means: Mapping[str, float] = {
        name: sum(values) / len(values) if values else float("inf")
        for name, values in found.items()
    }
    return sorted(means, key=lambda name: (name != clean, means[name]))
