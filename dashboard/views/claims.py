"""Claims: published numbers beside ours, with what differs and where they are printed."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, controls, say, source, tables
from dashboard.palette import PALETTE
from suite.base.command import Command
from suite.boards.leaderboard import board
from suite.boards.statements import Finding, findings
from suite.claims import read as files
from suite.claims.claim import Claim
from suite.claims.compare import NOT_RUN, STATUSES, Comparison, compare
from suite.claims.statement import spoken
from suite.define.card import covers
from suite.render.table import Column, Kind, Sheet

TITLE = "Claims"
ICON = ":material/menu_book:"


def page() -> None:
    if not files.default_folder().is_dir():
        say.nothing(f"there are no claims here: no folder {files.default_folder()}")
        return
    found = _compared(source.current())
    tasks = sorted({made.claim.task for made in found})
    if not tasks:
        say.nothing("there are no claims here")
        return
    known = source.catalog().tasks()
    first, second, third, fourth = st.columns([2, 4, 2, 3])
    with first:
        default = next((name for name in known if name in tasks), tasks[0])
        name = controls.pick("Task", tasks, "task", default=default)
    found = [made for made in found if made.claim.task == name]
    with second:
        near = sorted({made.claim.full_protocol for made in found if made.claim.protocol})
        protocol = controls.pick(
            "Protocol",
            [controls.ALL, *near],
            "near",
            help="Our protocol that comes nearest to what was printed.",
        )
    with third:
        method = controls.text(
            "Method contains",
            "method",
            placeholder="such as sam",
            help="By our name, or as printed.",
        )
    with fourth:
        status = controls.pick_many(
            "Status",
            [one for one in STATUSES if any(made.status == one for made in found)],
            "status",
            help="None chosen: all.",
        )
    chosen = [
        made
        for made in found
        if _named(made.claim, method.lower())
        and protocol in (controls.ALL, made.claim.full_protocol)
    ]
    _counts(chosen)
    chosen = [made for made in chosen if not status or made.status in status]
    if not chosen:
        say.nothing("no claim is left by these filters")
        _statements(name)
        return
    _chart(name, chosen)
    _tables(name, chosen)
    _not_run(name, chosen)
    _statements(name)


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
def _found(stamp: source.Stamp) -> list[Finding]:
    """What our runs say of all statements."""
    catalog = source.catalog()
    said = files.read_statements(files.default_folder(), catalog.methods(), catalog.tasks())
    return findings(source.root(), catalog, said)


def _statements(name: str) -> None:
    """Statements about the task, a line a test: what our runs say of them."""
    found = [made for made in _found(source.current()) if made.statement.task == name]
    if not found:
        return
    columns = (
        Column("statement"),
        Column(
            "status",
            help="Held against the smallest effect that matters; see results/claims/README.md.",
        ),
        Column("what our runs say"),
        Column("test"),
        Column("protocol"),
        Column("ours", "number", "Difference, mean, standard deviation of arms, or rho."),
        Column("p", "number"),
        Column("n", "integer", "Seeds, arms or rows."),
        Column("power", "percent", "Of finding the smallest effect that matters."),
        Column("objections"),
        Column("source"),
        Column("location"),
    )
    rows = [
        (
            made.statement.text,
            made.status,
            made.words,
            spoken(made.test) if made.test else None,
            made.test.protocol if made.test else None,
            made.estimate,
            made.p,
            made.n,
            made.power,
            "; ".join(made.statement.objections) or None,
            made.statement.name,
            made.statement.location,
        )
        for made in found
    ]
    tables.show(Sheet(f"Statements about {name}", columns, rows), f"statements-{name}")


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
    # as wide as their names need
    cells = st.columns([8, *(max(8, len(status)) for status in STATUSES)])
    cells[0].metric("claims", f"{len(found):,}")
    for cell, (status, meaning) in zip(cells[1:], STATUSES.items(), strict=True):
        cell.metric(status, f"{counts[status]:,}", help=say.words(meaning))


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
    tables.show(_sources(found), f"sources-{name}")


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


def _sources(found: Sequence[Comparison]) -> Sheet:
    columns = (
        Column("source"),
        Column("title"),
        Column("venue"),
        Column("read in"),
        Column("arXiv"),
        Column("address"),
        Column("claims", "integer"),
        Column("notes"),
    )
    counts = Counter(made.claim.name for made in found)
    sources = {made.claim.name: made.claim.source for made in found}
    rows = [
        (
            name,
            of.title,
            of.venue or None,
            of.where,
            of.arxiv or None,
            of.url or None,
            counts[name],
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
