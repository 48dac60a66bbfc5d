"""Test-agnostic: what each row is expected to reach when the classes' frequencies at test time are others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, controls, say, source, tables
from dashboard.palette import PALETTE
from dashboard.views import common
from suite.base.command import Command
from suite.boards.rescore import SHIFTS
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.render.table import Column, Sheet, Value
from suite.stats.tests import LEVEL, MIN_REPLICATES
from suite.store.coverage import Coverage
from tasks.test_agnostic import axis, expected
from tasks.test_agnostic import recalls as stored
from tasks.test_agnostic.expected import Curves, Recalls, Standing

TITLE = "Test-agnostic"
ICON = ":material/tune:"

EXACT = "exact"
ALPHAS = ("0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100", EXACT)
"""Concentrations, in about equal steps of their logarithm."""
MOST_ROWS = charts.MOST_SERIES
MARK = "*"
"""Beside the name of a row whose scores depend on the test set."""
_TICKS = (2, 5, 10, 25, 50)
_AXIS = "forward: frequent classes frequent  ←  imbalance ratio of the test set  →  backward: rare classes frequent"
_MARGIN = 80
"""Pixels left of both charts, so that their axes stand below each other (one has ticks, of 5 pixels)."""
_RESCORED = 200
"""Draws that the command for exact numbers asks for."""
_GREY = "#8A8A8A"
"""Text that can be read on light and dark ground."""
_OTHER = "#B8B8B8"
"""Winners that are not in the chart above."""


class Choice(NamedTuple):
    """A protocol with runs, what there is of it, and the task that scores recall under it."""

    task: Task
    protocol: Protocol
    line: Coverage


def page() -> None:
    choices = _choices()
    if not choices:
        _nothing()
        return
    first, second = st.columns([2, 5])
    with first:
        names = list(choices)
        task, protocol, _ = choices[controls.pick_protocol(names, _default(choices))]
        # below the protocol, since it belongs to what is read of it
        unadapted = controls.switch(
            "Un-adapted scores",
            "unadapted",
            help="Methods that adapt to their test set are scored by what they store before adapting: "
            "exact under every distribution.",
        )
    recalls = _recalls(source.current(), task.name, protocol.name, not unadapted)
    if recalls is None:
        say.nothing(
            f"no finished run of today's code under {protocol.name} has recalls by class; this scores "
            "those that are there:",
            Command("evaluate"),
        )
        return
    labels = _labels(recalls)
    with second:
        asked = controls.pick_many(
            "Rows in the chart",
            labels,
            "rows",
            most=MOST_ROWS,
            help=f"None chosen: the {MOST_ROWS} that do best anywhere on the axis.",
        )
        left, right = st.columns([3, 2])
        with left:
            prior = controls.slide_among(
                "Test distribution",
                axis.priors(),
                "shift",
                default="uniform",
                help="Class shares fall exponentially with the rank of the class by training count; "
                "backward, the rarest class is the most frequent.",
            )
        with right:
            text = controls.slide_among(
                "Dirichlet concentration of each class",
                ALPHAS,
                "alpha",
                default=EXACT,
                help="The smaller, the further test sets stray from the distribution; exact: not at all.",
            )
    alpha = None if text == EXACT else float(text)
    along = _curves(source.current(), task.name, protocol.name, not unadapted, alpha)
    place = axis.place_of(prior)
    standings = expected.standings(recalls, place, alpha)
    rows = [labels.index(name) for name in asked] or expected.leading(along, MOST_ROWS)
    if not rows:
        say.nothing("no row has a recall of every class")
        return
    _chart(along, rows, labels, place, alpha, recalls.draws, standings)
    _winners(along, rows, labels, place)
    _table(recalls, standings, labels, prior, alpha, f"{task.name}-{protocol.name}")
    _about(recalls, protocol, prior, alpha)


@source.kept
def _recalls(stamp: source.Stamp, task: str, protocol: str, adapted: bool) -> Recalls | None:
    of = source.task(task)
    under = of.protocols[protocol]
    with source.connection() as connection:
        return stored.read(connection, source.root(), of, under, adapted=adapted)


@source.kept
def _curves(
    stamp: source.Stamp, task: str, protocol: str, adapted: bool, alpha: float | None
) -> Curves:
    recalls = _recalls(stamp, task, protocol, adapted)
    assert recalls is not None  # the page has looked
    if alpha is None:
        return expected.curves(recalls)
    return expected.straying(recalls, _curves(stamp, task, protocol, adapted, None), alpha)


def _scoring() -> list[Task]:
    return [task for task in source.catalog().tasks().values() if stored.has_recalls(task)]


def _choices() -> dict[str, Choice]:
    """Name -> what is meant by it; names are unique within a task only."""
    found: dict[str, Choice] = {}
    for task in _scoring():
        for line in source.coverage(task.name):
            if not (line.current and line.done):
                continue
            name = line.protocol if line.protocol not in found else f"{task.name}, {line.protocol}"
            found[name] = Choice(task, task.protocols[line.protocol], line)
    return found


def _default(choices: dict[str, Choice]) -> str:
    """The first task's own protocol, else the one with most ranked rows."""
    own = next(iter(choices.values())).task.default_protocol
    if own in choices:
        return own
    return max(choices, key=lambda name: (choices[name].line.ranked, choices[name].line.rows))


def _nothing() -> None:
    tasks = _scoring()
    if not tasks:
        say.nothing("no task here scores recall by class")
        return
    if any(line.unscored for task in tasks for line in source.coverage(task.name)):
        say.nothing("finished runs are not scored yet:", Command("evaluate"))
        return
    common.no_runs(tasks[0])


def _labels(recalls: Recalls) -> list[str]:
    """The rows' names, as everything on the page shows them."""
    names = [charts.name(row.name) + f" {MARK}" * row.dependent for row in recalls.rows]
    return stored.told_apart(names)


def _chart(
    along: Curves,
    rows: Sequence[int],
    labels: Sequence[str],
    place: float,
    alpha: float | None,
    draws: int,
    standings: Sequence[Standing],
) -> None:
    names = [labels[row] for row in rows]
    data = [
        {
            "row": labels[row],
            "place": at,
            "where": axis.spoken(at),
            "mean": _percent(along.mean[row, number]),
            "low": _percent(along.low[row, number]),
            "high": _percent(along.high[row, number]),
        }
        for row in rows
        for number, at in enumerate(along.places)
    ]
    x = _across(labels=True)
    y = alt.Y(
        "mean:Q",
        title="expected top-1 / %",
        scale=alt.Scale(zero=False, nice=True),
        # above the axis, so that it takes no room beside it
        axis=alt.Axis(
            minExtent=_MARGIN,
            maxExtent=_MARGIN,
            titleAngle=0,
            titleAlign="left",
            titleAnchor="start",
            titleX=-_MARGIN,
            titleY=-14,
        ),
    )
    base = _of(data)
    bands = base.mark_area(opacity=0.13).encode(
        x, alt.Y("low:Q"), alt.Y2("high:Q"), charts.colour("row", names, legend=None)
    )
    legend = alt.Legend(
        orient="bottom", columns=4, labelLimit=300, symbolType="stroke", symbolSize=500
    )
    lines = base.mark_line(strokeWidth=2).encode(
        x,
        y,
        charts.colour("row", names, legend=legend),
        charts.dash("row", names).legend(legend),
        tooltip=_tooltip(
            ("row", "row"),
            ("where", "test distribution"),
            ("mean", "expected top-1 / %"),
            ("low", "from / %"),
            ("high", "to / %"),
        ),
    )
    rule = _of([{"place": place}]).mark_rule(color=_GREY, strokeWidth=1.5).encode(x)
    # of shared scales the bands' pale colours would be in the legend, and the dashes beside it
    chart = alt.layer(bands, lines, rule).resolve_scale(
        color="independent", strokeDash="independent"
    )
    band = (
        f"{LEVEL:.0%} t interval over replicates"
        if alpha is None
        else f"central {expected.CENTRAL:.0%} of {draws} draws"
    )
    shown = [(standings[row].mean, labels[row]) for row in rows]
    best, name = max(((mean, name) for mean, name in shown if mean is not None), default=(0.0, ""))
    charts.show(
        chart.properties(height=470),
        "agnostic-axis",
        f"Expected top-1 of {len(rows)} rows along the axis from forward 50 to backward 50, with bands: "
        f"{band}. At {axis.spoken(place)} the highest is {name} with {100 * best:.1f} %.",
    )
    say.note(f"Bands: {band}. The vertical rule is the slider's position.")


def _winners(along: Curves, rows: Sequence[int], labels: Sequence[str], place: float) -> None:
    """The strip: who has the highest mean where, and how many rows share rank 1 there."""
    found = expected.stretches(along)
    if not found:
        return
    step = along.places[1] - along.places[0]
    edges = [at - step / 2 for at in along.places] + [along.places[-1] + step / 2]
    edges[0], edges[-1] = along.places[0], along.places[-1]
    width = edges[-1] - edges[0]
    segments: list[dict[str, Any]] = []
    for one in found:
        low, high = edges[one.first], edges[one.last + 1]
        tied = f"{one.least}" if one.least == one.most else f"{one.least} to {one.most}"
        # a letter takes about a hundred-and-sixtieth of the chart's width
        room = int(160 * (high - low) / width)
        name = labels[one.row]
        segments.append(
            {
                "lane": "highest mean",
                "row": name,
                "from": low,
                "to": high - width / 1000,  # a gap tells neighbours apart
                "middle": (low + high) / 2,
                "label": name if len(name) <= room else "",
                "tied": tied,
                "where": f"{axis.spoken(along.places[one.first])} to "
                f"{axis.spoken(along.places[one.last])}",
            }
        )
    counts = [
        {
            "lane": "share rank 1",
            "place": min(max(at, edges[0] + step / 4), edges[-1] - step / 4),
            "tied": str(tied),
        }
        for at, tied in zip(along.places, along.tied, strict=True)
        if tied
    ]
    names = [labels[row] for row in rows]
    others = [name for name in dict.fromkeys(one["row"] for one in segments) if name not in names]
    colours = [PALETTE[at % len(PALETTE)] for at in range(len(names))] + [_OTHER] * len(others)
    lanes = alt.Y(
        "lane:N",
        sort=None,
        title=None,
        scale=alt.Scale(domain=["highest mean", "share rank 1"]),
        axis=alt.Axis(
            minExtent=_MARGIN - 5,
            maxExtent=_MARGIN - 5,
            ticks=False,
            domain=False,
            grid=False,
            labelLimit=100,
        ),
    )
    x = _across("from", labels=False)
    bars = (
        _of(segments)
        .mark_rect(height=14)
        .encode(
            x,
            alt.X2("to:Q"),
            lanes,
            alt.Color(
                "row:N",
                scale=alt.Scale(domain=[*names, *others], range=colours),
                legend=None,
            ),
            tooltip=_tooltip(
                ("row", "highest mean"), ("where", "from, to"), ("tied", "share rank 1")
            ),
        )
    )
    words = (
        _of(segments)
        .mark_text(dy=-15, fontSize=12, color=_GREY)
        .encode(
            _across("middle", labels=False),
            lanes,
            alt.Text("label:N"),
        )
    )
    numbers = (
        _of(counts)
        .mark_text(fontSize=11, color=_GREY)
        .encode(
            _across("place", labels=False),
            lanes,
            alt.Text("tied:N"),
        )
    )
    here = (
        _of([{"lane": "highest mean", "place": place}])
        .mark_tick(color=_GREY, thickness=3, size=18)
        .encode(_across(labels=False), lanes)
    )
    charts.show(
        (bars + words + numbers + here).properties(height=90),
        "agnostic-winners",
        "Who wins where: "
        + "; ".join(
            f"{one['where']}: {one['row']}, {one['tied']} share rank 1" for one in segments
        ),
    )
    with st.expander("Who wins where, as a table"):
        columns = (
            Column("from"),
            Column("to"),
            Column("highest mean"),
            Column("rows that share rank 1", "text", "The fewest and the most on this stretch."),
        )
        lines = [
            (
                axis.spoken(along.places[one.first]),
                axis.spoken(along.places[one.last]),
                labels[one.row],
                segment["tied"],
            )
            for one, segment in zip(found, segments, strict=True)
        ]
        tables.show(Sheet("Who wins where", columns, lines), "agnostic-winners-table")


def _table(
    recalls: Recalls,
    standings: Sequence[Standing],
    labels: Sequence[str],
    prior: str,
    alpha: float | None,
    key: str,
) -> None:
    flagged = any(row.flags for row in recalls.rows)
    columns = [
        Column("rank", "integer", "1 + rows significantly better under this distribution."),
        Column("method"),
        Column("n", "integer", f"Replicates; ranked from {MIN_REPLICATES} on."),
        Column("expected top-1", "percent", "Mean over replicates."),
        Column("±", "percent", f"Half-width of the {LEVEL:.0%} t interval over replicates."),
        Column("to the best", "points", "Difference to the highest mean of the ranked rows."),
    ]
    if alpha is not None:
        worst = f"Mean of the worst tenth of {recalls.draws} draws, over replicates."
        columns.insert(5, Column("worst decile", "percent", worst))
    if flagged:
        columns.append(Column("flags"))
    order = sorted(range(len(labels)), key=lambda at: -(standings[at].mean or -1.0))
    lines = []
    for at in order:
        one = standings[at]
        line: list[Value] = [one.rank, labels[at], one.n, one.mean, one.half]
        line += [one.worst] if alpha is not None else []
        line.append(one.behind)
        line += [" ".join(recalls.rows[at].flags)] if flagged else []
        lines.append(line)
    around = "" if alpha is None else f", Dirichlet draws of concentration {alpha:g} around it"
    tables.show(Sheet(f"Expected top-1 at {prior}{around}", tuple(columns), lines), key)


def _about(recalls: Recalls, protocol: Protocol, prior: str, alpha: float | None) -> None:
    """What the numbers are, and where the exact ones come from."""
    absent = len(recalls.classes) - int(recalls.present.sum())
    say.note(
        "Expected top-1: sum over classes of share times recall, with recalls over the whole test set; the "
        "expectation over all test sets of these shares. The board's own test sets have whole images of "
        "each class, so its numbers differ slightly."
        + (f" Left out: {absent} classes without test images." if absent else "")
    )
    changed = [row.method for row in recalls.rows if row.dependent]
    if not changed:
        return
    command = _rescore(changed, protocol, prior, alpha)
    say.note(
        f"{MARK} Scores depend on the test set: shown as they are on the uniform one, and exact there only."
        + (" From stored predictions, what they are under this distribution:" if command else "")
    )
    if command:
        st.code(command, language=None, wrap_lines=True)


def _rescore(
    methods: Sequence[str], protocol: Protocol, prior: str, alpha: float | None
) -> str | None:
    """The command for exact numbers.

    None where the page's are, where no task here has test distributions, and for draws around another
    distribution than the uniform one, which no command makes.
    """
    catalog = source.catalog()
    task = next(
        (
            one
            for one in catalog.tasks().values()
            if SHIFTS.of(one) is not None and protocol in one.protocols
        ),
        None,
    )
    # a command to copy names what is known here alone: a stranger's record may name anything
    known = [name for name in dict.fromkeys(methods) if name in catalog.methods()]
    if task is None or not known:
        return None
    ratio = math.exp(abs(axis.place_of(prior)))
    words = ["rescore", "--task", task.name, "--protocol", protocol.name]
    if ratio > 1 and alpha is None:
        words += ["--ratio", f"{ratio:.4g}"]
    elif ratio == 1 and alpha is not None:
        words += ["--dirichlet", f"{alpha:g}", "--draws", str(_RESCORED)]
    else:
        return None
    return str(Command(*words, "--method", ",".join(known)))


def _across(field: str = "place", *, labels: bool) -> alt.X:
    """The axis, with the ratios at its ticks."""
    ticks = [0.0, *(sign * math.log(ratio) for ratio in _TICKS for sign in (-1, 1))]
    words = "abs(datum.value) < 0.001 ? 'uniform' : format(exp(abs(datum.value)), '.3~g')"
    end = math.log(axis.MOST)
    shown = alt.Axis(
        values=sorted(ticks), labelExpr=words, grid=labels, labels=labels, ticks=labels
    )
    return alt.X(
        f"{field}:Q",
        title=_AXIS if labels else None,
        scale=alt.Scale(domain=[-end, end], nice=False),
        axis=shown,
    )


def _of(rows: Sequence[Mapping[str, Any]]) -> Any:
    return alt.Chart(pd.DataFrame(list(rows)))


def _tooltip(*fields: tuple[str, str]) -> list[alt.Tooltip]:
    numbers = ("mean", "low", "high")
    return [
        alt.Tooltip(f"{field}:Q", title=title, format=".1f")
        if field in numbers
        else alt.Tooltip(f"{field}:N", title=title)
        for field, title in fields
    ]


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else round(100 * float(value), 3)
