"""Charts of scores by class: against training counts, and as differences of two rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from dashboard import charts, confusions
from suite.boards import classes as by_class
from suite.boards.classes import ClassScores
from suite.define.protocol import Protocol
from suite.define.task import Metric, Task
from suite.render.table import Column, Kind, Sheet, Value

MOST_BARS = 60
"""Classes of which a chart shows intervals and names."""
MOST_CHANGES = 150
"""Classes whose differences one chart shows."""


def scale(metric: Metric) -> tuple[float, str, str]:
    """(factor, what a value's unit is, what a difference's is)."""
    if metric.unit == "fraction":
        return 100.0, "%", "points"
    return 1.0, metric.unit, metric.unit


def sheet(
    title: str,
    first: tuple[str, str],
    kind: Kind,
    named: Mapping[str, ClassScores],
    protocol: Protocol,
    counts: tuple[int, ...] | None,
    groups: Sequence[str],
) -> Sheet:
    """A line per class, the most frequent first: its group, training count, and of every row mean and interval.

    `first`: what a class and its training count are called; `kind` of the scores.
    """
    columns = [Column(first[0]), Column("group"), Column(first[1], "integer")]
    for name in named:
        columns += [Column(name, kind), Column("low", kind), Column("high", kind)]
    lines: list[list[Value]] = []
    for c in by_class.by_frequency(len(groups), counts):
        line: list[Value] = [protocol.dataset.classes[c], groups[c], counts[c] if counts else None]
        for row in named.values():
            found = row.classes[c]
            line += [found.mean, found.low, found.high] if found else [None, None, None]
        lines.append(line)
    rule = f"low, high: 95 % t interval over seeds; groups: {protocol.dataset.group_rule}"
    return Sheet(f"{title}, the most frequent first", tuple(columns), lines, notes=(rule,))


def points(
    rows: Sequence[ClassScores],
    labels: Sequence[str],
    protocol: Protocol,
    metric: Metric,
    counts: tuple[int, ...] | None,
    groups: Sequence[str],
) -> pd.DataFrame:
    """A line per row and class, in percent or the metric's unit; `x` is where it is drawn."""
    factor = scale(metric)[0]
    ranks = {c: rank for rank, c in enumerate(by_class.by_frequency(len(groups), counts), 1)}
    data = []
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        beside = place - (len(rows) - 1) / 2
        for c, found in enumerate(row.classes):
            if found is None:
                continue
            data.append(
                {
                    "row": label,
                    "class": charts.name(protocol.dataset.classes[c]),
                    "group": groups[c] or "none",
                    "count": counts[c] if counts else None,
                    "x": max(counts[c], 0.5) * 1.035**beside if counts else ranks[c] + 0.1 * beside,
                    "mean": factor * found.mean,
                    "low": None if found.low is None else factor * found.low,
                    "high": None if found.high is None else factor * found.high,
                    "n": found.n,
                }
            )
    columns = ["row", "class", "group", "count", "x", "mean", "low", "high", "n"]
    return pd.DataFrame(data, columns=columns)


def frequency_chart(
    data: pd.DataFrame,
    labels: Sequence[str],
    task: Task,
    metric: Metric,
    key: str,
    counts: tuple[int, ...] | None,
    groups: Sequence[str],
) -> Any:
    """Scores of `points` against training counts, the groups as grounds where they follow the counts."""
    unit = scale(metric)[1]
    title = f"training {by_class.counted(task)} of the class (logarithmic)" if counts else "class"
    x = alt.X(
        "x:Q",
        scale=alt.Scale(type="log", nice=False, padding=18) if counts else alt.Scale(padding=18),
        axis=alt.Axis(title=title, grid=False, tickCount=6, format="~s"),
    )
    # a class is one value: an axis that begins at 0 need not be
    y = alt.Y("mean:Q", scale=alt.Scale(zero=False), title=f"{key} / {unit}")
    base = alt.Chart(data)
    tooltip = [
        alt.Tooltip("class:N"),
        alt.Tooltip("group:N"),
        alt.Tooltip("count:Q", title=f"training {by_class.counted(task)}", format=","),
        alt.Tooltip("row:N"),
        alt.Tooltip("mean:Q", format=".1f"),
        alt.Tooltip("low:Q", format=".1f"),
        alt.Tooltip("high:Q", format=".1f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    many = len(groups) > MOST_BARS
    points = base.mark_point(size=25 if many else 70, filled=True, opacity=0.9).encode(
        x=x,
        y=y,
        color=charts.colour("row", labels, title="row"),
        shape=charts.shape("row", labels, title="row"),
        tooltip=tooltip,
    )
    layers = [points]
    if not many:
        layers.insert(
            0,
            base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(
                x=x, y="low:Q", y2="high:Q", color=charts.colour("row", labels, title="row")
            ),
        )
    drawn = alt.layer(*layers)
    spans = by_class.group_spans(groups, counts) if counts else None
    if spans:
        drawn = alt.layer(*grounds(spans, x), drawn)
    return drawn.properties(height=380)


def grounds(spans: Sequence[tuple[str, float, float]], x: alt.X) -> list[Any]:
    """A ground behind each group, with its name."""
    made: list[Any] = []
    for number, (name, low, high) in enumerate(spans):
        chart = alt.Chart(pd.DataFrame([{"name": charts.name(name), "x": low, "end": high}]))
        # a value and no scale: the rows' colours have one of their own
        colour = alt.value(charts.GROUP_COLOURS.get(name, "#7F7F7F"))
        made += [
            chart.mark_rect(opacity=0.08).encode(x=x, x2="end:Q", color=colour),
            # neighbours at two heights: of a narrow group the name is wider than its ground
            chart.mark_text(
                align="left", baseline="top", dx=4, dy=4 + 14 * (number % 2), fontStyle="italic"
            ).encode(x=x, y=alt.value(0), text="name:N", color=alt.value("#808080")),
        ]
    return made


GAIN, LOSS, NEITHER = "gain", "loss", "undecided"


def changes(
    found: Sequence[Any],
    protocol: Protocol,
    metric: Metric,
    counts: tuple[int, ...] | None,
    groups: Sequence[str],
) -> tuple[pd.DataFrame, bool]:
    """(a line a class, the most frequent first; whether some were left out)."""
    factor = scale(metric)[0]
    order = [c for c in by_class.by_frequency(len(groups), counts) if found[c] is not None]
    largest = sorted(order, key=lambda c: -abs(found[c].mean))[:MOST_CHANGES]
    kept = set(largest)
    labels = confusions.labels(protocol.dataset.classes)
    data = []
    for c in (c for c in order if c in kept):
        one = found[c]
        side = by_class.side_of(one) * (1 if metric.higher_is_better else -1)
        data.append(
            {
                "class": labels[c],
                "group": groups[c] or "none",
                "count": counts[c] if counts else None,
                "change": factor * one.mean,
                "low": None if one.low is None else factor * one.low,
                "high": None if one.high is None else factor * one.high,
                "kind": GAIN if side > 0 else LOSS if side < 0 else NEITHER,
            }
        )
    return pd.DataFrame(data), len(kept) < len(order)


def difference_chart(data: pd.DataFrame, pair: tuple[str, str], metric: Metric, key: str) -> Any:
    """Bars of `changes`, with intervals; gains and losses differ in colour and in the point's shape."""
    unit = scale(metric)[2]
    kinds = [GAIN, LOSS, NEITHER]
    names = data["class"].tolist()
    few = len(names) <= MOST_BARS
    x = alt.X(
        "class:N",
        sort=names,
        axis=alt.Axis(
            title="class, the most frequent first",
            labelAngle=-40 if few else 0,
            labels=few,
            ticks=few,
            labelOverlap=False,
        ),
    )
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=["#0072B2", "#D55E00", "#9A9A9A"]),
        title="95 % interval",
    )
    base = alt.Chart(data)
    bars = base.mark_bar(opacity=0.55).encode(
        x=x,
        y=alt.Y(
            "change:Q",
            title=f"{charts.name(pair[1])} minus {charts.name(pair[0])}: {key} / {unit}",
        ),
        color=colour,
    )
    points = base.mark_point(filled=True, size=60 if few else 25, opacity=1).encode(
        x=x,
        y="change:Q",
        color=colour,
        shape=alt.Shape(
            "kind:N",
            scale=alt.Scale(domain=kinds, range=["triangle-up", "triangle-down", "circle"]),
            title="95 % interval",
        ),
        tooltip=[
            alt.Tooltip("class:N"),
            alt.Tooltip("group:N"),
            alt.Tooltip("count:Q", title="training count", format=","),
            alt.Tooltip("change:Q", title="difference", format="+.1f"),
            alt.Tooltip("low:Q", format="+.1f"),
            alt.Tooltip("high:Q", format="+.1f"),
            alt.Tooltip("kind:N", title="95 % interval"),
        ],
    )
    rules = base.mark_rule(strokeWidth=1.5).encode(x=x, y="low:Q", y2="high:Q", color=colour)
    return alt.layer(bars, rules, points).properties(height=380)
