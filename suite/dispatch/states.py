"""The state of every run, from its files and from the cluster's queue. A folder is never a state."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.digest import Code
from suite.define.spec import RunSpec
from suite.dispatch.batch import batches, jobs_folder, log_path
from suite.dispatch.reconcile import Place, Standing, standing
from suite.records.attempt import attempts, finished_digest
from suite.records.files import RUN_ID, Status
from suite.records.inputs import digest_of
from suite.records.lease import cancelled, worked_on
from suite.records.lookup import find_spec
from suite.runs.plan import Item, look

if TYPE_CHECKING:
    import duckdb

State = Literal["planned", "queued", "running", "stopped", "cancelled", "failed", "stale", "done"]
STATES: dict[State, str] = {
    "running": "being trained",
    "queued": "in the cluster's queue, or in a job behind other runs",
    "planned": "wanted, and in nobody's hand: `run`",
    "stopped": "interrupted, and in nobody's hand: `run` or `retry` go on from the checkpoint",
    "cancelled": "taken out by `cancel` (`retry --kind cancelled`), or on the cluster (`retry`)",
    "failed": "`retry` tries again what another try may mend; with --kind code or nan it trains anew",
    "stale": "trained with other code of the method: `run --stale`",
    "done": "finished",
}


BY_US = "by `cancel`"
"""Note of a run that the verb `cancel` took out, rather than somebody on the cluster."""


@dataclass(frozen=True)
class RunState:
    """One run: what is to be done with it, what its newest attempt says of itself, the live cluster job
    that holds it, and its tasks' names.

    `note` says why it waits or who cancelled it.
    """

    spec: RunSpec
    state: State
    item: Item
    tasks: tuple[str, ...]
    status: Status | None = None
    place: Place | None = None
    note: str = ""

    @property
    def where(self) -> str:
        """The job and node, or the machine, that has it; "" where nobody does."""
        if self.place is not None:
            return f"job {self.place.job}" + (f" on {self.place.node}" if self.place.node else "")
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
            "job": self.place.job if self.place else None,
            "node": self.place.node or None if self.place else None,
            "note": self.note or None,
        }


@dataclass(frozen=True)
class Settled:
    """Runs of which the store knows that there is nothing to look at: their newest attempt is finished.

    `state` holds the state of each, `done` or `stale`, by run id; `counts` how many there are by
    (protocol hash, protocol, method, state).
    """

    state: Mapping[str, State] = field(default_factory=dict)
    counts: Mapping[tuple[str, str, str, State], int] = field(default_factory=dict)


def settled(connection: duckdb.DuckDBPyConnection, methods: Collection[str]) -> Settled:
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
    now: Standing | None = None,
) -> tuple[list[RunState], Standing]:
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
        now = standing(root, settle=settle) if jobs_folder(root).exists() else Standing()
    specs = {spec.run_id: spec for spec in wanted}
    specs.update({run: hold.assignment.spec for run, hold in now.holds.items()})

    def left_out(run_id: str) -> bool:
        return run_id in leave_out and run_id not in now.places

    for run_id in _folders(root):
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


def _moved_on(root: Path, now: Standing) -> Standing:
    """Without the places of runs that are finished since."""

    def finished(run_id: str) -> bool:
        hold = now.holds.get(run_id)
        number = hold.assignment.attempt if hold else 0
        return os.path.exists(f"{root}/runs/{run_id}/{number}/record.json")

    places = {run: place for run, place in now.places.items() if not finished(run)}
    return replace(now, places=places)


def pick(states: Sequence[RunState], prefixes: Iterable[str]) -> list[RunState]:
    """The runs whose ids begin with `prefixes`. Raises UserError: none, or several, for one of them."""
    found = []
    for prefix in prefixes:
        some = [state for state in states if prefix and state.spec.run_id.startswith(prefix)]
        found.append(some[_one(prefix, [state.spec.run_id for state in some])])
    return found


def log_of(root: Path, prefix: str, of_job: bool) -> Path:
    """The log of a run's newest attempt; of its cluster job where asked, or where it has not begun.

    Raises UserError: no such run, or nothing was printed yet.
    """
    holds = {
        run: (batch.id, job) for batch in batches(root) for run, job in batch.runs.items() if job
    }
    known = sorted({*holds, *_folders(root)})
    some = [run for run in known if prefix and run.startswith(prefix)]
    run_id = some[_one(prefix, some)]
    paths = [attempt.path / "log.txt" for attempt in reversed(attempts(root, run_id))]
    if run_id in holds:
        job_log = log_path(root, *holds[run_id])
        paths = [job_log] if of_job else [*paths, job_log]
    elif of_job:
        raise UserError(f"run {run_id} was never in a cluster job")
    for path in paths:
        if path.is_file() and path.stat().st_size:
            return path
    raise UserError(f"run {run_id} has printed nothing yet; see `python -m suite status`")


def _one(prefix: str, found: Sequence[str]) -> int:
    if len(found) == 1:
        return 0
    if found:
        raise UserError(f"run {prefix!r} is not one run but {len(found)}: {', '.join(found[:5])}")
    raise UserError(f"no run {prefix!r} here; see `python -m suite status`")


Accepting = Mapping[str, tuple[tuple[str, str], ...]]


def _accepting(catalog: Catalog) -> Accepting:
    """Protocol hash -> (task, evaluation hash) of the tasks that accept it."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for task in catalog.tasks().values():
        for protocol in task.protocols:
            pair = (task.name, task.evaluation_hash(protocol))
            found[protocol.hash] = (*found.get(protocol.hash, ()), pair)
    return found


def _state(
    root: Path,
    spec: RunSpec,
    digest: str,
    code: Code,
    accepting: Accepting,
    now: Standing,
) -> RunState:
    run_id = spec.run_id
    pairs = accepting.get(spec.protocol_hash, ())
    task, evaluation = pairs[0] if pairs else ("", "")
    item = look(root, spec, digest, code, task, evaluation)
    names = tuple(name for name, _ in pairs)
    known = attempts(root, run_id)
    place = now.places.get(run_id)
    if item.todo in ("done", "evaluate") and place is None:
        return RunState(spec, "done", item, names)
    status = now.lost.get(run_id) or (known[-1].status() if known else None)

    def found(state: State, note: str = "") -> RunState:
        return RunState(spec, state, item, names, status, place, note)

    # by the attempt's own word, whatever has become of the method's code since it began
    begun = status is not None and status.state == "running"
    in_job = place is not None and status is not None and status.job == place.job
    if begun and (worked_on(status) or (in_job and place is not None and place.state == "RUNNING")):
        return found("running")
    if place is not None and run_id not in now.leaving:
        note = place.reason
        if place.state == "RUNNING":
            note = "its job runs; other runs come first"
        elif place.stuck:
            note += ": `retry` releases it"
        return found("queued", note)
    if run_id in now.unsettled and run_id not in now.leaving:
        return found("queued", "its job has ended; the cluster does not say yet how")
    if item.todo in ("done", "evaluate"):
        return found("done")
    if item.todo == "stale":
        return found("stale")
    hold = now.holds.get(run_id)
    submitted = hold.batch.created if hold else 0.0
    if status is not None and status.state == "failed" and status.wanted >= submitted:
        return found("failed")
    since = max(submitted, status.wanted if status else 0.0)
    if since and (request := cancelled(root, spec, since)):
        return found("cancelled", request.note or BY_US)
    if status is not None:
        return found("failed" if status.state == "failed" else "stopped")
    return found("planned")


def _own_digest(root: Path, run_id: str) -> str:
    """Of a method (or an input run) that is not known here: whatever the newest attempt ran counts as
    today's."""
    for attempt in reversed(attempts(root, run_id)):
        digest = finished_digest(attempt)
        status = attempt.status()
        if digest or status:
            return digest or (status.digest if status else "")
    return ""


def _folders(root: Path) -> list[str]:
    try:
        names = os.listdir(root / "runs")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in names if RUN_ID.fullmatch(name)]
