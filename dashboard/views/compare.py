"""Compare: two rows held against each other, or all methods of a task: what `suite compare` computes."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, controls, say, source, tables
from dashboard.palette import PALETTE
from dashboard.views import common
from suite.base.command import Command
from suite.base.errors import UserError
from suite.boards.compare import compare
from suite.boards.comparison import Change, Comparison, Line, Over, SideSummary, Verdict
from suite.boards.named_rows import metric_key, paired_rows
from suite.boards.overview import Overview, overview
from suite.define.task import Task, direction
from suite.records.again import Wanted, run_commands
from suite.render.comparison import on_board
from suite.render.table import Column, Kind, Sheet
from suite.store.coverage import Coverage, totals
from suite.store.row import Row

TITLE = "Compare"
ICON = ":material/compare_arrows:"

TWO, EVERY = "two rows", "all methods"
SEEDS, IMAGES = "seeds", "test images"
VERDICTS: tuple[Verdict, ...] = ("better", "worse", "undecided", "none")
LINE_HEIGHT, AROUND = 26, 170
"""Pixels of a line of a chart, and of its title, legend and axis."""
MOST_LINES = 60
"""Protocols in a chart."""


class Asked(NamedTuple):
    """What the controls say; `only` is a protocol's name, None for all."""

    task: str
    only: str | None
    metric: str
    over: Over


class Values(NamedTuple):
    """Seed -> value of both sides under a protocol; empty where a run has no value."""

    protocol: str
    a: dict[int, float]
    b: dict[int, float]


def page() -> None:
    first, second, third, fourth, fifth = st.columns([2, 3, 3, 2, 2], vertical_alignment="bottom")
    with first:
        task = controls.pick_task()
    lines = [line for line in source.coverage(task.name) if line.current and line.methods]
    if not lines:
        no_scores(task)
        return
    with second:
        protocol = common.pick_protocol(task, lines)
    board = source.board(task.name, protocol, task.primary[0])
    with third:
        metric = _pick_metric(task, board)
    with fourth:
        about = "Models as trained, over resamples of the test images: takes seconds."
        images = controls.pick("Over", (SEEDS, IMAGES), "over", help=about) == IMAGES
    with fifth:
        all_protocols = controls.switch(
            "All protocols", "every", help="Each protocol with both rows, and a test over them."
        )
    if images and all_protocols:
        say.note(f"over test images: under {protocol} alone")
        all_protocols = False
    over: Over = "images" if images else "seeds"
    asked = Asked(task.name, None if all_protocols else protocol, metric, over)
    lines = lines if all_protocols else [line for line in lines if line.protocol == protocol]
    if controls.tabs((TWO, EVERY), "view") == TWO:
        _two(task, asked, protocol, _methods(task, lines, board))
    else:
        _all(task, asked, lines)


def no_scores(task: Task) -> None:
    """The empty state of a task without a score of today's code, and what makes one."""
    counts = totals(source.coverage(task.name))
    command: Command | str
    if counts["unscored"]:
        line = (
            f"{counts['unscored']} runs of {task.name} are finished and have no evaluation of today"
        )
        command = Command("evaluate", "--task", task.name)
    elif counts["stale"]:
        line = f"{counts['stale']} runs of {task.name} are made by other code than today's"
        command = _train_anew(task)
    elif counts["runs"]:
        line = f"{counts['runs']} runs of {task.name} are there, none of them finished"
        command = Command("status")
    else:
        common.no_runs(task)
        return
    say.nothing(f"{line}; they are not compared:", command)


def _train_anew(task: Task) -> Command | str:
    """What trains the stale runs of a protocol that has some, and no others."""
    under = next(line.protocol for line in source.coverage(task.name) if line.stale)
    stale = [
        Wanted(row.method, tuple(row.settings), tuple(sorted(set(row.seeds))))
        for row in source.board(task.name, under, task.primary[0])
        if row.state == "stale" and row.settings is not None
    ]
    found = run_commands(task.name, under, stale, "--stale")
    return found[0] if found else ""


def _pick_metric(task: Task, board: Sequence[Row]) -> str:
    shown = dict.fromkeys([*task.primary, *task.columns])
    others = sorted({key for row in board for key in row.metrics} - shown.keys())
    keys = [key for key in [*shown, *others] if direction(task, key) is not None]
    return controls.pick("Metric", keys, "by")


def _methods(task: Task, lines: Sequence[Coverage], board: Sequence[Row]) -> list[str]:
    """Those with a score: the board's best first, then the others."""
    known = {name for line in lines for name in line.methods}
    best = dict.fromkeys(row.method for row in board if row.method in known)
    return [*best, *sorted(known - best.keys())]


# -- two rows


def _two(task: Task, asked: Asked, protocol: str, methods: Sequence[str]) -> None:
    reference = task.reference if task.reference in methods else methods[-1]
    best = next((name for name in methods if name != reference), methods[0])
    columns = st.columns([3, 2, 3, 2])
    row = "Another row of a method: the first digits of the id of one of its runs."
    with columns[0]:
        a = controls.pick("A", methods, "a", default=best)
    with columns[1]:
        a_run = controls.text("or the row of run", "run_a", placeholder="run id", help=row)
    with columns[2]:
        b = controls.pick("B", methods, "b", default=reference)
    with columns[3]:
        b_run = controls.text("or the row of run ", "run_b", placeholder="run id", help=row)
    if len(methods) == 1 and not (a_run and b_run):
        command = Command("run", "--task", task.name, "--protocol", protocol)
        say.nothing("there is one method with a score; two make a comparison", command)
        return
    if a_run or b_run:
        # a run stands for a row under its own protocol
        asked = asked._replace(only=None)
    a, b = a_run or a, b_run or b
    try:
        with st.spinner("comparing"):
            found = _compared(source.current(), asked, a, b)
            values = _values(source.current(), asked, a, b)
    except UserError as error:
        say.error(" ".join(str(error).split()))
        return
    _verdict(found)
    if found.lines:
        if found.over == "images":
            _differences(found)
        else:
            left, right = st.columns(2)
            with left:
                _pairs(found, values, protocol)
            with right:
                _differences(found)
        tables.show(_lines(found), f"compare-{task.name}-{found.metric}")
    for note in found.notes:
        say.note(note)
    if found.protocols:
        _changes("Protocols differ in", found, found.protocols, "protocols")
    _changes("Rows differ in", found, found.config, "rows")


@source.kept
def _compared(stamp: source.Stamp, asked: Asked, a: str, b: str) -> Comparison:
    task = source.task(asked.task)
    only = source.catalog().protocol(task, asked.only) if asked.only else None
    return compare(
        source.root(), source.catalog(), task, a, b, metric=asked.metric, only=only, over=asked.over
    )


@source.kept
def _values(stamp: source.Stamp, asked: Asked, a: str, b: str) -> list[Values]:
    task = source.task(asked.task)
    only = source.catalog().protocol(task, asked.only) if asked.only else None
    both, _, _ = paired_rows(source.root(), source.catalog(), task, a, b, asked.metric, only)
    return [Values(x.protocol, x.values, y.values) for x, y in both]


def _verdict(found: Comparison) -> None:
    """What follows, in words, before any number; and what to type where nothing does."""
    if len(found.lines) == 1:
        (line,) = found.lines
        _headline(line.finding)
        if line.next:
            st.code(str(line.next), language=None, wrap_lines=True)
    elif found.lines:
        if found.overall is not None:
            _headline(found.overall.words)
        counts = Counter(line.verdict for line in found.lines)
        parts = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
        under = f"of {len(found.lines)} protocols, {found.a} against {found.b}: {', '.join(parts)}"
        say.note(under.replace(" none", " without a test"))
    else:
        _headline("No protocol has both")


def _headline(words: str) -> None:
    """What follows, large; on what condition, below it."""
    first, _, more = words.partition("; ")
    st.markdown(f"#### {say.words(first)}")
    if more:
        say.note(more)


def _sides(found: Comparison) -> tuple[str, str]:
    """Names of A and B in charts."""
    cells = found.lines[0].a, found.lines[0].b
    names = [cell.name for cell in cells]
    if names[0] == names[1]:
        names = [f"{cell.name} ({cell.runs[0]})" for cell in cells]
    return f"A {charts.name(names[0])}", f"B {charts.name(names[1])}"


def _pairs(found: Comparison, values: Sequence[Values], protocol: str) -> None:
    """Both values of each seed, joined."""
    of = next((one for one in values if one.protocol == protocol), values[0])
    if not of.a and not of.b:
        return
    scale = 100 if found.unit == "fraction" else 1
    names = _sides(found)
    rows = [
        {"seed": str(seed), "value": scale * side[seed], "side": name}
        for name, side in zip(names, (of.a, of.b), strict=True)
        for seed in side
    ]
    seeds = list(map(str, sorted({*of.a, *of.b})))
    y = alt.Y("seed:N", sort=seeds, title="seed")
    x = alt.X("value:Q", scale=alt.Scale(zero=False), title=_axis(found.metric, found.unit))
    base = alt.Chart(pd.DataFrame(rows))
    joined = base.mark_line(strokeWidth=1.5, color=PALETTE[-1]).encode(
        x=x, y=y, detail="seed:N", order="value:Q"
    )
    points = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=x,
        y=y,
        color=charts.colour("side", names, "", legend=alt.Legend(orient="top", labelLimit=300)),
        shape=charts.shape("side", names, ""),
        tooltip=[
            alt.Tooltip("side:N", title="row"),
            alt.Tooltip("seed:N", title="seed"),
            alt.Tooltip("value:Q", title="value", format=".4g"),
        ],
    )
    chart = (joined + points).properties(
        height=_height(len(seeds)), title=f"Seed by seed, {charts.name(of.protocol)}"
    )
    charts.show(
        chart, "pairs", f"{found.metric} of {names[0]} and {names[1]} for {len(seeds)} seeds"
    )


def _differences(found: Comparison) -> None:
    """A - B with its interval under each protocol."""
    known = [line for line in found.lines if line.difference is not None]
    if not known:
        return
    lines = known[:MOST_LINES]
    if len(known) > len(lines):
        say.note(f"the first {len(lines)} of {len(known)} protocols; the table has all")
    scale = 100 if found.unit == "fraction" else 1
    names = unique([line.protocol for line in lines])
    rows = [
        {
            "protocol": name,
            "difference": scale * (line.difference or 0.0),
            "low": None if line.low is None else scale * line.low,
            "high": None if line.high is None else scale * line.high,
            "verdict": f"A is {line.verdict}" if line.p is not None else "no test",
        }
        for name, line in zip(names, lines, strict=True)
    ]
    # a verdict looks the same in every comparison
    verdicts = ["A is better", "A is worse", "A is undecided", "no test"]
    there = [verdict for verdict in verdicts if any(row["verdict"] == verdict for row in rows)]
    base = alt.Chart(pd.DataFrame(rows))
    y = alt.Y("protocol:N", sort=names, title=None, axis=alt.Axis(labelLimit=220))
    title = "A − B / points" if found.unit == "fraction" else f"A − B {found.unit}".strip()
    rule = base.mark_rule(strokeWidth=2, color=PALETTE[-1]).encode(
        x=alt.X("low:Q", title=title), x2="high:Q", y=y
    )
    point = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=alt.X("difference:Q", title=title),
        y=y,
        color=charts.colour("verdict", verdicts, "", legend=alt.Legend(orient="top", values=there)),
        shape=charts.shape("verdict", verdicts, ""),
        tooltip=[
            alt.Tooltip("protocol:N", title="protocol"),
            alt.Tooltip("difference:Q", title="A − B", format="+.3g"),
            alt.Tooltip("low:Q", title="low", format="+.3g"),
            alt.Tooltip("high:Q", title="high", format="+.3g"),
            alt.Tooltip("verdict:N", title="verdict"),
        ],
    )
    zero = (
        alt.Chart(pd.DataFrame([{"zero": 0}]))
        .mark_rule(strokeDash=[3, 3], color=PALETTE[-1])
        .encode(x=alt.X("zero:Q", title=title))
    )
    chart = (zero + rule + point).properties(
        height=_height(len(rows)), title="Difference with 95 % interval"
    )
    told = "; ".join(f"{row['protocol']} {row['difference']:+.3g}" for row in rows[:10])
    charts.show(chart, "differences", f"{title}, {found.metric}: {told}")


def _lines(found: Comparison) -> Sheet:
    value, gap = _kinds(found.unit)
    better = "higher" if found.higher_is_better else "lower"
    columns = (
        Column("protocol"),
        Column("A", value, found.a),
        Column("A runs", "integer"),
        Column("B", value, found.b),
        Column("B runs", "integer"),
        Column("common seeds", "integer"),
        Column("A − B", gap),
        Column("low", gap, "95 % interval of the difference."),
        Column("high", gap, "95 % interval of the difference."),
        Column("p", "number", "Of this one comparison."),
        Column("A is"),
        Column("on the board", "text", "Of all pairs of the board together: told apart, or tied."),
        Column("test"),
        Column("n", "integer", "What test and interval are over."),
        Column("in words"),
    )
    rows = [_line(line) for line in found.lines]
    title = f"{found.a} (A) and {found.b} (B): {found.metric}, {better} is better"
    return Sheet(title, columns, rows)


def _line(line: Line) -> tuple[str | float | int | None, ...]:
    def side(cell: SideSummary) -> tuple[float | None, int]:
        return cell.mean, len(cell.runs)

    numbers = line.difference, line.low, line.high, line.p
    verdict = "–" if line.verdict == "none" else line.verdict
    seeds = len(line.common_seeds)
    more = verdict, on_board(line), line.test, line.n, line.words
    return (line.protocol, *side(line.a), *side(line.b), seeds, *numbers, *more)


def _changes(title: str, found: Comparison, changes: Sequence[Change], key: str) -> None:
    if not changes:
        say.note(f"{title} nothing")
        return
    columns = (Column("what"), Column("A", "text", found.a), Column("B", "text", found.b))
    rows = [(change.key, _text(change.a), _text(change.b)) for change in changes]
    tables.show(Sheet(title, columns, rows), f"{key}-differ")


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


# -- all methods


def _all(task: Task, asked: Asked, lines: Sequence[Coverage]) -> None:
    methods = sorted({name for line in lines for name in line.methods})
    with st.columns([3, 7])[0]:
        reference = controls.pick(
            "Reference",
            methods,
            "reference",
            default=task.reference,
            help="The method that exchange rates are against.",
        )
    with st.spinner("comparing all methods"):
        found = _overview(source.current(), asked, reference)
    under = asked.only or f"{len(found.protocols)} protocols"
    _ranks(found, asked)
    tables.show(_wins(found, under), f"wins-{task.name}-{found.metric}")
    _prices(task, found)
    if found.images:
        tables.show(_images(found, under), f"images-{task.name}-{found.metric}")


@source.kept
def _overview(stamp: source.Stamp, asked: Asked, reference: str) -> Overview:
    task = source.task(asked.task)
    catalog = source.catalog()
    return overview(
        source.root(),
        catalog,
        task,
        metric=asked.metric,
        only=catalog.protocol(task, asked.only) if asked.only else None,
        reference=reference,
        images=asked.over == "images",
    )


def _wins(found: Overview, under: str) -> Sheet:
    columns = (
        Column("method"),
        *(Column(name, "percent", f"How often the row beats {name}.") for name in found.methods),
    )
    rows = [
        (name, *(None if cell is None else cell.rate for cell in cells))
        for name, cells in zip(found.methods, found.wins, strict=True)
    ]
    pairs = sorted({cell.pairs for cells in found.wins for cell in cells if cell is not None})
    notes = list(found.notes)
    if pairs:
        count = str(pairs[0]) if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]}"
        notes.insert(
            0, f"of {count} (protocol, seed) pairs that two methods share; ties count half"
        )
    title = f"How often the row beats the column in {found.metric}, {under}"
    return Sheet(title, columns, rows, notes)


def _ranks(found: Overview, asked: Asked) -> None:
    """The critical-difference diagram: a point a method, a bar over those that are not told apart."""
    st.markdown("**Average ranks and Nemenyi's critical difference at 5 %**")
    if found.ranks is None:
        hint = "; switch on “All protocols”" if asked.only is not None else ""
        say.note(found.ranks_words + hint)
        return
    chart, told = rank_diagram(found)
    charts.show(chart, "ranks", told)
    say.note(found.ranks_words)


def rank_diagram(found: Overview) -> tuple[Any, str]:
    """(chart, alt text); the overview has ranks."""
    assert found.ranks is not None
    ranks, difference = found.ranks.found.ranks, found.ranks.found
    order = sorted(range(len(ranks)), key=lambda place: ranks[place])
    names = unique([found.ranks.methods[place] for place in order])
    low, high = ranks[order[0]], ranks[order[-1]]
    step = max(high - low, difference.cd, 0.5) / 30
    top = "critical difference"
    rows = [
        {"method": name, "rank": ranks[place]} for name, place in zip(names, order, strict=True)
    ]
    start = max(high, low + difference.cd) + 2 * step
    at = {place: number for number, place in enumerate(order)}
    bars = [
        {"lane": start + 2 * lane * step, "method": names[at[place]], "group": lane}
        for lane, clique in enumerate(difference.cliques)
        for place in clique
    ]
    sort = [top, *names]
    end = start + 2 * step * len(difference.cliques)
    x = alt.X(
        "rank:Q",
        title="average rank, 1 is best",
        scale=alt.Scale(domain=[low - step, end], nice=False, zero=False),
        axis=alt.Axis(orient="top", values=list(range(1, len(ranks) + 1)), format="d"),
    )
    y = alt.Y("method:N", sort=sort, title=None, axis=alt.Axis(labelLimit=260))
    points = (
        alt.Chart(pd.DataFrame(rows))
        .mark_point(size=80, filled=True, opacity=1, color=PALETTE[0])
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("method:N", title="method"),
                alt.Tooltip("rank:Q", title="average rank", format=".2f"),
            ],
        )
    )
    values = (
        alt.Chart(pd.DataFrame(rows))
        .mark_text(align="left", dx=9, color=PALETTE[-1])
        .encode(x=x, y=y, text=alt.Text("rank:Q", format=".2f"))
    )
    ruler_data = pd.DataFrame([{"method": top, "rank": low, "end": low + difference.cd}])
    ruler = (
        alt.Chart(ruler_data)
        .mark_rule(strokeWidth=3, color=PALETTE[1])
        .encode(x=x, x2="end:Q", y=y, tooltip=alt.value(f"CD = {difference.cd:.2f}"))
    )
    cliques = (
        alt.Chart(pd.DataFrame(bars))
        .mark_line(strokeWidth=5, strokeCap="round", color=PALETTE[2])
        .encode(x=alt.X("lane:Q"), y=y, detail="group:N")
    )
    layers = [points, values, ruler, *([cliques] if bars else [])]
    chart = alt.layer(*layers).properties(height=24 * len(sort) + 60)
    best = ", ".join(
        f"{name} {ranks[place]:.2f}" for name, place in zip(names[:5], order, strict=False)
    )
    told = f"average ranks, best first: {best}; critical difference {difference.cd:.2f}; "
    return chart, told + "methods beside one bar are not told apart"


def _prices(task: Task, found: Overview) -> None:
    if found.prices:
        gain = _kinds(metric_key(task, found.head)[1].unit)[1]
        columns = (
            Column("protocol"),
            Column("method"),
            Column("seeds", "integer", "Common seeds with the reference."),
            Column("head gain", gain, f"{found.head}; negative where the head loses."),
            Column("tail gain", gain, str(found.tail)),
            Column("rate", "number", "Tail gain for a point of head loss."),
            Column("low", "number", "95 % interval by Fieller."),
            Column("high", "number", "95 % interval by Fieller."),
            Column("in words"),
        )
        rows = [
            (
                price.protocol,
                price.method,
                price.exchange.n,
                price.exchange.head.mean,
                price.exchange.tail.mean,
                price.exchange.rate,
                price.exchange.low,
                price.exchange.high,
                price.exchange.words,
            )
            for price in found.prices
        ]
        title = f"Tail gain for a point of head loss, against {found.reference}"
        tables.show(Sheet(title, columns, rows), f"exchange-{task.name}")
    if found.prices_words:
        say.note(f"exchange rates: {found.prices_words}")


def _images(found: Overview, under: str) -> Sheet:
    value = _kinds(found.unit)[0]
    columns = (
        Column("protocol"),
        Column("method"),
        Column("runs", "integer"),
        Column("score", value),
        Column("low", value, "95 % interval."),
        Column("high", value, "95 % interval."),
    )
    rows = [
        (
            one.protocol,
            one.method,
            one.runs,
            one.interval and one.interval.mean,
            one.interval and one.interval.low,
            one.interval and one.interval.high,
        )
        for one in found.images
    ]
    return Sheet(f"{found.metric} over test images, models as trained, {under}", columns, rows)


# -- words and names


def _kinds(unit: str) -> tuple[Kind, Kind]:
    """What columns of values and of differences hold."""
    return ("percent", "points") if unit == "fraction" else ("number", "number")


def _height(lines: int) -> int:
    return AROUND + LINE_HEIGHT * lines


def _axis(metric: str, unit: str) -> str:
    of = "%" if unit == "fraction" else unit
    return f"{charts.name(metric)} / {of}" if of else charts.name(metric)


def unique(names: Sequence[str]) -> list[str]:
    """Names as charts show them, each of its own: what is cut off may be all that tells two apart."""
    found: list[str] = []
    for name in map(charts.name, names):
        shown, number = name or "(no name)", 1
        while shown in found:
            number += 1
            shown = f"{name} ({number})"
        found.append(shown)
    return found
