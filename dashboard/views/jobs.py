"""Jobs: what trains, waits and failed, on this machine and on the cluster, as it is now."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

import streamlit as st

from dashboard import controls, say, source, tables
from dashboard.watch import View, watch
from suite.base.command import Command
from suite.define.protocol import CARVED
from suite.dispatch import progress as jobs
from suite.dispatch.progress import RunFilter, Submission
from suite.dispatch.states import TrackedRun
from suite.records.states import RUN_STATES, RunState
from suite.render.table import Column, Sheet, Value, duration

TITLE = "Jobs"
ICON = ":material/pending_actions:"

REFRESH_SECONDS = 5
"""How often what is live is shown anew."""
MOST_RUNS = 200
"""Runs that a table lists."""
MOST_COMMANDS = 5

RUN = (Column("run", "run"), Column("protocol"), Column("method"), Column("seed", "integer"))
STEP = Column("step", "integer", "Iterations done.")
WHERE = Column("where", "text", "Machine, or the cluster's job and its node.")
SEEN = Column("last sign of life", "text", "How long ago its worker wrote its status.")


def page() -> None:
    choice = _choice(watch().look())
    _live(choice)


def _choice(view: View | None) -> RunFilter:
    """What the filters ask for. All that can be asked for has to be an option, also before the first survey."""
    catalog = source.catalog()
    first, second, third, fourth = st.columns([2, 2, 2, 3])
    with first:
        task = controls.pick("Task", [controls.ALL, *catalog.tasks()], "task")
    tasks = [one for one in catalog.tasks().values() if task in (controls.ALL, one.name)]
    names = {name for one in tasks for name in one.protocols.names}
    if view is not None:
        seen = {run.spec.protocol for run in view.runs}
        seen |= {protocol for _, protocol, *_ in view.settled.counts}
        # of a task, also those that are carved from its protocols
        names |= {n for n in seen if task == controls.ALL or n.removesuffix(CARVED) in names}
    with second:
        protocol = controls.pick("Protocol", [controls.ALL, *sorted(names)], "protocol")
    with third:
        method = controls.text("Method contains", "contains", placeholder="such as sam")
    with fourth:
        states = controls.pick_many("State", list(RUN_STATES), "state", help="None chosen: all.")
    return RunFilter(
        "" if task == controls.ALL else task,
        "" if protocol == controls.ALL else protocol,
        method,
        tuple(states),
    )


@st.fragment(run_every=REFRESH_SECONDS)
def _live(choice: RunFilter) -> None:
    """All that changes by itself: only this is run anew."""
    view = watch().look()
    if watch().problem:
        say.error(f"the runs cannot be looked at: {watch().problem}")
    if view is None:
        if not watch().problem:
            say.note("The files of the runs are being read; this goes on by itself.")
        return
    if view.problem:
        say.warning(f"cluster: {view.problem}")
    if view.store_problem:
        say.warning(f"every run's files are read, which is slow: {view.store_problem}")
    counts = jobs.tally(view.runs, view.settled, source.catalog(), choice)
    runs = jobs.chosen_runs(view.runs, choice)
    of: dict[RunState, list[TrackedRun]] = {name: [] for name in RUN_STATES}
    for run in runs:
        of[run.state].append(run)
    _states(counts, runs)
    said = time.strftime("%H:%M:%S", time.localtime(view.at))
    say.note(f"As of {said}, looked at in {view.seconds:.1f} s; followed live.")
    if not counts:
        _none(choice)
    _running(of["running"], view.at)
    _listing("queued", of["queued"], (WHERE, Column("why it waits")), lambda r: (r.where, r.note))
    _failed(of["failed"], choice, view.at)
    _listing("stopped", of["stopped"], (STEP, WHERE, SEEN), _last(view.at))
    _go_on(of["stopped"], choice)
    _listing("cancelled", of["cancelled"], (Column("by whom"),), lambda run: (run.note,))
    _go_on(of["cancelled"], choice)
    _listing("planned", of["planned"], (), lambda run: ())
    _go_on(of["planned"], choice)
    _boards(counts)
    _submissions(view.submissions)


def _none(choice: RunFilter) -> None:
    if choice != RunFilter():
        say.nothing("no run is left by these filters")
        return
    task = next(iter(source.catalog().tasks()))
    say.nothing("no runs yet:", Command("run", "--task", task))


def _states(counts: dict[jobs.Board, Counter[RunState]], runs: Sequence[TrackedRun]) -> None:
    """How many runs are in which state, and what that means."""
    sums: Counter[RunState] = Counter()
    for one in counts.values():
        sums.update(one)
    if not sums:
        return
    of_kinds = ", ".join(f"{n} {kind}" for kind, n in jobs.failure_kinds(runs).most_common())
    rows: list[tuple[Value, ...]] = []
    for name, meaning in RUN_STATES.items():
        if sums[name]:
            by_kind = f"{of_kinds}; " if name == "failed" and of_kinds else ""
            rows.append((name, sums[name], by_kind + meaning))
    columns = (Column("state"), Column("runs", "integer"), Column("what it means"))
    tables.show(Sheet("Runs by state", columns, rows), "states")


def _running(runs: Sequence[TrackedRun], at: float) -> None:
    """Those in training, the one that ends next first."""

    def left(run: TrackedRun) -> float:
        return float("inf") if run.eta_seconds is None else run.eta_seconds

    columns = (
        Column("done", "percent", "Iterations done of all."),
        STEP,
        Column("of", "integer", "Iterations in all."),
        Column("time left", "text", "Until the last iteration, at the pace so far."),
        WHERE,
        Column("restarts", "integer", "How often it was taken up again."),
        SEEN,
    )

    def cells(run: TrackedRun) -> tuple[Value, ...]:
        status = run.status
        if status is None:
            return (None, None, None, None, run.where, None, None)
        share = min(1.0, status.step / status.total) if status.total else None
        eta = run.eta_seconds
        return (
            share,
            status.step,
            status.total,
            None if eta is None else duration(eta),
            run.where,
            status.restarts,
            _ago(status.heartbeat, at),
        )

    _listing("running", sorted(runs, key=left), columns, cells, bars=(len(RUN),))


def _failed(runs: Sequence[TrackedRun], choice: RunFilter, at: float) -> None:
    def cells(run: TrackedRun) -> tuple[Value, ...]:
        failure = run.status.failure if run.status else None
        kind, step, message = (
            (failure.kind, failure.step, failure.message) if failure else (None, None, None)
        )
        beat = run.status.heartbeat if run.status else None
        return (kind, step, run.where, _ago(beat, at), message)

    columns = (Column("kind"), Column("step", "integer"), WHERE, SEEN, Column("what happened"))
    newest = sorted(runs, key=lambda run: -(run.status.heartbeat if run.status else 0.0))
    _listing("failed", newest, columns, cells)
    _go_on(runs, choice)


def _last(at: float) -> Callable[[TrackedRun], tuple[Value, ...]]:
    def cells(run: TrackedRun) -> tuple[Value, ...]:
        status = run.status
        if status is None:
            return (None, run.where, None)
        return (status.step, run.where, _ago(status.heartbeat, at))

    return cells


def _ago(moment: float | None, at: float) -> str | None:
    # clocks of machines differ by some seconds
    return None if moment is None else f"{duration(max(0.0, at - moment))} ago"


def _listing(
    name: RunState,
    runs: Sequence[TrackedRun],
    columns: tuple[Column, ...],
    cells: Callable[[TrackedRun], Sequence[Value]],
    bars: Sequence[int] = (),
) -> None:
    """The runs in one state; nothing where there are none."""
    if not runs:
        return
    rows = [
        (run.spec.run_id, run.spec.protocol, run.spec.method, run.spec.seed, *cells(run))
        for run in runs[:MOST_RUNS]
    ]
    more = f", {MOST_RUNS} of {len(runs):,} shown" if len(runs) > MOST_RUNS else ""
    title = name.capitalize() + more
    tables.show(Sheet(title, RUN + columns, rows), f"jobs-{name}", bars=bars)


def _go_on(runs: Sequence[TrackedRun], choice: RunFilter) -> None:
    found = jobs.next_commands(runs, source.catalog(), choice.task)
    for command in found[:MOST_COMMANDS]:
        st.code(command, language=None, wrap_lines=True)
    if len(found) > MOST_COMMANDS:
        say.note(f"and {len(found) - MOST_COMMANDS} more commands, one a protocol")


def _boards(counts: dict[jobs.Board, Counter[RunState]]) -> None:
    """Counts by protocol."""
    shown = [name for name in RUN_STATES if any(one[name] for one in counts.values())]
    rows = [
        (", ".join(tasks) or None, protocol, *(one[name] for name in shown), one.total())
        for (tasks, protocol), one in counts.items()
    ]
    columns = (
        Column("task", "text", "Those that accept the protocol; none for one of the past."),
        Column("protocol"),
        *(Column(name, "integer", RUN_STATES[name]) for name in shown),
        Column("runs", "integer"),
    )
    if rows:
        tables.show(Sheet("Runs by protocol", columns, rows), "jobs-protocols")


def _submissions(found: Sequence[Submission]) -> None:
    """Batches of cluster jobs, the newest first. The filters do not touch them."""
    if not found:
        return
    columns = (
        Column("batch", "text", "Its jobs are called longtail-BATCH on the cluster."),
        Column("submitted", "time"),
        Column("done", "percent", "Runs done of all."),
        Column("runs done", "integer"),
        Column("of", "integer"),
        Column("the others"),
        Column("what was asked for"),
        Column("jobs", "integer"),
        Column("a job asks for"),
        Column("by"),
        Column("cluster"),
    )
    rows = [_submission(one) for one in found[:MOST_RUNS]]
    more = f", {MOST_RUNS} of {len(found):,} shown" if len(found) > MOST_RUNS else ""
    title = f"Submitted to a cluster, the newest first{more}"
    tables.show(Sheet(title, columns, rows), "jobs-submitted", bars=(2,))


def _submission(one: Submission) -> tuple[Value, ...]:
    done = one.states.get("done", 0)
    others = ", ".join(f"{count} {name}" for name, count in one.states.items() if name != "done")
    if one.state != "submitted":
        others = f"{one.state}; {others}"
    return (
        one.id,
        one.created,
        done / one.runs if one.runs else None,
        done,
        one.runs,
        others or None,
        one.asked,
        one.jobs,
        one.resources or None,
        one.by,
        one.cluster,
    )
