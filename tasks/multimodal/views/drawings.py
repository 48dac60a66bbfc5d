"""Lanes of points or bars, gap against accuracy, shares of samples. In percent or points, None where undefined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from tasks.multimodal.views.board import Point
from tasks.multimodal.views.encoded import GREY, WHOLE, Encoded, frame


def lanes(
    points: Sequence[Point],
    rows: Sequence[str],
    seen: Encoded,
    title: str,
    *,
    bars: bool = False,
    line_at: float | None = None,
) -> Any:
    """A lane a row, in it a point or bar of every name of `seen`, with its interval; a line down at `line_at`."""
    data = frame(points, Point)
    parts = list(seen.names)
    y = alt.Y("row:N", sort=list(rows), title=None, axis=alt.Axis(labelLimit=180, grid=not bars))
    beside = alt.YOffset("part:N", sort=parts, scale=alt.Scale(paddingOuter=0.25))
    ends = [v for p in points for v in (p.mean, p.low, p.high) if v is not None]
    ends += [0.0] if bars else []
    ends += [] if line_at is None else [line_at]
    # an interval of two seeds may be as wide as the world: it is cut
    means = [p.mean for p in points if p.mean is not None]
    span = max(max(means, default=0.0), *ends[-1:]) - min(min(means, default=0.0), *ends[-1:])
    low = max(min(ends), min([*means, *ends[-1:]]) - max(span, 5.0) / 2)
    high = min(max(ends), max([*means, *ends[-1:]]) + max(span, 5.0) / 2)
    pad = 0.04 * max(high - low, 1.0)
    scale = alt.Scale(
        domain=[low if bars and low == 0 else low - pad, high + pad], nice=False, zero=False
    )
    # the chart may be longer than a window: what explains it stands above
    axis = alt.Axis(orient="top", tickCount=6, grid=True)
    legend = seen.legend(WHOLE, "top")
    base = alt.Chart(data).transform_filter("isValid(datum.mean)")
    x = alt.X("mean:Q", title=title, scale=scale, axis=axis)
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("part:N", title="modality"),
        alt.Tooltip("mean:Q", title=title, format=".2f"),
        alt.Tooltip("low:Q", title="from", format=".2f"),
        alt.Tooltip("high:Q", title="to", format=".2f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    rules = base.mark_rule(strokeWidth=1.5, opacity=1, clip=True).encode(
        x=alt.X("low:Q", title=title, scale=scale, axis=axis), x2="high:Q", y=y, yOffset=beside
    )
    layers: list[Any] = []
    if line_at is not None:
        ground = alt.Chart(pd.DataFrame([{"at": line_at}]))
        layers.append(
            ground.mark_rule(color=GREY, strokeDash=[4, 4]).encode(x=alt.X("at:Q", scale=scale))
        )
    if bars:
        layers += [
            base.mark_bar(opacity=0.8, clip=True).encode(
                x=x, y=y, yOffset=beside, color=seen.colour.legend(legend), tooltip=tooltip
            ),
            rules.encode(color=alt.value(GREY), size=alt.value(2)),
        ]
    else:
        layers += [
            rules.encode(color=seen.colour.legend(None)),
            base.mark_point(filled=True, size=60, opacity=1).encode(
                x=x,
                y=y,
                yOffset=beside,
                color=seen.colour.legend(legend),
                shape=seen.shape.legend(legend),
                tooltip=tooltip,
            ),
        ]
    drawn = alt.layer(*layers).resolve_scale(color="independent", shape="independent")
    height = 100 + seen.legend_height(WHOLE) + len(rows) * (14 + 11 * len(parts))
    return drawn.properties(height=height)


class Place(NamedTuple):
    """A row's modality gap (x, points) and its accuracy (y, percent), with intervals over seeds."""

    row: str
    gap: float
    gap_low: float | None
    gap_high: float | None
    score: float
    score_low: float | None
    score_high: float | None
    n: int


def gap_and_score(places: Sequence[Place], seen: Encoded, metric: str) -> Any:
    """A point a row, with both intervals, cut at the frame."""
    data = frame(places, Place)
    x_range, y_range = (
        padded([one.gap for one in places]),
        padded([one.score for one in places]),
    )
    gap = "modality gap / points"
    score = f"{metric} / %"
    x_scale = alt.Scale(domain=list(x_range), nice=False, zero=False)
    y_scale = alt.Scale(domain=list(y_range), nice=False, zero=False)
    axis = alt.Axis(tickCount=6)
    x = alt.X("gap:Q", title=gap, scale=x_scale, axis=axis)
    y = alt.Y("score:Q", title=score, scale=y_scale, axis=axis)
    base = alt.Chart(data)
    colour = seen.colour.legend(None)
    legend = seen.legend(WHOLE)
    layers = [
        base.transform_filter("isValid(datum.gap_low)")
        .mark_rule(strokeWidth=1.3, opacity=0.45, clip=True)
        .encode(x=alt.X("gap_low:Q", scale=x_scale), x2="gap_high:Q", y=y, color=colour),
        base.transform_filter("isValid(datum.score_low)")
        .mark_rule(strokeWidth=1.3, opacity=0.45, clip=True)
        .encode(x=x, y=alt.Y("score_low:Q", scale=y_scale), y2="score_high:Q", color=colour),
        base.mark_point(filled=True, size=95, opacity=1).encode(
            x=x,
            y=y,
            color=seen.colour.legend(legend),
            shape=seen.shape.legend(legend),
            tooltip=[
                alt.Tooltip("row:N"),
                alt.Tooltip("score:Q", title=score, format=".2f"),
                alt.Tooltip("gap:Q", title=gap, format=".2f"),
                alt.Tooltip("n:Q", title="seeds"),
            ],
        ),
    ]
    drawn = alt.layer(*layers).resolve_scale(color="independent", shape="independent")
    return drawn.properties(height=380 + seen.legend_height(WHOLE))


class Part(NamedTuple):
    """A share (percent) of a lane's samples: those with a pattern."""

    lane: str
    pattern: str
    order: int
    share: float
    samples: int
    fused: int


def stacked(
    parts: Sequence[Part], lanes: Sequence[str], patterns: Sequence[str], colours: Sequence[str]
) -> Any:
    """A bar of 100 % a lane, of the patterns' shares."""
    scale = alt.Scale(domain=list(patterns), range=list(colours))
    legend = alt.Legend(orient="top", columns=2, labelLimit=320, title=None)
    chart = alt.Chart(frame(parts, Part)).encode(
        x=alt.X(
            "share:Q",
            stack="zero",
            title="test samples / %",
            scale=alt.Scale(domain=[0, 100], nice=False),
            axis=alt.Axis(orient="top", tickCount=6),
        ),
        y=alt.Y(
            "lane:N",
            sort=list(lanes),
            title=None,
            axis=alt.Axis(labelLimit=180, labelOverlap=False),
        ),
        color=alt.Color("pattern:N", scale=scale, legend=legend),
        order=alt.Order("order:Q"),
        tooltip=[
            alt.Tooltip("lane:N", title="class"),
            alt.Tooltip("pattern:N", title="right"),
            alt.Tooltip("samples:Q", title="samples", format=","),
            alt.Tooltip("share:Q", title="share / %", format=".1f"),
            alt.Tooltip("fused:Q", title="fused logits right", format=","),
        ],
    )
    return chart.mark_bar().properties(height=24 * len(lanes) + 190)


def padded(values: Sequence[float], least: float = 1.0) -> tuple[float, float]:
    """A range that holds the values with a fifth to spare on either side, at least `least` wide."""
    low, high = min(values), max(values)
    more = max(0.2 * (high - low), (least - (high - low)) / 2, 0.2)
    return low - more, high + more
