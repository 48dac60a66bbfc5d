"""Lines: accuracy over training, and recall from group to group. In percent, None where undefined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt

from tasks.multimodal.views.board import Point
from tasks.multimodal.views.encoded import HALF, Encoded, frame


class Spot(NamedTuple):
    """A point of a curve. `reference`: of the modality trained on its own."""

    row: str
    part: str
    step: float
    value: float
    n: int
    reference: bool


_MARKS = 7


def trajectories(spots: Sequence[Spot], seen: Encoded, top: float, last: float) -> Any:
    """A line of each name of `seen` along training, up to iteration `last`; dotted those that are a reference."""
    data = frame(spots, Spot)
    data["mark"] = _marked(spots)
    x = alt.X(
        "step:Q",
        title="iteration",
        scale=alt.Scale(domain=[0, last], nice=False),
        axis=alt.Axis(grid=False, tickCount=5, format="~s" if last >= 10_000 else "d"),
    )
    y = alt.Y(
        "value:Q", title="accuracy / %", scale=alt.Scale(domain=[0, top], nice=False, zero=True)
    )
    base = alt.Chart(data)
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("part:N", title="logits of"),
        alt.Tooltip("step:Q", title="iteration", format=","),
        alt.Tooltip("value:Q", title="accuracy / %", format=".1f"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    legend, plain = seen.legend(HALF), seen.colour.legend(None)
    own = base.transform_filter("!datum.reference")
    layers = [
        base.transform_filter("datum.reference")
        .mark_line(strokeWidth=1.7, strokeDash=[2, 3], clip=True)
        .encode(x=x, y=y, color=plain, detail="part:N", tooltip=tooltip),
        own.mark_line(strokeWidth=2, clip=True).encode(
            x=x, y=y, color=plain, detail=["part:N", "row:N"], tooltip=tooltip
        ),
        own.transform_filter("datum.mark")
        .mark_point(filled=True, size=45, opacity=1, clip=True)
        .encode(
            x=x,
            y=y,
            color=seen.colour.legend(legend),
            shape=seen.shape.legend(legend),
            tooltip=tooltip,
        ),
    ]
    drawn = alt.layer(*layers).resolve_scale(color="independent", shape="independent")
    return drawn.properties(height=270 + seen.legend_height(HALF))


def _marked(spots: Sequence[Spot]) -> list[bool]:
    """Where a line has its shape: at `_MARKS` places, of lines beside each other not at the same."""
    lines: dict[tuple[str, str, bool], list[int]] = {}
    for place, one in enumerate(spots):
        lines.setdefault((one.row, one.part, one.reference), []).append(place)
    made = [False] * len(spots)
    for number, places in enumerate(lines.values()):
        gap = max(1, len(places) // _MARKS)
        for place in places[(number * gap // 3) % gap :: gap]:
            made[place] = True
    return made


class Step(NamedTuple):
    """A row's part on a group of classes: a `Point` at `group`, with `x` where it is drawn."""

    row: str
    part: str
    group: str
    x: float
    mean: float | None
    low: float | None
    high: float | None
    n: int


_BESIDE = 0.045
"""Of the way from a group to the next: how far the intervals of two parts stand apart."""


def steps(
    points: Sequence[tuple[Point, str]], groups: Sequence[str], seen: Encoded, top: float
) -> Any:
    """A line of every name of `seen` along the groups, with intervals, cut at 0 and `top`."""
    beside = {name: k - (len(seen.names) - 1) / 2 for k, name in enumerate(seen.names)}
    spread = min(_BESIDE, 0.4 / max(len(seen.names), 1))
    data = frame(
        [
            Step(p.row, p.part, group, groups.index(group) + spread * beside[p.part], *p[2:])
            for p, group in points
        ],
        Step,
    )
    names = " : ".join(f"datum.value == {k} ? groups[{k}]" for k in range(len(groups)))
    # names travel as data: an expression holds their places alone
    x = alt.X(
        "x:Q",
        title=None,
        scale=alt.Scale(domain=[-0.4, len(groups) - 0.6], nice=False),
        axis=alt.Axis(values=list(range(len(groups))), grid=False, labelExpr=f"{names} : ''"),
    )
    y = alt.Y("mean:Q", title="recall / %", scale=alt.Scale(domain=[0, top], nice=False))
    base = alt.Chart(data).transform_filter("isValid(datum.mean)")
    colour = seen.colour.legend(None)
    layers = [
        base.mark_line(strokeWidth=1.8).encode(
            x=x, y=y, color=colour, strokeDash=seen.dash.legend(None)
        ),
        base.mark_rule(strokeWidth=1.4, opacity=0.55, clip=True).encode(
            x=x, y=alt.Y("low:Q", title="recall / %"), y2="high:Q", color=colour
        ),
        base.mark_point(filled=True, size=60, opacity=1).encode(
            x=x,
            y=y,
            color=seen.colour.legend(seen.legend(HALF)),
            shape=seen.shape.legend(seen.legend(HALF)),
            tooltip=[
                alt.Tooltip("row:N"),
                alt.Tooltip("part:N", title="modality"),
                alt.Tooltip("group:N"),
                alt.Tooltip("mean:Q", title="recall / %", format=".1f"),
                alt.Tooltip("low:Q", title="from", format=".1f"),
                alt.Tooltip("high:Q", title="to", format=".1f"),
                alt.Tooltip("n:Q", title="seeds"),
            ],
        ),
    ]
    drawn = alt.layer(*layers).resolve_scale(
        color="independent", shape="independent", strokeDash="independent"
    )
    drawn = drawn.add_params(alt.param(name="groups", value=list(groups)))
    return drawn.properties(height=260 + seen.legend_height(HALF))
