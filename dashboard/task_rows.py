"""What a task's own page reads and asks for: the task and its protocol, scored rows, their runs."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import streamlit as st

from dashboard import charts, confusions, controls, say, source
from dashboard.views import common
from suite.base.command import Command
from suite.boards import classes as by_class
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.records.attempt import Attempt
from suite.render.grid import row_names
from suite.store.coverage import Coverage
from suite.store.row import Row
from suite.store.rows import Run, Side, read_rows

MOST_ROWS = charts.MOST_SERIES
"""Rows that one chart tells apart."""


class Scored(NamedTuple):
    """A row of the board with a score of today: by the name that all of the page gives it."""

    name: str
    row: Row
    side: Side


def pick_scored(metrics: Collection[str], other: str) -> tuple[Task, Protocol] | None:
    """One of the tasks with these metrics, and of its protocols with finished runs; None where there is none, which is said:
    `other` where no task has the metrics."""
    tasks = [
        task.name
        for task in source.catalog().tasks().values()
        if set(metrics) <= {metric.name for metric in task.metrics}
    ]
    if not tasks:
        say.nothing(other)
        return None
    first, second, _ = st.columns([2, 2, 2])
    with first:
        task = controls.pick_task(tasks)
    found = [line for line in source.coverage(task.name) if line.current]
    done = [line for line in found if line.done]
    if not done:
        _nothing(task, found)
        return None
    with second:
        name = common.pick_protocol(task, done)
    return task, task.protocols[name]


def _nothing(task: Task, found: Sequence[Coverage]) -> None:
    if any(line.unscored for line in found):
        say.nothing("finished runs are not scored yet:", Command("evaluate", "--task", task.name))
    elif any(line.runs for line in found):
        say.nothing(f"no run of {task.name} is finished with today's code:", Command("status"))
    else:
        common.no_runs(task)


def rows(task: Task, protocol: Protocol, key: str) -> list[Scored]:
    """The rows of today's code and evaluation, in the order of the board by a metric. Where there are none, that is said."""
    of_run = {run.run_id: side for side in sides(task, protocol, key).values() for run in side.runs}
    evaluation = task.evaluation_hash(protocol)
    found = [
        row
        for row in source.board(task.name, protocol.name, key)
        if row.evaluation_hash == evaluation
        and row.state not in ("stale", "planned")
        and any(run in of_run for run in row.runs)
    ]
    if not found:
        say.nothing(
            f"no finished run of today's code under {protocol.name} is scored; this scores those that are there:",
            Command("evaluate", "--task", task.name),
        )
    return [
        Scored(name, row, next(of_run[run] for run in row.runs if run in of_run))
        for name, row in zip(confusions.labels(row_names(found)), found, strict=True)
    ]


def largest_first(found: Sequence[Scored], key: str) -> list[Scored]:
    """The rows in the order of their means of a metric: a board has unranked ones last, whatever their mean."""

    def mean(one: Scored) -> float:
        value = one.row.cell(key).mean
        return -1.0 if value is None else value

    return sorted(found, key=mean, reverse=True)


def sides(task: Task, protocol: Protocol, key: str) -> dict[int, Side]:
    """Row id -> the row with its runs' values of a metric key."""
    return {one.row_id: one for one in _sides(source.current(), task.name, protocol.name, key)}


@source.kept
def _sides(stamp: source.Stamp, task: str, protocol: str, key: str) -> list[Side]:
    of = source.task(task)
    with source.connection() as store:
        return read_rows(store, of, key, only=of.protocols[protocol])


def by_seed(side: Side) -> dict[int, float | None]:
    """Seed -> the run's value; empty where two runs share a seed."""
    return {seed: run.value for seed, run in by_class.by_seed(side).items()}


def pick_rows(found: Sequence[Scored], default: Collection[str], by: str) -> list[Scored]:
    """Those chosen for a chart, at most `MOST_ROWS`; `default`: names, `by`: what they are in the order of."""
    names = [one.name for one in found]
    chosen = controls.pick_many(
        f"Rows, at most {MOST_ROWS}",
        names,
        "rows",
        default=[name for name in names if name in default],
        most=MOST_ROWS,
        help=f"In the order of {by}, the best first.",
    )[:MOST_ROWS]
    if not chosen:
        say.nothing("choose a row")
    return [one for one in found if one.name in chosen]


def pick_run(found: Sequence[Scored], row: Any, seed: Any) -> tuple[Scored, Run]:
    """One replicate of one row, asked for in the columns `row` and `seed`."""
    named = {one.name: one for one in found}
    with row:
        chosen = named[controls.pick("Row", list(named), "row")]
    runs = {run.seed: run for run in reversed(chosen.side.runs)}
    with seed:
        number = int(controls.pick("Seed", [str(one) for one in sorted(runs)], "seed"))
    # a seed asked for that this row has not: the widget has said so
    return chosen, runs[number]


def stamp_of(run: Run) -> source.Stamp:
    """Of the run's stored predictions: what is made of them is kept for as long as the file is the same."""
    try:
        found = (Attempt(source.root(), run.run_id, run.attempt).path / "predictions.npz").stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns
