"""Where runs stand on the cluster: our own files and SLURM's queue, held against each other.

A run is done when its record stands, whatever SLURM says. A run that a live job holds is left to it.
What a job left unfinished when it ended for good becomes a failure in the run's own status (or a
cancellation), so that plans and boards need not know of SLURM.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from suite.dispatch import slurm
from suite.dispatch.batch import Batch, batch_folder, batches, job_name, log_path
from suite.dispatch.slurm import NO_OUTPUT, REFUSED, STOPPED_EXIT, Ending
from suite.errors import UserError
from suite.hold import cancel, cancelled, run_lock
from suite.record import Attempt, Failure, FailureKind, Status, read_regular
from suite.worker import Assignment


@dataclass(frozen=True)
class Place:
    """A live job that holds a run: its id, SLURM's state, node and reason, and its batch."""

    job: str
    state: str
    node: str
    reason: str
    batch: str

    @property
    def stuck(self) -> bool:
        """Whether SLURM itself holds the job, after a launch that failed: it waits for `retry`."""
        reason = self.reason.lower()
        return self.state == "PENDING" and ("requeued held" in reason or reason in STUCK)


STUCK = frozenset({"jobholdmaxrequeue", "job_requeued_in_held_state", "job requeued in held state"})


@dataclass(frozen=True)
class Hold:
    """The newest submission of a run."""

    batch: Batch
    job: str
    assignment: Assignment


@dataclass(frozen=True)
class Standing:
    """`places`: run id -> the live job that holds it; `holds`: run id -> its newest submission;
    `problem`: why the cluster could not be asked, None if it was or nothing had to be."""

    places: Mapping[str, Place] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    problem: str | None = None


def standing(root: Path, *, settle: bool = True) -> Standing:
    """Ask the cluster about every run that was submitted and is not finished; settle what ended.

    `settle=False` writes nothing. Never raises for a cluster that does not answer: then nothing is settled.
    """
    known = [batch for batch in batches(root) if batch.state != "abandoned"]
    holds = {
        assignment.spec.run_id: Hold(batch, job, assignment)
        for batch in known
        for job, assignments in zip(batch.ids or [""] * len(batch.jobs), batch.jobs, strict=True)
        for assignment in assignments
    }
    unfinished = {run for run, hold in holds.items() if not _recorded(root, hold.assignment)}
    open_batches = [b for b in known if any(run in unfinished for run in b.runs)]
    if not open_batches:
        return Standing({}, holds)
    try:
        here = slurm.cluster().name
        ours = [batch for batch in open_batches if batch.cluster == here]
        entries = slurm.queue(batch.job_name for batch in ours)
        places = {
            run: Place(job, entry.state, entry.node, entry.reason, batch.id)
            for batch in ours
            for run, job in batch.runs.items()
            if run in unfinished and (entry := entries.get(job)) is not None
        }
        left = {
            run: hold
            for run, hold in holds.items()
            if run in unfinished
            and run not in places
            and hold.job
            and hold.batch.cluster == here
            and _unsettled(root, hold)
        }
        endings = slurm.endings({hold.job for hold in left.values()}) if left and settle else {}
    except UserError as error:
        return Standing({}, holds, str(error))
    for hold in left.values():
        if hold.job in endings:
            _settle(root, hold, endings[hold.job])
    others = sorted({batch.cluster for batch in open_batches} - {here})
    problem = f"jobs on {', '.join(others)} are seen from there only" if others else None
    return Standing(places, holds, problem)


def cancel_jobs(root: Path) -> list[str]:
    """End the live jobs whose runs are all cancelled or finished; their ids.

    Raises UserError where the cluster does not take it.
    """
    now = standing(root)
    runs: dict[str, list[tuple[str, float]]] = {}
    jobs: dict[str, set[str]] = {}
    for run_id, place in now.places.items():
        batch = now.holds[run_id].batch
        runs.setdefault(place.job, []).append((run_id, batch.created))
        jobs.setdefault(place.batch, set()).add(place.job)
    ended = {
        job
        for job, members in runs.items()
        if all(cancelled(root, run_id, since) is not None for run_id, since in members)
    }
    for batch_id, members in jobs.items():
        if members <= ended:
            # one call for an array of a thousand
            slurm.cancel_by_name(job_name(batch_id))
        elif members & ended:
            slurm.cancel(members & ended)
    return sorted(ended)


def _recorded(root: Path, assignment: Assignment) -> bool:
    folder = f"{root}/runs/{assignment.spec.run_id}/{assignment.attempt}"
    return not assignment.evaluate_only and os.path.exists(f"{folder}/record.json")


def _unsettled(root: Path, hold: Hold) -> bool:
    """Whether it is for the job's end to say what became of the run."""
    assignment = hold.assignment
    if assignment.evaluate_only:
        return False
    run_id = assignment.spec.run_id
    status = Attempt(root, run_id, assignment.attempt).status()
    if status is not None and (status.state in ("failed", "done") or status.job != hold.job):
        return False  # it has said so itself, or another process has been at it since
    return cancelled(root, run_id, hold.batch.created) is None


def _settle(root: Path, hold: Hold, ending: Ending) -> None:
    assignment = hold.assignment
    attempt = Attempt(root, assignment.spec.run_id, assignment.attempt)
    with run_lock(root, attempt.run_id) as mine:
        # taken up again meanwhile: by another command, or an administrator queued the job once more
        if not mine or attempt.finished or not _unsettled(root, hold):
            return
        begun = attempt.status()
        if ending.state == "CANCELLED":
            by = f" by user id {ending.by}" if ending.by else ""
            cancel(root, attempt.run_id, f"job {hold.job} was cancelled{by}")
            if begun is not None:
                attempt.write_status(msgspec.structs.replace(begun, state="stopped"))
            return
        failure = explain(root, hold.batch, hold.job, ending, begun is not None)
        if begun is None:
            attempt.create(assignment.spec)
            now = time.time()
            attempt.write_status(
                Status(
                    state="failed",
                    digest=assignment.digest,
                    started=now,
                    heartbeat=now,
                    failure=failure,
                    job=hold.job,
                    wanted=assignment.wanted,
                )
            )
        else:
            attempt.write_failure(failure)


KINDS: Mapping[str, FailureKind] = {
    "OUT_OF_MEMORY": "oom",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
}


def explain(root: Path, batch: Batch, job: str, ending: Ending, begun: bool) -> Failure:
    """The failure of a run that its job left unfinished, in one line."""
    where = f"job {job}" + (f" on {ending.node}" if ending.node else "")
    tail = _tail(log_path(root, batch.id, job))
    kind: FailureKind = KINDS.get(ending.state, "killed")
    if ending.exit == NO_OUTPUT or (ending.exit == f"{REFUSED}:0" and not tail):
        kind = "environment"
        text = (
            f"{where} does not see {batch_folder(root, batch.id)}; use a --root on a file system that "
            "the nodes share"
        )
    elif ending.exit == f"{REFUSED}:0":
        kind, text = "environment", f"{where}: {_last(tail)}"
    elif ending.state == "UNKNOWN":
        text = f"{where} has left the queue, and the cluster keeps no account of it"
    elif ending.exit == f"{STOPPED_EXIT}:0":
        text = f"{where} stopped at its checkpoints and was not queued again"
    else:
        if kind == "killed" and any("memory limit" in line or "oom" in line for line in tail):
            kind = "oom"
        text = f"{where} ended {ending.state} (exit code {ending.exit})"
        if not begun and (said := _last(tail)):
            text += f" before the run began: {said}"
    return Failure(kind=kind, message=text)


def _tail(path: Path, size: int = 8192) -> list[str]:
    try:
        content = read_regular(path)[-size:]
    except OSError:
        return []
    return [line for line in content.decode("utf-8", "replace").splitlines() if line.strip()]


def _last(lines: Iterable[str]) -> str:
    """The last line that says something about what went wrong."""
    ours = [line for line in lines if not line.startswith("longtail: job ")]
    return " ".join(ours[-1].removeprefix("longtail: ").split())[:300] if ours else ""
