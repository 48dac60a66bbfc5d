"""Pictures of the page of labels: agreement of measures, places by two of them, ranks of relevant labels.

Names are as the page shows them, each once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import altair as alt
import pandas as pd

from tasks.multilabel.agreement import Agreement, Move
from tasks.multilabel.top_lists import TopList

GREY = "#8A8A8A"
"""Text and marks that can be read on light and dark ground."""
UP, DOWN = "#0072B2", "#D55E00"
"""Of Okabe and Ito, told apart by all common forms of colour blindness; a shape or dash goes with each."""
LINEAR = 40
"""Up to so many labels an axis of ranks is linear."""


def heat_map(found: Agreement, shown: Sequence[str]) -> Any:
    """Kendall's tau-b of measures, with its numbers; grey where there is none."""
    data = pd.DataFrame(
        [
            {
                "one": shown[i],
                "other": shown[j],
                "tau": None if found.tau[i, j] != found.tau[i, j] else float(found.tau[i, j]),
                "text": short(float(found.tau[i, j])) if i != j else "",
                "methods": int(found.methods[i, j]),
                "pairs": f"{int(found.swapped[i, j])} of {int(found.decided[i, j])}",
            }
            for i, j in product(range(len(shown)), repeat=2)
        ]
    )
    base = alt.Chart(data).encode(
        x=alt.X(
            "other:N",
            sort=shown,
            axis=alt.Axis(
                title=None,
                orient="top",
                labelAngle=-50 if len(shown) <= 8 else -90,
                labelLimit=150,
                labelOverlap=False,
            ),
        ),
        y=alt.Y("one:N", sort=shown, axis=alt.Axis(title=None, labelLimit=150, labelOverlap=False)),
    )
    cells = base.mark_rect().encode(
        # blue and orange are told apart by all common forms of colour blindness
        color=alt.condition(
            "isValid(datum.tau)",
            alt.Color(
                "tau:Q",
                scale=alt.Scale(scheme="blueorange", domain=[-1, 0, 1], reverse=True),
                title="tau-b",
                # beside the cells it would take their room
                legend=alt.Legend(orient="bottom", gradientLength=220),
            ),
            alt.value("#B8B8B8"),
        ),
        tooltip=[
            alt.Tooltip("one:N", title="measure"),
            alt.Tooltip("other:N", title="against"),
            alt.Tooltip("tau:Q", title="Kendall's tau-b", format=".3f"),
            alt.Tooltip("methods:Q", title="methods with both"),
            alt.Tooltip("pairs:N", title="pairs in opposite orders"),
        ],
    )
    words = base.mark_text(fontSize=12 if len(shown) <= 12 else 10).encode(
        text="text:N",
        color=alt.condition("abs(datum.tau) > 0.6", alt.value("white"), alt.value("black")),
    )
    return alt.layer(cells, words).properties(height=min(34 * len(shown), 900) + 160)


def short(tau: float) -> str:
    """Two decimals in the width of a cell: .87, −.12, 1; a dash for none."""
    if tau != tau:
        return "–"
    text = f"{abs(tau):.2f}".replace("0.", ".", 1) if abs(tau) < 0.995 else "1"
    return ("−" if tau <= -0.005 else "") + text


def slopes(moves: Sequence[Move], names: Sequence[str], measures: Sequence[str]) -> Any:
    """A line a method from its place by one measure to that by the other."""
    kinds = ["up", "down", "stays"]
    rows: list[dict[str, Any]] = []
    for move in moves:
        kind = kinds[2] if not move.size else kinds[0] if move.second < move.first else kinds[1]
        about = {"method": names[move.method], "kind": kind, "from": move.first, "to": move.second}
        rows += [
            {**about, "side": measures[0], "place": move.first, "label": ""},
            {**about, "side": measures[1], "place": move.second, "label": ""},
        ]
    # methods that share a place are written in one line, at the first of them
    shared: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        shared.setdefault((row["side"], row["place"]), []).append(row)
    for (side, place), members in shared.items():
        text = ", ".join(row["method"] for row in members)
        members[0]["label"] = f"{text}  {place}" if side == measures[0] else f"{place}  {text}"
    data = pd.DataFrame(rows)
    legend = alt.Legend(orient="bottom", symbolType="stroke", symbolSize=500)
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[UP, DOWN, GREY]),
        title=f"by {measures[1]}",
        legend=legend,
    )
    dash = alt.StrokeDash(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[[1, 0], [6, 3], [2, 2]]),
        title=f"by {measures[1]}",
        legend=legend,
    )
    base = alt.Chart(data).encode(
        x=alt.X(
            "side:N",
            sort=list(measures),
            scale=alt.Scale(padding=0.5),
            axis=alt.Axis(title=None, orient="top", labelAngle=0, domain=False, labelLimit=240),
        ),
        y=alt.Y("place:Q", axis=None, scale=alt.Scale(reverse=True, zero=False, padding=12)),
    )
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("from:Q", title=f"by {measures[0]}"),
        alt.Tooltip("to:Q", title=f"by {measures[1]}"),
    ]
    drawn = [
        base.mark_line(strokeWidth=2, opacity=0.8).encode(
            detail="method:N", color=colour, strokeDash=dash, tooltip=tooltip
        ),
        base.mark_point(filled=True, size=50, opacity=1).encode(
            color=colour.copy().legend(None), tooltip=tooltip
        ),
    ]
    at_first, at_second = (
        base.transform_filter(alt.FieldEqualPredicate(field="side", equal=measure)).encode(
            text="label:N"
        )
        for measure in measures
    )
    drawn += [
        at_first.mark_text(align="right", dx=-9, color=GREY, fontSize=12, limit=300),
        at_second.mark_text(align="left", dx=9, color=GREY, fontSize=12, limit=300),
    ]
    # of shared scales the points' legend would be the lines', too
    drawn_apart = alt.layer(*drawn).resolve_scale(color="independent", strokeDash="independent")
    return drawn_apart.properties(height=max(160, 19 * len(moves) + 70))


def rank_strip(lists: Sequence[TopList], shown: Sequence[str], names: Sequence[str], k: int) -> Any:
    """Ranks of the relevant labels, a lane a row."""
    last = len(names)
    data = pd.DataFrame(
        [
            {
                "row": row,
                "rank": one.rank,
                "label": names[one.label],
                "hit": "top" if one.rank <= k else "missed",
            }
            for row, found in zip(shown, lists, strict=True)
            for one in (*found.first, *found.missed)
            if one.relevant and one.rank is not None
        ],
        columns=["row", "rank", "label", "hit"],
    )
    wide = last > LINEAR
    x = alt.X(
        "rank:Q",
        title="rank of the label" + " (logarithmic)" * wide,
        scale=alt.Scale(
            type="log" if wide else "linear", domain=[0.8 if wide else 0.5, last + 0.5], nice=False
        ),
        axis=alt.Axis(format="d", tickMinStep=1, grid=False),
    )
    y = alt.Y(
        "row:N",
        sort=list(shown),
        title=None,
        axis=alt.Axis(labelLimit=200),
        scale=alt.Scale(domain=list(shown)),
    )
    points = (
        alt.Chart(data)
        .mark_point(filled=True, size=110, opacity=0.9)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "hit:N",
                scale=alt.Scale(domain=["top", "missed"], range=[UP, DOWN]),
                title="relevant label",
            ),
            shape=alt.Shape(
                "hit:N",
                scale=alt.Scale(domain=["top", "missed"], range=["circle", "triangle-up"]),
                title="relevant label",
            ),
            tooltip=[alt.Tooltip("label:N"), alt.Tooltip("rank:Q"), alt.Tooltip("row:N")],
        )
    )
    rule = (
        alt.Chart(pd.DataFrame([{"rank": k + 0.5}]))
        .mark_rule(color=GREY, strokeDash=[4, 3], strokeWidth=1.5)
        .encode(x=x)
    )
    return alt.layer(rule, points).properties(height=50 * len(lists) + 70)
