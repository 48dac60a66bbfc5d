"""Geometry: what the last layer looks like against what a run scores, over all runs of a protocol."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import streamlit as st

from dashboard import charts, controls, say, source, tables, task_rows
from dashboard.palette import PALETTE
from suite.base.command import Command
from suite.boards.correlations import Correlations, correlations
from suite.define.metrics import split_key
from suite.define.protocol import Protocol
from suite.define.task import Metric, Task
from suite.stats.correlation import CORRELATES, Correlates
from tasks.longtail_cls.scatter import (
    Style,
    correlation_sheet,
    dots,
    run_sheet,
    scatter,
    sentence,
)
from tasks.vision.geometry.rows import METRICS
from tasks.vision.geometry.stored import TRAIN

TITLE = "Geometry"
ICON = ":material/hub:"

NARROW = 390
"""Pixels that a legend has in a narrow window."""
TOLD_APART = charts.MOST_SERIES - 1
"""Rows with a colour of their own: the last one is that of the others."""


def page() -> None:
    found = task_rows.pick_scored({"nc1", "cdnv"}, "no task here measures the last layer")
    if found is None:
        return
    task, protocol = found
    asked = CORRELATES.of(task) or Correlates(of=task.primary[0], by=("nc1[split=train]",))
    rows = task_rows.rows(task, protocol, asked.of)
    if not rows:
        return
    first, second = st.columns(2)
    with first:
        by = controls.pick("Geometry", _measures(asked), "by")
    with second:
        of = controls.pick("Score", _scores(task, protocol, asked), "of")
    wanted = replace(
        asked, of=of, by=tuple(dict.fromkeys([by, *asked.by])), beside=_beside(asked, of)
    )
    seen = _read(source.current(), task.name, protocol.name, wanted)
    chosen = next((one for one in seen.found if one.by == by), None)
    names = {one.side.row_id: one.name for one in rows}
    here = {point.row_id for point in chosen.points} & names.keys() if chosen else set()
    if chosen is None or not here:
        _nothing(task, protocol, by, of)
        return
    offered = [one.name for one in rows if one.side.row_id in here]
    default = _default(task, [one for one in rows if one.side.row_id in here], chosen.arms)
    # a line of its own: names of rows with parameters are long
    told = controls.pick_many(
        f"Rows in colour, at most {TOLD_APART}",
        offered,
        "rows",
        default=[name for name in offered if name in default],
        most=TOLD_APART,
        help=f"In the order of {asked.of}, the best first.",
    )[:TOLD_APART]
    metric = next((one for one in task.metrics if one.name == split_key(of)[0]), Metric(name=of))
    percent = metric.unit == "fraction"
    charts.show(
        scatter(
            dots(chosen, names, told, percent),
            Style(
                told,
                PALETTE[:TOLD_APART],
                charts.SHAPES[:TOLD_APART],
                charts.legend_columns(told, NARROW),
            ),
            by,
            f"{of} / %" if percent else of,
        ),
        "geometry",
        f"{of} of {len(chosen.points)} runs against {by}",
    )
    st.markdown(say.words(sentence(chosen)))
    if about := next((one.summary for one in METRICS if one.name == split_key(by)[0]), ""):
        rows_of = " (here of the classifier's rows)" if "of=weights" in by else ""
        say.note(f"{by}: {about}{rows_of}.")
    if lost := len(rows) - len(offered):
        say.note(f"{lost} of {len(rows)} rows have no run with both {by} and {of}.")
    title = f"{task.name}, {protocol.name}: what goes with {of}"
    tables.show(correlation_sheet(title, seen.found), "correlations")
    say.note(
        "Runs of methods are no sample of all that could be tried, and what goes together need not be cause and effect. "
        f"{seen.words}"
    )
    with st.expander("Runs"):
        tables.show(run_sheet(f"{title}, runs", chosen, names), "runs")


def _measures(asked: Correlates) -> list[str]:
    """What the task names, then every measure of the training images as a whole."""
    named = [f"{metric.name}[split=train]" for metric in METRICS]
    return list(dict.fromkeys([*asked.by, *named]))


def _scores(task: Task, protocol: Protocol, asked: Correlates) -> list[str]:
    geometry = {metric.name for metric in METRICS}
    keys = [asked.of, *task.primary, *task.columns]
    if protocol.dataset.groups == {} and not protocol.dataset.group_thresholds:
        keys = [key for key in keys if "group=" not in key]
    return [key for key in dict.fromkeys(keys) if split_key(key)[0] not in geometry]


def _beside(asked: Correlates, of: str) -> str | None:
    return None if asked.beside == of else asked.beside


def _default(task: Task, rows: Sequence[task_rows.Scored], arms: Set[int]) -> list[str]:
    """One row of each method, the reference's first and then in the order of the board; then others; arms of a method,
    which are like each other, last."""
    seen: set[str] = set()
    ranked = []
    for one in rows:
        method, arm = one.side.method, one.side.row_id in arms
        ranked.append(((arm, method in seen, method != task.reference), one.name))
        if not arm:
            seen.add(method)
    return [name for _, name in sorted(ranked, key=lambda one: one[0])[:TOLD_APART]]


def _nothing(task: Task, protocol: Protocol, by: str, of: str) -> None:
    measured = task_rows.sides(task, protocol, by).values()
    if any(run.value is not None for side in measured for run in side.runs):
        say.nothing(f"no run under {protocol.name} has both {by} and {of}")
    elif TRAIN in protocol.extra_sets:
        say.nothing(
            f"no run under {protocol.name} has {by}; the set {TRAIN!r} is made from the kept weights of finished runs, "
            "or with new ones:",
            Command(*("run", "--task", task.name, "--protocol", protocol.name, "--predict", TRAIN)),
        )
    else:
        say.nothing(f"no run under {protocol.name} has {by}")


@source.kept
def _read(stamp: source.Stamp, task: str, protocol: str, asked: Correlates) -> Correlations:
    of = source.task(task)
    with source.connection() as store:
        found = correlations(store, source.catalog(), of, of.protocols[protocol], asked)
    assert found is not None  # something is asked
    return found
