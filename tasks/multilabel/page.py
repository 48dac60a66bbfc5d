"""Labels: AP against label frequency, which measures agree on the methods, and top-K lists side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, class_charts, confusions, controls, say, source, tables, task_rows
from dashboard.task_rows import Scored
from dashboard.views import common
from suite.base.command import Command
from suite.base.errors import UserError
from suite.boards import classes as by_class
from suite.boards.classes import ClassScores
from suite.define.flags import EXTERNAL
from suite.define.protocol import Protocol
from suite.define.task import Metric, Task, direction
from suite.records.attempt import Attempt
from suite.render.cells import metric_of
from suite.render.table import Column, Kind, Sheet, Value
from suite.store.rows import Run
from tasks.multilabel import agreement, drawings, instances
from tasks.multilabel.frequency import steps
from tasks.multilabel.instances import Kept
from tasks.multilabel.measure_keys import AP, TURNED, comparable, spelled, usual
from tasks.multilabel.top_lists import ORDERS, Entry, Order, TopList, ordered, ranks, top_list

TITLE = "Labels"
ICON = ":material/label:"

FREQUENCY, AGREEMENT, LISTS = "AP by frequency", "which measures agree", "top-K lists"
TOP_K = "tkpr"
MOST_ROWS = 4
"""Rows in the chart of AP by frequency."""
_HEIGHT = 420
_LIST_WIDTH = 430
"""Pixels of a list: two of them stand beside each other in a window of 1280."""
_SHOWN = 8
"""Names that a line of text lists."""


def page() -> None:
    picked = task_rows.pick_scored({TOP_K, AP}, "no task here ranks the labels of a sample")
    if picked is None:
        return
    task, protocol = picked
    lines = task_rows.rows(task, protocol, task.primary[0])
    if not lines:
        return
    part = controls.tabs((FREQUENCY, AGREEMENT, LISTS), "view")
    if part == FREQUENCY:
        _by_frequency(task, protocol, lines)
    elif part == AGREEMENT:
        _which_agree(task, protocol, lines)
    else:
        _side_by_side(task, protocol, lines)


# -- what is read


@source.kept
def _class_scores(stamp: source.Stamp, task: str, protocol: str) -> list[ClassScores]:
    of = source.task(task)
    with source.connection() as store:
        return by_class.class_scores(store, of, of.protocols[protocol], AP)


@source.kept
def _counts(stamp: source.Stamp, task: str, protocol: str) -> tuple[int, ...] | None:
    of = source.task(task)
    under = of.protocols[protocol]
    sides = task_rows.sides(of, under, of.primary[0]).values()
    runs = ((run.run_id, run.attempt) for side in sides for run in side.runs)
    return by_class.class_counts(source.root(), under.dataset, runs)


def _cut(task: Task, protocol: Protocol) -> int:
    """The protocol's K: how many labels a list has."""
    return int(task.evaluation(protocol)["k"])


# -- AP against label frequency


def _by_frequency(task: Task, protocol: Protocol, lines: Sequence[Scored]) -> None:
    found = {
        one.side.row_id: one for one in _class_scores(source.current(), task.name, protocol.name)
    }
    scored = {line.name: found[line.side.row_id] for line in lines if line.side.row_id in found}
    if not scored:
        say.nothing(
            f"no row under {protocol.name} has an AP by label: of runs that keep only the highest scores of each "
            "sample it is not known"
        )
        return
    chosen = controls.pick_many(
        f"Rows, at most {MOST_ROWS}",
        list(scored),
        "rows",
        default=common.reference_first(list(scored), task),
        most=MOST_ROWS,
        help="In the board's order, the best first.",
    )[:MOST_ROWS]
    if not chosen:
        say.nothing("choose a row")
        return
    counts = _counts(source.current(), task.name, protocol.name)
    groups = by_class.groups_of(task, protocol, counts)
    rows = [scored[name] for name in chosen]
    without = [c for c in range(len(groups)) if all(row.classes[c] is None for row in rows)]
    names = protocol.dataset.classes
    charts.show(
        _frequency_chart(rows, chosen, protocol, counts, groups, without),
        "ap-by-frequency",
        f"AP of {len(names) - len(without)} labels against their training positives, for {', '.join(chosen)}",
    )
    if counts is None:
        say.note("No record tells the training counts: labels are in the data set's own order.")
    else:
        say.note(
            "A point is a label, its AP the mean over replicates; lines join the means over labels whose training "
            "positives lie within a factor of two. Grounds: " + protocol.dataset.group_rule
        )
    if without:
        say.note(
            f"{len(without)} of {len(names)} labels have no AP, for want of a positive test sample (grey ticks below the "
            f"points; in the table, too): {_some([names[c] for c in without])}."
        )
    sheet = class_charts.sheet(
        f"{task.name}, {protocol.name}: AP by label",
        ("label", "training positives"),
        "percent",
        {name: scored[name] for name in chosen},
        protocol,
        counts,
        groups,
    )
    with st.expander("Table"):
        tables.show(sheet, "labels")


def _frequency_chart(
    rows: Sequence[ClassScores],
    labels: Sequence[str],
    protocol: Protocol,
    counts: tuple[int, ...] | None,
    groups: Sequence[str],
    without: Sequence[int],
) -> Any:
    metric = Metric(name=AP)
    data = class_charts.points(rows, labels, protocol, metric, counts, groups)
    x = alt.X(
        "x:Q",
        scale=alt.Scale(type="log", nice=False, padding=18) if counts else alt.Scale(padding=18),
        axis=alt.Axis(
            title="training positives of the label (logarithmic)" if counts else "label",
            grid=False,
            tickCount=6,
            format="~s",
        ),
    )
    # where labels are many, most are rare and their AP is a few percent
    top = float(data["mean"].max()) if len(data) else 100.0
    floor = -0.06 * (top or 1.0)
    y = alt.Y(
        "mean:Q",
        title="AP / %",
        scale=alt.Scale(domain=[1.7 * floor, 1.03 * (top or 1.0)], nice=False),
        axis=alt.Axis(tickCount=6, labelExpr="datum.value < 0 ? '' : datum.label"),
    )
    few = len(groups) <= class_charts.MOST_BARS
    legend = alt.Legend(
        orient="bottom", columns=4, labelLimit=300, symbolType="stroke", symbolSize=500
    )
    # where there are lines, these are in the legend: they are seen on light and dark ground
    own = {} if not counts else {"legend": None}
    points = (
        alt.Chart(data)
        .mark_point(size=60 if few else 22, filled=True, opacity=0.85 if few else 0.5)
        .encode(
            x=x,
            y=y,
            color=charts.colour("row", labels, **own),
            shape=charts.shape("row", labels).legend(None),
            tooltip=[
                alt.Tooltip("class:N", title="label"),
                alt.Tooltip("group:N"),
                alt.Tooltip("count:Q", title="training positives", format=","),
                alt.Tooltip("row:N"),
                alt.Tooltip("mean:Q", title="AP / %", format=".1f"),
                alt.Tooltip("low:Q", title="from / %", format=".1f"),
                alt.Tooltip("high:Q", title="to / %", format=".1f"),
                alt.Tooltip("n:Q", title="seeds"),
            ],
        )
    )
    layers: list[Any] = [points]
    if counts:
        joined = pd.DataFrame(
            [
                {"row": name, "x": step.count, "mean": 100 * step.mean, "labels": step.labels}
                for name, row in zip(labels, rows, strict=True)
                for step in steps(counts, [one.mean if one else None for one in row.classes])
            ],
            columns=["row", "x", "mean", "labels"],
        )
        layers.append(
            alt.Chart(joined)
            .mark_line(strokeWidth=2.5)
            .encode(
                x=x,
                y=y,
                color=charts.colour("row", labels, legend=legend),
                strokeDash=charts.dash("row", labels).legend(legend),
            )
        )
    if without:
        ranks = {c: rank for rank, c in enumerate(by_class.by_frequency(len(groups), counts), 1)}
        missing = pd.DataFrame(
            [
                {
                    "class": charts.name(protocol.dataset.classes[c]),
                    "count": counts[c] if counts else None,
                    "x": max(counts[c], 0.5) if counts else ranks[c],
                    "low": floor,
                    "why": "no positive test sample",
                }
                for c in without
            ]
        )
        layers.append(
            alt.Chart(missing)
            .mark_tick(orient="vertical", color=drawings.GREY, thickness=2, size=9)
            .encode(
                x=x,
                y=alt.Y("low:Q", title="AP / %"),
                tooltip=[
                    alt.Tooltip("class:N", title="label"),
                    alt.Tooltip("count:Q", title="training positives", format=","),
                    alt.Tooltip("why:N", title="AP"),
                ],
            )
        )
    drawn = alt.layer(*layers).resolve_scale(color="independent", strokeDash="independent")
    spans = by_class.group_spans(groups, counts) if counts else None
    if spans and counts:
        if not min(counts):
            name, low, high = spans[-1]
            # what has no training positive is drawn at one half
            spans[-1] = name, min(low, 0.4), high
        drawn = alt.layer(*class_charts.grounds(spans, x), drawn)
    return drawn.properties(height=_HEIGHT)


# -- which measures agree


def _which_agree(task: Task, protocol: Protocol, lines: Sequence[Scored]) -> None:
    above = st.container()
    every = controls.switch(
        "Every row",
        "every",
        help="Also further rows of a method, with other parameters. Else one row a method: that with the default "
        "parameters, or where there is none its best.",
    )
    if not every:
        lines = _row_each(lines)
    keys = comparable(task, {key for line in lines for key in line.row.metrics})
    with above:
        chosen = controls.pick_many(
            "Measures",
            keys,
            "measures",
            default=usual(keys),
            help="At least two.",
        )
    if len(lines) < agreement.LEAST_METHODS:
        say.nothing(
            f"{len(lines)} {'row(s)' if every else 'method(s)'} under {protocol.name}: of fewer than {agreement.LEAST_METHODS} there is nothing to "
            "say about which measures agree; this trains every method:",
            Command("run", "--task", task.name, "--protocol", protocol.name, "--seeds", "0-2"),
        )
        return
    if len(chosen) < 2:
        say.nothing("choose two measures or more")
        return
    higher = [direction(task, key) is not False for key in chosen]
    values = agreement.higher_is_better(
        [[line.row.cell(key).mean for key in chosen] for line in lines], higher
    )
    found = agreement.agreement(values)
    pair = agreement.widest(found.tau)
    if pair is None:
        say.nothing(
            "no two of these measures can be compared: each lacks values, or gives all methods the same"
        )
        return
    names = [line.name for line in lines]
    shown = [spelled(task, key) for key in chosen]
    what = "rows" if every else "methods"
    st.markdown(say.words(agreement.finding(values, names, shown, what=what)))
    charts.show(
        drawings.heat_map(found, confusions.labels(shown)),
        "agreement",
        f"Kendall's tau-b of {len(shown)} measures over {len(names)} {what}, from "
        f"{found.tau[pair]:.2f} ({shown[pair[0]]}, {shown[pair[1]]})",
    )
    replicates = sorted({line.row.n for line in lines})
    seeds = f"{replicates[0]}" if len(replicates) == 1 else f"{replicates[0]} to {replicates[-1]}"
    say.note(
        f"Kendall's tau-b (Kendall 1945, Biometrika 33) of the orders that two measures put {len(names)} "
        f"{what} in, by their means over {seeds} replicate(s): 1 the same order, 0 unrelated, -1 "
        f"the opposite. Equal means are ties; pairs with a missing value are left out.{_turned(shown)} K is {_cut(task, protocol)}."
    )
    itself = _between_seeds(task, protocol, lines, chosen)
    told = [f"{shown[at]} {value:.2f}" for at in pair if (value := itself[at]) is not None]
    if told:
        say.note(
            f"From one seed to another a measure agrees with itself, mean tau-b of single seeds: {', '.join(told)}. What two "
            "measures differ by beyond that is no noise of seeds."
        )
    _tau_table(found, shown, itself, f"{task.name}, {protocol.name}", len(names))
    _two_measures(task, protocol, lines, chosen, values, pair)


def _row_each(lines: Sequence[Scored]) -> list[Scored]:
    """One line a method, in their order: of our own ones the default, else the best."""
    best: dict[str, Scored] = {}
    for line in lines:
        kept = best.get(line.row.method)
        if kept is None or _standing(line) < _standing(kept):
            best[line.row.method] = line
    return [line for line in lines if line is best[line.row.method]]


def _standing(line: Scored) -> tuple[bool, bool]:
    return EXTERNAL in line.row.flags, line.row.settings != []


def _turned(shown: Sequence[str]) -> str:
    if not any(name.endswith(TURNED) for name in shown):
        return ""
    return f" Of measures with{TURNED} less is better: they are turned, so that 1 always means that both prefer the same."


def _between_seeds(
    task: Task, protocol: Protocol, lines: Sequence[Scored], keys: Sequence[str]
) -> list[float | None]:
    """How far each measure agrees with itself from seed to seed, over the seeds that all lines share."""
    import numpy as np

    values = [
        {row: side.values for row, side in task_rows.sides(task, protocol, key).items()}
        for key in keys
    ]
    rows = [line.side.row_id for line in lines]
    shared = set.intersection(*({run.seed for run in line.side.runs} for line in lines))
    each = [
        agreement.higher_is_better(
            [[of.get(row, {}).get(seed) for of in values] for row in rows],
            [direction(task, key) is not False for key in keys],
        )
        for seed in sorted(shared)
    ]
    found = agreement.between_seeds(each)
    if not found.size:
        return [None] * len(keys)
    return [float(one) if np.isfinite(one) else None for one in found]


def _tau_table(
    found: agreement.Agreement,
    names: Sequence[str],
    itself: Sequence[float | None],
    title: str,
    methods: int,
) -> None:
    columns = [Column("measure"), *(Column(name, "number") for name in names)]
    columns.append(
        Column(
            "between seeds",
            "number",
            "Mean tau-b of the measure's own orders in two single seeds: how far it agrees with itself.",
        )
    )
    lines: list[list[Value]] = [
        [
            name,
            *(None if one != one else round(float(one), 3) for one in found.tau[i]),
            None if itself[i] is None else round(itself[i] or 0.0, 3),
        ]
        for i, name in enumerate(names)
    ]
    with st.expander("Table"):
        tables.show(
            Sheet(
                f"{title}: Kendall's tau-b of measures over {methods} methods",
                tuple(columns),
                lines,
                notes=(
                    "between seeds: what a measure disagrees with itself from seed to seed is noise, which two measures' "
                    "tau-b holds as well, though less of it: it is of means over seeds.",
                ),
            ),
            "agreement",
        )


def _two_measures(
    task: Task,
    protocol: Protocol,
    lines: Sequence[Scored],
    keys: Sequence[str],
    values: Any,
    pair: tuple[int, int],
) -> None:
    """Which methods change places between two measures."""
    st.subheader("Which methods change places")
    first, second, _ = st.columns([2, 2, 3])
    with first:
        x = controls.pick(
            "By", keys, "x", default=keys[pair[0]], help="At first the two that agree least."
        )
    with second:
        y = controls.pick("and by", keys, "y", default=keys[pair[1]])
    if x == y:
        say.nothing("choose two measures")
        return
    a, b = keys.index(x), keys.index(y)
    moves = agreement.moves(values, a, b)
    if not moves:
        say.nothing(f"no method has both {x} and {y}")
        return
    names = [spelled(task, key) for key in (x, y)]
    charts.show(
        drawings.slopes(moves, [line.name for line in lines], names),
        "places",
        f"places of {len(moves)} methods by {names[0]} and by {names[1]}; furthest moved: "
        + ", ".join(f"{lines[m.method].name} {m.first} to {m.second}" for m in moves[:3]),
    )
    say.note(
        "1 is the best; equal means share the better place. Places take no account of noise: see the leaderboard."
    )
    kinds: list[Kind] = [
        "percent" if metric_of(task, key).unit == "fraction" else "number" for key in (x, y)
    ]
    sheet = Sheet(
        f"{task.name}, {protocol.name}: places by {names[0]} and by {names[1]}",
        (
            Column("method"),
            Column("n", "integer", "Replicates."),
            Column(names[0], kinds[0]),
            Column("place", "integer", f"By {names[0]}."),
            Column(names[1], kinds[1]),
            Column("place", "integer", f"By {names[1]}."),
            Column("moved", "integer", "Places won by the second measure against the first."),
        ),
        [
            (
                lines[move.method].name,
                lines[move.method].row.n,
                lines[move.method].row.cell(x).mean,
                move.first,
                lines[move.method].row.cell(y).mean,
                move.second,
                move.first - move.second,
            )
            for move in moves
        ],
    )
    tables.show(sheet, "places")
    columns = [Column("method"), *(Column(spelled(task, key), "integer") for key in keys)]
    places = [agreement.places(values[:, k]) for k in range(len(keys))]
    every = Sheet(
        f"{task.name}, {protocol.name}: place of each method by each measure",
        tuple(columns),
        [[line.name, *(of[m] for of in places)] for m, line in enumerate(lines)],
    )
    with st.expander("Places by every measure"):
        tables.show(every, "all-places")


# -- lists


def _side_by_side(task: Task, protocol: Protocol, lines: Sequence[Scored]) -> None:
    first, second, third = st.columns(3)
    chosen = _pick_sides(task, lines, first, second)
    with third:
        runs = _pick_runs(chosen)
    if not confusions.wanted([(run.run_id, run.attempt) for run in runs]):
        return
    try:
        with st.spinner("reading stored predictions"):
            kept = [_kept(task, protocol, run) for run in runs]
        if len(kept) == 2 and not instances.same_samples(*kept):
            raise UserError(
                f"{chosen[0].name} and {chosen[1].name} were tested on other samples: their lists do not compare"
            )
    except UserError as error:
        confusions.problem(error)
        return
    k = _cut(task, protocol)
    sample = _pick_sample(kept, k)
    names = protocol.dataset.classes
    found = [instances.sample(one.found, sample) for one in kept]
    lists = [top_list(scores, relevant, k) for scores, relevant in found]
    shown = [f"{letter}: {line.name}" for letter, line in zip("AB", chosen, strict=False)]
    relevant = [c for c in range(len(names)) if found[0][1][c]]
    say.note(
        f"sample {sample} shows {len(relevant)} of {len(names)} labels"
        + (
            f": {_some([names[c] for c in relevant])}"
            if relevant
            else "; no measure is defined for it"
        )
    )
    # beside each other where there is room for both, else below
    with st.container(horizontal=True, gap="small"):
        for at, found_list in enumerate(lists):
            with st.container(width=_LIST_WIDTH):
                other = found[1 - at][0] if len(found) == 2 else None
                _list_table(found_list, shown[at], other, names, k, sample, letter="BA"[at])
    if relevant:
        charts.show(
            drawings.rank_strip(lists, confusions.labels(shown), confusions.labels(names), k),
            "relevant-ranks",
            f"ranks of the {len(relevant)} labels that sample {sample} shows, by {' and by '.join(shown)}",
        )
        say.note(
            f"Each point is a label that the sample shows; the rule parts the {k} highest from the rest."
        )
    each = [instances.sample_measures(one.found, sample, k) for one in kept]
    _measure_table(each, shown, sample)


def _pick_sides(task: Task, lines: Sequence[Scored], first: Any, second: Any) -> list[Scored]:
    """A and B; A alone where there is no other row."""
    named = {line.name: line for line in lines}
    names = list(named)
    base = task.reference if task.reference in names else names[-1]
    best = next((name for name in names if name != base), base)
    with first:
        a = controls.pick("A", names, "a", default=best)
    if len(names) == 1:
        say.note("A second row is needed to compare: train another method under this protocol.")
        return [named[a]]
    with second:
        b = controls.pick("against B", names, "b", default=base)
    if a == b:
        say.note("A and B are the same row: choose two to compare them.")
        return [named[a]]
    return [named[a], named[b]]


def _pick_runs(chosen: Sequence[Scored]) -> list[Run]:
    """A replicate of each row: of the seed chosen, where the rows share one."""
    by_seed = [by_class.by_seed(line.side) for line in chosen]
    seeds = sorted(set.intersection(*(set(runs) for runs in by_seed)))
    if not seeds:
        runs = [line.side.runs[0] for line in chosen]
        told = ", ".join(
            f"{line.name} seed {run.seed}" for line, run in zip(chosen, runs, strict=True)
        )
        say.note(f"The rows share no seed; shown: {told}.")
        return runs
    seed = controls.pick(
        "Seed", [str(one) for one in seeds], "seed", help="One replicate of each row."
    )
    return [runs[int(seed)] for runs in by_seed]


def _kept(task: Task, protocol: Protocol, run: Run) -> Kept:
    """Raises UserError: gone, damaged, too large, or of another form."""
    return _read(task_rows.stamp_of(run), task.name, protocol.name, run.run_id, run.attempt)


# kept for as long as the file is the same
@st.cache_resource(show_spinner=False, max_entries=6)
def _read(stamp: source.Stamp, task: str, protocol: str, run: str, attempt: int) -> Kept:
    of = source.task(task)
    under = of.protocols[protocol]
    there = Attempt(source.root(), run, attempt)
    return instances.read(there, under, source.catalog(), _cut(of, under))


def _pick_sample(kept: Sequence[Kept], k: int) -> int:
    """The number of a test sample, 0 the first, chosen along an order of them."""
    count = len(kept[0].scores)
    orders = list(ORDERS) if len(kept) == 2 else [ORDERS[0]]
    first, second, _ = st.columns(3)
    with first:
        chosen = controls.pick(
            "Order of samples",
            orders,
            "samples",
            help=f"By the difference of the sample's TKPR@{k}: A minus B.",
        )
    a, b = kept[0].scores, kept[-1].scores
    along = ordered(a, b, cast("Order", chosen)).tolist()
    # another order begins at its first sample; what a link asks for stays
    if st.session_state.setdefault(_ALONG, chosen) != chosen:
        st.session_state[_ALONG] = chosen
        st.session_state[_SAMPLE] = along[0]
    with second:
        sample = controls.number(
            f"Test sample, 0 to {count - 1}",
            0,
            count - 1,
            _SAMPLE,
            default=along[0],
            help="Its place in the test set, whatever the order.",
        )
    at = along.index(sample)
    with st.container(horizontal=True, gap="small"):
        for label, to, icon in (
            ("First", 0, "first_page"),
            ("Previous", at - 1, "chevron_left"),
            ("Next", at + 1, "chevron_right"),
        ):
            there = 0 <= to < count and to != at
            st.button(
                label,
                key=f"sample-{label.lower()}",
                icon=f":material/{icon}:",
                disabled=not there,
                on_click=_go,
                args=(along[to] if there else sample,),
            )
    gap = a[sample] - b[sample]
    if len(kept) == 2 and gap == gap:
        say.note(
            f"number {at + 1} of {count} in this order; TKPR@{k} of A {a[sample]:.3f}, of B {b[sample]:.3f}"
        )
    return sample


_SAMPLE, _ALONG = "sample", "samples-along"


def _go(sample: int) -> None:
    st.session_state[_SAMPLE] = sample


def _list_table(
    found: TopList,
    title: str,
    other: Any,
    names: Sequence[str],
    k: int,
    sample: int,
    *,
    letter: str,
) -> None:
    """The K highest labels, and below them the relevant ones that are missing there. `letter`: of the other row, whose
    scores are `other`."""
    theirs = None if other is None else ranks(other)
    columns = [
        Column(
            "rank", "integer", "1 is the highest score; of equal ones the label that comes first."
        ),
        Column("label"),
        Column("relevant", "text", "Whether the sample shows it."),
    ]
    if theirs is not None:
        columns.append(Column(f"rank by {letter}", "integer", "By the other row."))
    columns.append(
        Column("score", "number", "As stored: a logit, of a scale that is the method's own.")
    )

    def line(entry: Entry) -> list[Value]:
        relevant = (
            ("yes" if entry.rank is not None and entry.rank <= k else "missed")
            if entry.relevant
            else ""
        )
        cells: list[Value] = [entry.rank, names[entry.label], relevant]
        if theirs is not None:
            known = other[entry.label] > float("-inf")
            cells.append(int(theirs[entry.label]) if known else None)
        return [*cells, entry.score]

    hits = sum(one.relevant for one in found.first)
    sheet = Sheet(
        title,
        tuple(columns),
        [line(one) for one in (*found.first, *found.missed)],
        notes=(
            f"sample {sample}: {hits} of the {len(found.first)} highest labels are relevant"
            + (
                f"; {len(found.missed)} relevant one(s) missed, below them with their ranks"
                if found.missed
                else ""
            ),
        ),
    )
    tables.show(sheet, f"list-{title[0].lower()}")


def _measure_table(
    values: Sequence[Mapping[str, float | None]], shown: Sequence[str], sample: int
) -> None:
    """What the measures say of this sample alone."""
    columns = [Column("measure"), *(Column(name, "number") for name in shown)]
    if len(values) == 2:
        columns.append(Column("A minus B", "number"))
    rows: list[list[Value]] = []
    for name in values[0]:
        line: list[Value] = [name, *(one[name] for one in values)]
        if len(values) == 2:
            a, b = (one[name] for one in values)
            line.append(None if a is None or b is None else a - b)
        rows.append(line)
    tables.show(
        Sheet(f"Measures of sample {sample} alone", tuple(columns), rows), "sample-measures"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(charts.name(name) for name in names[:_SHOWN]) + more
