"""Claims: published numbers beside ours, with what differs and where they are printed, and published statements tested."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, controls, say, source, tables
from dashboard.palette import PALETTE
from dashboard.views import statements
from suite.base.command import Command
from suite.boards import statements as statement_board
from suite.boards.leaderboard import board
from suite.boards.statements import Finding
from suite.claims import read as files
from suite.claims.claim import Claim
from suite.claims.compare import NOT_RUN, STATUSES, Comparison, compare
from suite.claims.statement import Statement
from suite.define.card import covers
from suite.render.table import Column, Kind, Sheet

TITLE = "Claims"
ICON = ":material/menu_book:"


def page() -> None:
    if not files.default_folder().is_dir():
        say.nothing(f"there are no claims here: no folder {files.default_folder()}")
        return
    found, said = _compared(source.current()), _said(source.current())
    tasks = sorted({made.claim.task for made in found} | {one.task for one in said})
    if not tasks:
        say.nothing("there are no claims here")
        return
    known = source.catalog().tasks()
    # two rows: in a narrow window four widgets beside each other show no choice
    first, second = st.columns([2, 3])
    third, fourth = st.columns([2, 3])
    with first:
        default = next((name for name in known if name in tasks), tasks[0])
        name = controls.pick("Task", tasks, "task", default=default)
    found = [made for made in found if made.claim.task == name]
    tested = _found(source.current(), name)
    with second:
        near = {made.claim.full_protocol for made in found if made.claim.protocol}
        near |= {made.test.protocol for made in tested if made.test}
        protocol = controls.pick(
            "Protocol",
            [controls.ALL, *sorted(near)],
            "near",
            help="Our protocol that comes nearest to what was printed, or that a statement is tested under.",
        )
    with third:
        method = controls.text(
            "Method contains",
            "method",
            placeholder="such as sam",
            help="By our name, or as printed.",
        ).lower()
    with fourth:
        there = {made.status for made in found} | {made.status for made in tested}
        status = controls.pick_many(
            "Status",
            [one for one in dict.fromkeys((*STATUSES, *statement_board.STATUSES)) if one in there],
            "status",
            help="None chosen: all.",
        )
    chosen = [
        made
        for made in found
        if _named(made.claim, method) and protocol in (controls.ALL, made.claim.full_protocol)
    ]
    if found:
        _counts(chosen)
    chosen = [made for made in chosen if not status or made.status in status]
    tested = [
        made
        for made in tested
        if (not method or any(method in one.lower() for one in made.statement.methods))
        and (protocol == controls.ALL or (made.test and made.test.protocol == protocol))
        and (not status or made.status in status)
    ]
    if not chosen and not tested:
        say.nothing("no claim is left by these filters")
        return
    if chosen:
        _chart(name, chosen)
        _tables(name, chosen)
    tables.show(_sources(chosen, tested), f"sources-{name}")
    _not_run(name, chosen)
    if tested:
        statements.show(name, tested)


@source.kept
def _compared(stamp: source.Stamp) -> list[Comparison]:
    """All claims beside our rows. Files of claims are read again with the next snapshot."""
    catalog = source.catalog()
    tasks = catalog.tasks()
    found = files.read_claims(files.default_folder(), catalog.methods(), tasks)
    boards = {
        name: [
            row
            for protocol in near_protocols(name, found)
            for row in board(
                source.root(),
                tasks[name],
                protocol=protocol,
                by=None,
                today={},
                planned=(),
                catalog=catalog,
            )
        ]
        for name in {claim.task for claim in found} & tasks.keys()
    }
    return compare(found, boards, tasks, lambda method, under: catalog.spec(method, under).params)


@source.kept
def _said(stamp: source.Stamp) -> tuple[Statement, ...]:
    """All statements."""
    catalog = source.catalog()
    return files.read_statements(files.default_folder(), catalog.methods(), catalog.tasks())


@source.kept
def _found(stamp: source.Stamp, task: str) -> list[Finding]:
    """What our runs say of the statements about the task."""
    about = [one for one in _said(stamp) if one.task == task]
    return statement_board.findings(source.root(), source.catalog(), about)


def near_protocols(task: str, found: Sequence[Claim]) -> list[str]:
    """The task's protocols with runs that a claim is about: a store may hold boards of many more."""
    scopes = {claim.protocol for claim in found if claim.task == task and claim.protocol}
    return [
        line.protocol
        for line in source.coverage(task)
        if line.current and line.methods and any(covers(scope, line.protocol) for scope in scopes)
    ]


def _named(claim: Claim, part: str) -> bool:
    return part in (claim.method or "").lower() or part in claim.method_as_printed.lower()


def _counts(found: Sequence[Comparison]) -> None:
    counts = Counter(made.status for made in found)
    # as wide as their names need, in as many lines as that takes
    with st.container(horizontal=True):
        st.metric("claims", f"{len(found):,}", width="content")
        for status, meaning in STATUSES.items():
            st.metric(status, f"{counts[status]:,}", help=say.words(meaning), width="content")


def _chart(name: str, found: Sequence[Comparison]) -> None:
    """Ours against the printed value, on the diagonal where they agree."""
    rows = [
        {
            "printed": 100 * made.claim.value,
            "ours": 100 * made.ours.mean,
            "low": None if made.ours.low is None else 100 * made.ours.low,
            "high": None if made.ours.high is None else 100 * made.ours.high,
            "status": made.status,
            "method": charts.name(made.claim.method_as_printed),
            "metric": charts.name(made.claim.metric),
            "source": charts.name(made.claim.name),
            "protocol": charts.name(made.protocol),
            "n": made.ours.n,
        }
        for made in found
        if made.ours is not None and made.claim.is_fraction
    ]
    if not rows:
        return
    ends = [
        value for row in rows for value in (row["printed"], row["ours"], row["low"], row["high"])
    ]
    numbers = [value for value in ends if isinstance(value, float)]
    low, high = max(0.0, min(numbers) - 2), min(100.0, max(numbers) + 2)
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    x = alt.X("printed:Q", title="published / %", scale=scale)
    y = alt.Y("ours:Q", title="ours / %", scale=scale)
    there = [status for status in STATUSES if any(r["status"] == status for r in rows)]
    diagonal = (
        alt.Chart(pd.DataFrame([{"printed": end, "ours": end} for end in (low, high)]))
        .mark_line(strokeDash=[6, 4], strokeWidth=1.5, color=PALETTE[-1])
        .encode(x=x, y=y)
    )
    base = alt.Chart(pd.DataFrame(rows))
    whiskers = base.mark_rule(opacity=0.5, color=PALETTE[-1], clip=True).encode(
        x=x, y=alt.Y("low:Q", title="ours / %", scale=scale), y2="high:Q"
    )
    titles = {
        "method": "method",
        "metric": "metric",
        "protocol": "our protocol",
        "status": "status",
    }
    tooltip: list[Any] = [alt.Tooltip(f"{key}:N", title=title) for key, title in titles.items()]
    tooltip += [
        alt.Tooltip("printed:Q", title="published / %", format=".2f"),
        alt.Tooltip("ours:Q", title="ours / %", format=".2f"),
        alt.Tooltip("n:Q", title="replicates of ours"),
        alt.Tooltip("source:N", title="source"),
    ]
    legend = alt.Legend(orient="top", labelLimit=200)
    points = base.mark_point(size=90, filled=True, opacity=0.9).encode(
        x=x,
        y=y,
        color=charts.colour("status", there, None, legend=legend),
        shape=charts.shape("status", there, None),
        tooltip=tooltip,
    )
    chart = (diagonal + whiskers + points).properties(height=460)
    counts = Counter(str(row["status"]) for row in rows)
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    charts.show(chart, "claims-chart", f"ours against published, {name}, in percent: {told}")
    say.note(
        "on the dashed line ours is what was printed; lines are our 95 % intervals; what was measured in "
        "another way (protocol differs) need not lie there"
    )


def _tables(name: str, found: Sequence[Comparison]) -> None:
    fractions = [made for made in found if made.claim.is_fraction]
    others = [made for made in found if not made.claim.is_fraction]
    if fractions:
        tables.show(_sheet(f"Claims about {name}", fractions, percent=True), f"claims-{name}")
    if others:
        title = f"Claims about {name} in other units"
        tables.show(_sheet(title, others, percent=False), f"claims-{name}-units")


def _sheet(title: str, found: Sequence[Comparison], *, percent: bool) -> Sheet:
    value: Kind = "percent" if percent else "number"
    columns = (
        Column("method"),
        Column("as printed"),
        Column("metric"),
        Column("protocol as printed"),
        Column("published", value),
        Column("ours", value),
        Column("difference", "points" if percent else "number", "Ours less the printed value."),
        Column("status"),
        Column("what differs"),
        Column("source"),
        Column("location"),
        Column("our protocol"),
        Column("ours low", value, "Our 95 % interval."),
        Column("ours high", value, "Our 95 % interval."),
        Column("our n", "integer", "Replicates of ours."),
        Column("published std", value, "Printed standard deviation."),
        Column("published n", "integer", "Replicates behind the printed value, where it says so."),
        Column("unit", "text", "As printed."),
        Column("verified", "text", "Read where it was printed, not at second hand."),
    )
    rows = []
    for made in found:
        claim, ours = made.claim, made.ours
        rows.append(
            (
                claim.method,
                claim.method_as_printed,
                claim.metric,
                claim.protocol_as_printed,
                claim.value,
                ours and ours.mean,
                made.difference,
                made.status,
                "; ".join(filter(None, (*made.differences, made.note))) or None,
                claim.name,
                claim.location,
                made.protocol or None,
                ours and ours.low,
                ours and ours.high,
                ours.n if ours else 0,
                claim.std,
                claim.n,
                claim.unit,
                "yes" if claim.verified else "no",
            )
        )
    return Sheet(title, columns, rows)


def _sources(found: Sequence[Comparison], tested: Sequence[Finding]) -> Sheet:
    columns = (
        Column("source"),
        Column("title"),
        Column("venue"),
        Column("read in"),
        Column("arXiv"),
        Column("address"),
        Column("claims", "integer"),
        Column("statements", "integer"),
        Column("notes"),
    )
    numbers = Counter(made.claim.name for made in found)
    said = Counter({id(made.statement): made.statement.name for made in tested}.values())
    sources = {made.claim.name: made.claim.source for made in found}
    sources |= {made.statement.name: made.statement.source for made in tested}
    rows = [
        (
            name,
            of.title,
            of.venue or None,
            of.where,
            of.arxiv or None,
            of.url or None,
            numbers[name],
            said[name],
            of.notes or None,
        )
        for name, of in sorted(sources.items())
    ]
    return Sheet("Sources", columns, rows)


def _not_run(name: str, found: Sequence[Comparison]) -> None:
    """What to type for the first claim that could be held against a run and is not."""
    task = source.catalog().tasks().get(name)
    if task is None:
        return
    for made in found:
        claim = made.claim
        if made.status != NOT_RUN or made.note or claim.method is None:
            continue
        names = task.protocols.names
        protocol = next((one for one in names if covers(claim.full_protocol, one)), None)
        if protocol is None:
            continue
        under = "--task", name, "--protocol", protocol, "--method", claim.method
        command = Command("run", *under, "--seeds", "0-2")
        say.nothing("Not run yet here; this makes the first of them:", command)
        return
