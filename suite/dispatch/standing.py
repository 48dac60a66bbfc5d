"""Where runs stand on the cluster: our own files and SLURM's queue, held against each other.

A run is done when its record stands, whatever SLURM says. A run that a live job holds is left to it.
What a job left unfinished when it ended for good becomes a failure in the run's own status (or a
cancellation), so that plans and boards need not know of SLURM.
"""

from __future__ import annotations

import contextlib
import os
import re
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
from suite.spec import RunSpec
from suite.worker import Assignment


@dataclass(frozen=True)
class Place:
    """A live job that holds a run: its id, SLURM's state (or `UNSEEN`), node and reason, and its batch."""

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

    @property
    def spec(self) -> RunSpec:
        return self.assignment.spec


@dataclass(frozen=True)
class Standing:
    """Where the runs of all submissions stand.

    Attributes:
        places: run id -> the live job that holds it; also one of another cluster, which may be.
        holds: run id -> its newest submission.
        silent: why the cluster could not be asked (then nothing is known of its queue), else None.
        elsewhere: clusters that have jobs of this root and are seen from their own machines only.
    """

    places: Mapping[str, Place] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    silent: str | None = None
    elsewhere: tuple[str, ...] = ()

    @property
    def problem(self) -> str | None:
        """One line for people, None where there is nothing to say."""
        if self.silent is None and self.elsewhere:
            return f"jobs on {', '.join(self.elsewhere)} are seen from there only"
        return self.silent


UNSEEN = "UNSEEN"
"""State of a job on another cluster."""


def standing(root: Path, *, settle: bool = True) -> Standing:
    """Ask the cluster about every run that was submitted and is not through; settle what ended.

    `settle=False` writes nothing. Never raises for a cluster that does not answer.
    """
    known = [batch for batch in batches(root) if batch.state != "abandoned"]
    holds = {
        assignment.spec.run_id: Hold(batch, job, assignment)
        for batch in known
        for job, assignments in zip(batch.ids or [""] * len(batch.jobs), batch.jobs, strict=True)
        for assignment in assignments
    }
    left = {run: hold for run, hold in holds.items() if _open(root, hold)}
    batches_left = [batch for batch in known if any(run in left for run in batch.runs)]
    if not batches_left:
        return Standing({}, holds)
    try:
        here = slurm.cluster().name
        ours = [batch for batch in batches_left if batch.cluster == here]
        entries = slurm.queue(batch.job_name for batch in ours)
        places = {
            run: Place(job, entry.state, entry.node, entry.reason, batch.id)
            for batch in ours
            for run, job in batch.runs.items()
            if run in left and (entry := entries.get(job)) is not None
        }
        ended = {
            run: hold
            for run, hold in left.items()
            # of a colleague's jobs this user may not even see the queue
            if run not in places and hold.batch.cluster == here and hold.batch.uid == os.getuid()
        }
        endings = slurm.endings({hold.job for hold in ended.values()}) if ended and settle else {}
    except UserError as error:
        return Standing({}, holds, silent=str(error))
    for hold in ended.values():
        if hold.job in endings:
            _settle(root, hold, endings[hold.job])
    for run, hold in left.items():
        batch = hold.batch
        if batch.cluster != here and cancelled(root, hold.spec, batch.created) is None:
            places[run] = Place(hold.job, UNSEEN, "", f"on cluster {batch.cluster}", batch.id)
    others = sorted({batch.cluster for batch in batches_left} - {here})
    return Standing(places, holds, elsewhere=tuple(others))


def cancel_jobs(root: Path) -> list[str]:
    """End the live jobs whose runs are all cancelled or finished; their ids.

    Raises UserError where the cluster does not take it.
    """
    now = standing(root)
    wanted: dict[str, bool] = {}
    jobs: dict[str, set[str]] = {}
    for run_id, place in now.places.items():
        if place.state == UNSEEN:
            continue
        hold = now.holds[run_id]
        asked = cancelled(root, hold.spec, hold.batch.created) is not None
        wanted[place.job] = wanted.get(place.job, True) and asked
        jobs.setdefault(place.batch, set()).add(place.job)
    ended = {job for job, all_of_it in wanted.items() if all_of_it}
    for batch_id, members in jobs.items():
        if members <= ended:
            # one call for an array of a thousand
            slurm.cancel_by_name(job_name(batch_id))
        elif members & ended:
            slurm.cancel(members & ended)
    return sorted(ended)


def _open(root: Path, hold: Hold) -> bool:
    """Whether the newest submission of a run has not brought it to an end yet, by the run's files."""
    if not hold.job:
        return False  # being submitted just now, or left behind by a submission that was killed
    assignment = hold.assignment
    folder = f"{root}/runs/{hold.spec.run_id}/{assignment.attempt}"
    if os.path.exists(f"{folder}/record.json"):
        return False
    status = Attempt(root, hold.spec.run_id, assignment.attempt).status()
    if status is None or status.wanted < hold.batch.created:
        return True  # it has not begun since; what its status says is from before
    if status.job != hold.job:
        return False  # a later command has it
    return status.state in ("running", "stopped")


def _settle(root: Path, hold: Hold, ending: Ending) -> None:
    """Write down what the end of its job means for a run, for its own status does not."""
    assignment = hold.assignment
    attempt = Attempt(root, hold.spec.run_id, assignment.attempt)
    # a root that may be read only, or a colleague's run folder
    with contextlib.suppress(OSError), run_lock(root, attempt.run_id) as mine:
        # taken up again meanwhile: by another command, or an administrator queued the job once more
        if not mine or not _open(root, hold):
            return
        if cancelled(root, hold.spec, hold.batch.created) is not None:
            return
        if ending.state == "CANCELLED":
            by = f" by user id {ending.by}" if ending.by else ""
            cancel(root, attempt.run_id, f"job {hold.job} was cancelled{by}")
            return
        before = attempt.status()
        begun = before is not None and before.wanted >= hold.batch.created
        now = time.time()
        blank = Status(state="failed", digest=assignment.digest, started=now, heartbeat=now)
        if before is None:
            attempt.create(hold.spec)
        attempt.write_status(
            msgspec.structs.replace(
                before or blank,
                state="failed",
                failure=explain(root, hold.batch, hold.job, ending, begun),
                job=hold.job,
                wanted=assignment.wanted,
            )
        )


KINDS: Mapping[str, FailureKind] = {
    "OUT_OF_MEMORY": "oom",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
}


_MEMORY = re.compile(r"exceeded (?:job |step )?memory limit|oom[-_]kill|Out Of Memory")
"""As slurmstepd words it."""


def explain(root: Path, batch: Batch, job: str, ending: Ending, begun: bool) -> Failure:
    """The failure of a run that its job left unfinished, in one line."""
    where = f"job {job}" + (f" on {ending.node}" if ending.node else "")
    tail = _last_start(log_path(root, batch.id, job))
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
        if ending.state == "FAILED" and any(_MEMORY.search(line) for line in tail):
            kind = "oom"
        text = f"{where} ended {ending.state} (exit code {ending.exit})"
        if not begun and (said := _last(tail)):
            text += f" before the run began: {said}"
    return Failure(kind=kind, message=text)


def _last_start(path: Path, size: int = 16384) -> list[str]:
    """What a job printed since it was started last, the end of it."""
    try:
        content = read_regular(path)[-size:].decode("utf-8", "replace")
    except OSError:
        return []
    content = content.rpartition("Starting with JobEnvironment")[2]
    return [line for line in content.splitlines() if line.strip()]


def _last(lines: Iterable[str]) -> str:
    """The last line that says something about what went wrong, rather than that something did."""
    said = [
        line for line in lines if not line.startswith(("longtail: job ", "srun: ", "slurmstepd"))
    ]
    return " ".join(said[-1].removeprefix("longtail: ").split())[:300] if said else ""
