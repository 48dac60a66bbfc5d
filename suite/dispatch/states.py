"""The state of every run, from its files and from the cluster's queue. A folder is never a state."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from suite.base.command import Command
from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.digest import Code
from suite.define.spec import RunSpec
from suite.dispatch.batch import batches, jobs_folder, log_path
from suite.dispatch.reconcile import ClusterState, LiveJob, reconcile
from suite.records.attempt import attempts, finished_digest
from suite.records.files import Status
from suite.records.inputs import digest_of
from suite.records.lease import cancel_request, is_leased
from suite.records.lookup import find_spec, match_run, run_folders
from suite.records.states import RunState
from suite.runs.todo import PlannedRun, plan_run

if TYPE_CHECKING:
    import duckdb

BY_US = "by `cancel`"
"""Note of a run that the verb `cancel` took out, rather than somebody on the cluster."""


@dataclass(frozen=True)
class TrackedRun:
    """One run: what is to be done with it, what its newest attempt says of itself, the live cluster job
    that holds it, and its tasks' names.

    `note` says why it waits or who cancelled it.
    """

    spec: RunSpec
    state: RunState
    item: PlannedRun
    tasks: tuple[str, ...]
    status: Status | None = None
    job: LiveJob | None = None
    note: str = ""

    @property
    def where(self) -> str:
        """The job and node, or the machine, that has it; "" where nobody does."""
        if self.job is not None:
            return f"job {self.job.id}" + (f" on {self.job.node}" if self.job.node else "")
        return f"on {self.status.host}" if self.status is not None and self.status.host else ""

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the last iteration at the pace so far; None where that is not known."""
        status = self.status
        if self.state != "running" or status is None or not status.step or not status.total:
            return None
        seconds = status.elapsed / status.step * (status.total - status.step)
        return seconds if 0 <= seconds < math.inf else None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        status = self.status
        failure = status.failure if status is not None and self.state == "failed" else None
        return {
            "run": self.spec.run_id,
            "tasks": list(self.tasks),
            "protocol": self.spec.protocol,
            "method": self.spec.method,
            "seed": self.spec.seed,
            "params": self.spec.params,
            "state": self.state,
            "attempt": self.item.attempt.number,
            "step": status.step if status else None,
            "total": status.total if status else None,
            "eta_seconds": self.eta_seconds,
            "failure": msgspec.to_builtins(failure),
            "job": self.job.id if self.job else None,
            "node": self.job.node or None if self.job else None,
            "note": self.note or None,
        }


@dataclass(frozen=True)
class Settled:
    """Runs of which the store knows that there is nothing to look at: their newest attempt is finished.

    `state` holds the state of each, `done` or `stale`, by run id; `counts` how many there are by
    (protocol hash, protocol, method, state).
    """

    state: Mapping[str, RunState] = field(default_factory=dict)
    counts: Mapping[tuple[str, str, str, RunState], int] = field(default_factory=dict)


def read_settled(connection: duckdb.DuckDBPyConnection, methods: Collection[str]) -> Settled:
    """What the store knows to be settled. `methods`: names of those known today; of others, only what
    the store counts as done is (whose code is today's, their runs must say themselves)."""
    from suite.store.connection import statements

    rows = connection.execute(statements("settled"), {"methods": list(methods)}).fetchall()
    return Settled(
        {run_id: state for run_id, *_, state in rows}, Counter(tuple(rest) for _, *rest in rows)
    )


def survey(
    root: Path,
    catalog: Catalog,
    wanted: Iterable[RunSpec] = (),
    *,
    settle: bool = True,
    leave_out: Collection[str] = frozenset(),
    now: ClusterState | None = None,
) -> tuple[list[TrackedRun], ClusterState]:
    """Every run that has a folder, was submitted or is `wanted`, and where the jobs stand.

    Args:
        settle: write down what ended jobs have left.
        leave_out: ids of runs whose files need no look (`Settled.state`): they are not in the result,
            unless a live job holds them. What is left costs a few files a run.
        now: where the jobs stood a moment ago; default: the cluster is asked.
    """
    if now is not None:
        now = _moved_on(root, now)
    else:
        now = reconcile(root, settle=settle) if jobs_folder(root).exists() else ClusterState()
    specs = {spec.run_id: spec for spec in wanted}
    specs.update({run_id: run.spec for run_id, run in now.submitted.items()})

    def left_out(run_id: str) -> bool:
        return run_id in leave_out and run_id not in now.live

    for run_id in run_folders(root):
        if run_id not in specs and not left_out(run_id):
            spec = find_spec(root, run_id)
            if spec is not None:
                specs[run_id] = spec
    accepting = _accepting(catalog)

    def digest(spec: RunSpec) -> str:
        try:
            return digest_of(root, catalog, spec, specs)
        except UserError:
            return _own_digest(root, spec.run_id)

    return [
        _state(root, spec, digest(spec), catalog.code, accepting, now)
        for run_id, spec in sorted(specs.items())
        if not left_out(run_id)
    ], now


def _moved_on(root: Path, now: ClusterState) -> ClusterState:
    """Without the live jobs of runs that are finished since."""

    def finished(run_id: str) -> bool:
        run = now.submitted.get(run_id)
        number = run.assignment.attempt if run else 0
        return os.path.exists(f"{root}/runs/{run_id}/{number}/record.json")

    return replace(now, live={run: job for run, job in now.live.items() if not finished(run)})


def select_runs(runs: Sequence[TrackedRun], prefixes: Iterable[str]) -> list[TrackedRun]:
    """The runs whose ids begin with `prefixes`. Raises UserError: none, or several, for one of them."""
    by_id = {run.spec.run_id: run for run in runs}
    return [
        by_id[match_run(prefix, by_id, f"here; see `{Command('status')}`")] for prefix in prefixes
    ]


def find_log(root: Path, prefix: str, of_job: bool) -> Path:
    """The log of a run's newest attempt; of its cluster job where asked, or where it has not begun.

    Raises UserError: no such run, or nothing was printed yet.
    """
    jobs = {
        run: (batch.id, job) for batch in batches(root) for run, job in batch.runs.items() if job
    }
    run_id = match_run(prefix, {*jobs, *run_folders(root)}, f"here; see `{Command('status')}`")
    paths = [attempt.path / "log.txt" for attempt in reversed(attempts(root, run_id))]
    if run_id in jobs:
        job_log = log_path(root, *jobs[run_id])
        paths = [job_log] if of_job else [*paths, job_log]
    elif of_job:
        raise UserError(f"run {run_id} was never in a cluster job")
    for path in paths:
        if path.is_file() and path.stat().st_size:
            return path
    raise UserError(f"run {run_id} has printed nothing yet; see `{Command('status')}`")


Accepting = Callable[[str, str], tuple[tuple[str, str], ...]]


def _accepting(catalog: Catalog) -> Accepting:
    """(protocol hash, protocol) -> (task, evaluation hash) of the tasks that accept it."""

    @cache
    def pairs(protocol_hash: str, name: str) -> tuple[tuple[str, str], ...]:
        protocol = catalog.protocol_with(protocol_hash, name)
        if protocol is None:
            return ()
        tasks = catalog.accepting(protocol)
        return tuple((task.name, task.evaluation_hash(protocol)) for task in tasks)

    return pairs


def _state(
    root: Path,
    spec: RunSpec,
    digest: str,
    code: Code,
    accepting: Accepting,
    now: ClusterState,
) -> TrackedRun:
    run_id = spec.run_id
    pairs = accepting(spec.protocol_hash, spec.protocol)
    task, evaluation = pairs[0] if pairs else ("", "")
    item = plan_run(root, spec, digest, code, task, evaluation)
    names = tuple(name for name, _ in pairs)
    known = attempts(root, run_id)
    job = now.live.get(run_id)
    if item.todo in ("done", "evaluate") and job is None:
        return TrackedRun(spec, "done", item, names)
    status = now.lost.get(run_id) or (known[-1].status() if known else None)

    def tracked(state: RunState, note: str = "") -> TrackedRun:
        return TrackedRun(spec, state, item, names, status, job, note)

    # by the attempt's own word, whatever has become of the method's code since it began
    begun = status is not None and status.state == "running"
    in_job = job is not None and status is not None and status.job == job.id
    if begun and (is_leased(status) or (in_job and job is not None and job.state == "RUNNING")):
        return tracked("running")
    if job is not None and run_id not in now.cancelled:
        note = job.reason
        if job.state == "RUNNING":
            note = "its job runs; other runs come first"
        elif job.stuck:
            note += ": `retry` releases it"
        return tracked("queued", note)
    if run_id in now.unsettled and run_id not in now.cancelled:
        return tracked("queued", "its job has ended; the cluster does not say yet how")
    if item.todo in ("done", "evaluate"):
        return tracked("done")
    if item.todo == "stale":
        return tracked("stale")
    submitted = now.submitted[run_id].batch.created if run_id in now.submitted else 0.0
    if status is not None and status.state == "failed" and status.wanted >= submitted:
        return tracked("failed")
    since = max(submitted, status.wanted if status else 0.0)
    if since and (request := cancel_request(root, spec, since)):
        return tracked("cancelled", request.note or BY_US)
    if status is not None:
        return tracked("failed" if status.state == "failed" else "stopped")
    return tracked("planned")


def _own_digest(root: Path, run_id: str) -> str:
    """Of a method (or an input run) that is not known here: whatever the newest attempt ran counts as
    today's."""
    for attempt in reversed(attempts(root, run_id)):
        digest = finished_digest(attempt)
        status = attempt.status()
        if digest or status:
            return digest or (status.digest if status else "")
    return ""
