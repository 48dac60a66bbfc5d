"""Overview: what there is of each task, how fresh it is, and what failed."""

import streamlit as st

from dashboard import say, source, tables
from dashboard.views import common
from suite.base.command import Command
from suite.define.task import Task
from suite.render.table import Column, Sheet
from suite.store.coverage import Coverage, totals

TITLE = "Overview"
ICON = ":material/home:"

COLUMNS = (
    Column("task"),
    Column("protocol"),
    Column("data set"),
    Column("imbalance", "number", "Largest over smallest training count of a class."),
    Column("methods", "text", "With a score, of all that the task has."),
    Column("rows", "integer", "Rows of the board with a score of today's code."),
    Column("ranked", "integer", "Rows with enough replicates to be ranked."),
    Column("done", "integer", "Runs that are finished and scored."),
    Column("not scored", "integer", "Finished runs without today's evaluation: `evaluate`."),
    Column("running", "integer"),
    Column("failed", "integer", "Runs whose newest attempt failed: see below, and `retry`."),
    Column("stopped", "integer", "Interrupted runs: `run` goes on from their checkpoint."),
    Column("stale", "integer", "Made by other code than today's: `run --stale`."),
    Column("newest", "time", "When the last run ended."),
)


COUNTS = {
    "ranked": "ranked rows",
    "done": "runs done",
    "unscored": "not scored",
    "running": "running",
    "failed": "failed",
    "stopped": "stopped",
    "stale": "stale",
}


def page() -> None:
    catalog = source.catalog()
    found = {name: source.coverage(name) for name in catalog.tasks()}
    if not any(found.values()):
        common.no_runs(next(iter(catalog.tasks().values())))
        _refused()
        return
    for name, lines in found.items():
        _task(catalog.task(name), lines)
    rows = [
        _row(catalog.task(name), line, len(catalog.methods(name)))
        for name, lines in found.items()
        for line in lines
    ]
    tables.show(Sheet("Coverage", COLUMNS, rows), "coverage")
    _failed()
    _refused()


def _task(task: Task, lines: list[Coverage]) -> None:
    counts = totals(lines)
    with st.container(border=True):
        left, right = st.columns([2, 3], vertical_alignment="center")
        with left:
            common.link("leaderboard", task.name, task=task.name)
            say.note(task.question)
        with right:
            parts = [
                f"<span><b>{counts[key]:,}</b> {name}</span>"
                for key, name in COUNTS.items()
                if counts[key] or key in ("ranked", "done")
            ]
            # one piece of HTML: a page of st.metric takes a browser twice as long
            st.html(f'<div class="counts">{"".join(parts)}</div>')


def _row(task: Task, line: Coverage, methods: int) -> tuple[str | float | int | None, ...]:
    known = f"{len(line.methods)} of {methods}" if line.current else str(len(line.methods))
    return (
        task.name,
        line.protocol if line.current else f"{line.protocol} (not of today)",
        line.dataset,
        line.imbalance,
        known,
        line.rows,
        line.ranked,
        line.done,
        line.unscored,
        line.running,
        line.failed,
        line.stopped,
        line.stale,
        line.finished,
    )


def _failed() -> None:
    found = source.failures()
    if not found:
        return
    columns = (
        Column("run", "run"),
        Column("protocol"),
        Column("method"),
        Column("seed", "integer"),
        Column("kind"),
        Column("step", "integer"),
        Column("what happened"),
        Column("host"),
        Column("last sign of life", "time"),
    )
    rows = [
        (f.run, f.protocol, f.method, f.seed, f.kind, f.step, f.message, f.host, f.at)
        for f in found
    ]
    tables.show(Sheet("Failed runs, the newest first", columns, rows), "failed")
    st.code(str(Command("retry")), language=None)


def _refused() -> None:
    found = source.refused()
    if found:
        columns = (Column("file"), Column("why"))
        tables.show(Sheet("Files that the store refused", columns, found), "refused")
