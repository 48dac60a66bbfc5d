"""Trade-off: what a protocol's methods reach in the head and in the tail, and which none other beats."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, controls, say, source, tables
from dashboard.palette import PALETTE
from dashboard.views import common, compare
from suite.base.text import plain
from suite.boards.overview import group_keys
from suite.define.task import Task, direction
from suite.render.cells import metric_of
from suite.render.grid import protocol_of, row_names
from suite.render.table import Column, Kind, Sheet
from suite.stats.pareto import group_key, grouped, pareto
from suite.store.row import Row

TITLE = "Trade-off"
ICON = ":material/scatter_plot:"

WHOLE = "all classes"
MOST_LABELS = 40
"""With more rows, only those of the front and the reference are labelled."""
WIDTH, HEIGHT = 1000, 560
"""Pixels of the plot; the width is about what it is, and decides where labels have space."""


class Axis(NamedTuple):
    """A metric key as it is plotted: `scale` times the stored value."""

    key: str
    group: str
    title: str
    scale: float


class Point(NamedTuple):
    """A row: means and intervals on the two axes, as plotted; `by`: positions of those that dominate it."""

    name: str
    row: Row
    x: float
    y: float
    x_ends: tuple[float, float] | None
    y_ends: tuple[float, float] | None
    by: tuple[int, ...]


def page() -> None:
    columns = st.columns([2, 3, 2, 2, 2, 2], vertical_alignment="bottom")
    with columns[0]:
        task = controls.pick_task()
    lines = [line for line in source.coverage(task.name) if line.methods]
    if not lines:
        compare.no_scores(task)
        return
    with columns[1]:
        protocol = common.pick_protocol(task, lines)
    rows = _rows(task, protocol)
    there = {key for row in rows for key in row.metrics if direction(task, key) is not None}
    shown = [key for key in [*task.primary, *task.columns] if key in there]
    found = grouped([*shown, *sorted(there)])
    if not found:
        say.nothing(
            f"no score of {task.name} under {protocol} is by groups of classes: there is nothing to trade"
        )
        return
    with columns[2]:
        metric = controls.pick("Metric", list(found), "metric", default=_usual(task, found))
    groups = _ordered(found[metric]) + ([WHOLE] if metric in there else [])
    with columns[3]:
        x = controls.pick("Across", groups, "x", default="head")
    with columns[4]:
        y = controls.pick("Up", groups, "y", default="tail" if "tail" in groups else groups[1])
    with columns[5]:
        alone = controls.switch("Ranked only", "ranked", help="Rows with enough replicates.")
    if alone:
        rows = [row for row in rows if row.rank is not None]
    _shown(task, protocol, rows, [_axis(task, metric, group) for group in (x, y)])


def _rows(task: Task, protocol: str) -> list[Row]:
    """Rows of the board that can be compared: of one evaluation, of today's code."""
    found = source.board(task.name, protocol, task.primary[0])
    made = [row for row in found if row.n and row.metrics]
    # a block of today's evaluation comes first
    place = [row.block for row in made]
    current = [
        row for row, of in zip(made, place, strict=True) if of == place[0] and row.state != "stale"
    ]
    left = len(made) - len(current)
    if left:
        say.note(f"left out: {left} row(s) of older code, or scored by another evaluation")
    return current


def _usual(task: Task, found: Mapping[str, Sequence[str]]) -> str | None:
    """The first metric that the task shows both head and tail of."""
    head, _ = group_keys(task)
    return next((metric for metric in found if head == group_key(metric, "head")), None)


def _ordered(groups: Sequence[str]) -> list[str]:
    """Head, medium and tail first."""
    usual = [group for group in charts.GROUP_COLOURS if group in groups]
    return [*usual, *(group for group in groups if group not in usual)]


def _axis(task: Task, metric: str, group: str) -> Axis:
    key = metric if group == WHOLE else group_key(metric, group)
    unit = metric_of(task, key).unit
    percent = unit == "fraction"
    of = "%" if percent else unit
    title = f"{charts.name(metric)}, {group}" + (f" / {of}" if of else "")
    return Axis(key, group, title, 100.0 if percent else 1.0)


def _shown(task: Task, protocol: str, rows: Sequence[Row], axes: Sequence[Axis]) -> None:
    higher = direction(task, axes[0].key) is not False
    points = _points(rows, axes, higher)
    if not points:
        say.nothing(
            f"no row has a value of both {axes[0].key} and {axes[1].key} in every replicate"
        )
        return
    reference = _reference(task, points)
    charts.show(
        _chart(points, axes, higher, reference),
        "trade-off",
        f"{len(points)} rows, {axes[0].title} against {axes[1].title}; on the front: "
        + ", ".join(point.name for point in points if not point.by),
    )
    better = "right and up is better" if higher else "left and down is better"
    say.note(
        f"{better}; the stepped line is the Pareto front of the means: rows that no other row beats in one "
        "without losing in the other; crosses are 95 % intervals, hollow rows are unranked"
    )
    if reference is not None:
        name = points[reference].name
        say.note(f"dashed: the same sum of both as {name}, a point of one for a point of the other")
    tables.show(_sheet(task, protocol, points, axes, higher), f"trade-off-{task.name}-{protocol}")


def _points(rows: Sequence[Row], axes: Sequence[Axis], higher: bool) -> list[Point]:
    def ends(row: Row, axis: Axis) -> tuple[float, float] | None:
        cell = row.cell(axis.key)
        if cell.low is None or cell.high is None:
            return None
        return axis.scale * cell.low, axis.scale * cell.high

    names = [plain(name) for name in row_names(rows)]
    means = [[row.cell(axis.key).mean for axis in axes] for row in rows]
    whole = [
        place for place, values in enumerate(pareto(means, (higher, higher))) if values is not None
    ]
    found = pareto([means[place] for place in whole], (higher, higher))
    return [
        Point(
            name=names[place],
            row=rows[place],
            x=axes[0].scale * (means[place][0] or 0.0),
            y=axes[1].scale * (means[place][1] or 0.0),
            x_ends=ends(rows[place], axes[0]),
            y_ends=ends(rows[place], axes[1]),
            by=by or (),
        )
        for place, by in zip(whole, found, strict=True)
    ]


def _reference(task: Task, points: Sequence[Point]) -> int | None:
    """The row of the task's reference method; of several the one with the usual parameters."""
    own = [place for place, point in enumerate(points) if point.row.method == task.reference]
    protocol = protocol_of(task, points[own[0]].row) if len(own) > 1 else None
    if protocol is not None:
        usual = source.catalog().spec(task.reference, protocol).params
        own = [place for place in own if points[place].row.params == usual]
    return own[0] if len(own) == 1 else None


def _chart(
    points: Sequence[Point], axes: Sequence[Axis], higher: bool, reference: int | None
) -> Any:
    spans = [_span([value for p in points for value in (p.x, *(p.x_ends or ()))])]
    spans.append(_span([value for p in points for value in (p.y, *(p.y_ends or ()))]))
    x, y = (
        channel(f"{field}:Q", title=axis.title, scale=alt.Scale(domain=list(span), nice=False))
        for channel, field, axis, span in zip((alt.X, alt.Y), "xy", axes, spans, strict=True)
    )
    front = sorted((point.x, point.y) for point in points if not point.by)
    layers = []
    if reference is not None:
        total = points[reference].x + points[reference].y
        layers.append(
            alt.Chart(pd.DataFrame([{"x": end, "y": total - end} for end in spans[0]]))
            .mark_line(strokeDash=[6, 4], strokeWidth=1.5, color=PALETTE[-1], clip=True)
            .encode(x=x, y=y)
        )
    layers += [
        alt.Chart(pd.DataFrame([{"x": a, "y": b} for a, b in front]))
        # where higher is better, what is below and left of the front is dominated
        .mark_line(
            interpolate="step-before" if higher else "step-after",
            strokeWidth=2,
            color=PALETTE[1],
            opacity=0.8,
        )
        .encode(x=x, y=y, order="x:Q")
    ]
    layers += _crosses(points, x, y)
    layers += _marks(points, axes, reference, x, y)
    layers += _labels(points, spans, reference, x, y)
    return alt.layer(*layers).properties(height=HEIGHT)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.05 * (high - low) or max(0.05 * abs(high), 0.01)
    return low - pad, high + pad


def _crosses(points: Sequence[Point], x: Any, y: Any) -> list[Any]:
    across = [{"x": p.x_ends[0], "end": p.x_ends[1], "y": p.y} for p in points if p.x_ends]
    up = [{"x": p.x, "y": p.y_ends[0], "end": p.y_ends[1]} for p in points if p.y_ends]
    made = []
    if across:
        chart = alt.Chart(pd.DataFrame(across))
        made.append(chart.mark_rule(opacity=0.45, color=PALETTE[-1]).encode(x=x, x2="end:Q", y=y))
    if up:
        chart = alt.Chart(pd.DataFrame(up))
        made.append(chart.mark_rule(opacity=0.45, color=PALETTE[-1]).encode(x=x, y=y, y2="end:Q"))
    return made


def _marks(
    points: Sequence[Point], axes: Sequence[Axis], reference: int | None, x: Any, y: Any
) -> list[Any]:
    """Filled for ranked, hollow for unranked; a diamond for the reference, else by being on the front."""
    kinds = ["on the front", "dominated", "reference"]
    tooltip = [
        alt.Tooltip("name:N", title="row"),
        alt.Tooltip("x:Q", title=axes[0].group, format=".4g"),
        alt.Tooltip("y:Q", title=axes[1].group, format=".4g"),
        alt.Tooltip("n:Q", title="runs"),
        alt.Tooltip("kind:N", title="is"),
        alt.Tooltip("rank:N", title="rank"),
    ]
    rows = []
    # those on the front are drawn over the others
    for place, point in sorted(enumerate(points), key=lambda one: not one[1].by):
        kind = kinds[2] if place == reference else kinds[bool(point.by)]
        rank = "unranked" if point.row.rank is None else str(point.row.rank)
        rows.append(
            {"x": point.x, "y": point.y, "name": charts.name(point.name), "kind": kind}
            | {"n": point.row.n, "rank": rank}
        )
    colours = [PALETTE[1], PALETTE[0], "#7F7F7F"]
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=colours),
        title=None,
        legend=alt.Legend(orient="top"),
    )
    shapes = alt.Shape(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=["triangle-up", "circle", "diamond"]),
        title=None,
    )
    made = []
    for filled in (True, False):
        chosen = [row for row in rows if (row["rank"] != "unranked") == filled]
        if chosen:
            chart = alt.Chart(pd.DataFrame(chosen))
            made.append(
                chart.mark_point(size=110, filled=filled, opacity=1, strokeWidth=2).encode(
                    x=x, y=y, color=colour, shape=shapes, tooltip=tooltip
                )
            )
    return made


_ANCHORS: tuple[tuple[Literal["left", "center", "right"], int, int], ...] = (
    ("left", 9, -8),
    ("right", -9, -8),
    ("left", 9, 11),
    ("right", -9, 11),
    ("center", 0, -16),
    ("center", 0, 19),
)
"""Alignment and offset in pixels of a label: beside, above and below its point."""


def _labels(
    points: Sequence[Point],
    spans: Sequence[tuple[float, float]],
    reference: int | None,
    x: Any,
    y: Any,
) -> list[Any]:
    places = list(range(len(points)))
    if len(points) > MOST_LABELS:
        places = [place for place in places if not points[place].by or place == reference]
    names = {place: charts.name(points[place].name) for place in places}
    pixels = [
        (
            (point.x - spans[0][0]) / (spans[0][1] - spans[0][0]) * WIDTH,
            (spans[1][1] - point.y) / (spans[1][1] - spans[1][0]) * HEIGHT,
        )
        for point in points
    ]
    chosen = placed(pixels, names)
    made = []
    for number, (align, dx, dy) in enumerate(_ANCHORS):
        rows = [
            {"x": points[place].x, "y": points[place].y, "name": names[place]}
            for place, anchor in chosen.items()
            if anchor == number
        ]
        if rows:
            made.append(
                alt.Chart(pd.DataFrame(rows))
                .mark_text(align=align, dx=dx, dy=dy, fontSize=12, color=PALETTE[-1])
                .encode(x=x, y=y, text="name:N")
            )
    return made


def placed(pixels: Sequence[tuple[float, float]], names: Mapping[int, str]) -> dict[int, int]:
    """Point -> which of the anchors its label gets: the first without another label or point below it.

    Where all are taken, the one that covers least.
    """
    taken = [(a - 5, b - 5, a + 5, b + 5) for a, b in pixels]
    chosen = {}
    for place, name in names.items():
        a, b = pixels[place]
        boxes = []
        for align, dx, dy in _ANCHORS:
            wide = 7.0 * len(name)
            left = a + dx - {"left": 0.0, "center": wide / 2, "right": wide}[align]
            boxes.append((left, b + dy - 7, left + wide, b + dy + 7))
        costs = [
            sum(_overlap(box, other) for other in taken) + 1000 * (box[0] < 0 or box[2] > WIDTH)
            for box in boxes
        ]
        chosen[place] = costs.index(min(costs))
        taken.append(boxes[chosen[place]])
    return chosen


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _sheet(
    task: Task, protocol: str, points: Sequence[Point], axes: Sequence[Axis], higher: bool
) -> Sheet:
    percent = metric_of(task, axes[0].key).unit == "fraction"
    kind: Kind = "percent" if percent else "number"
    columns = [Column("method"), Column("rank", "integer"), Column("runs", "integer")]
    for axis in axes:
        columns += [
            Column(axis.group, kind, axis.key),
            Column(f"{axis.group} low", kind, "95 % interval."),
            Column(f"{axis.group} high", kind, "95 % interval."),
        ]
    columns += [Column("front"), Column("dominated by")]
    rows = []
    for point in sorted(points, key=lambda p: (bool(p.by), -p.x if higher else p.x)):
        values: list[float | None] = []
        for axis in axes:
            cell = point.row.metrics[axis.key]
            values += [cell.mean, cell.low, cell.high]
        by = ", ".join(points[place].name for place in point.by)
        front = "no" if point.by else "yes"
        rows.append((point.name, point.row.rank, point.row.n, *values, front, by or None))
    title = f"{axes[0].key} and {axes[1].key}, {protocol}"
    return Sheet(title, tuple(columns), rows)
