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
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from suite.base.bounded import read_regular
from suite.base.errors import UserError
from suite.define.spec import RunSpec
from suite.dispatch import slurm
from suite.dispatch.batch import Batch, batch_folder, batches, job_name, jobs_folder, log_path
from suite.dispatch.slurm import NO_OUTPUT, REFUSED, STOPPED_EXIT, Ending
from suite.records.attempt import Attempt
from suite.records.files import Failure, FailureKind, Status
from suite.records.lease import cancel, cancelled, run_lock, worked_on
from suite.runs.job import Assignment


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
        places: run id -> the live job that holds it, or the one that may be alive where it cannot be
            seen from here.
        holds: run id -> its newest submission.
        leaving: runs in `places` that are cancelled: their jobs pass them over.
        unsettled: runs whose job has gone while the cluster does not say yet how, or while the last of
            its processes is still at them.
        lost: run id -> what its ended job has left, where that was not written down (`settle=False`,
            or a root that may only be read).
        silent: why the cluster could not be asked (then nothing is known of its queue), else None.
        elsewhere: whose jobs cannot be seen from here.
    """

    places: Mapping[str, Place] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    leaving: frozenset[str] = frozenset()
    unsettled: frozenset[str] = frozenset()
    lost: Mapping[str, Status] = field(default_factory=dict)
    silent: str | None = None
    elsewhere: tuple[str, ...] = ()

    @property
    def queued(self) -> frozenset[str]:
        """Runs that a job has in hand, or may have: nobody else is to submit them."""
        return (frozenset(self.places) | self.unsettled) - self.leaving

    @property
    def problem(self) -> str | None:
        """One line for people, None where there is nothing to say."""
        if self.silent is None and self.elsewhere:
            return f"not seen from here: jobs {' and '.join(self.elsewhere)}"
        return self.silent


UNSEEN = "UNSEEN"
"""State of a job on another cluster, or of a colleague whose queue is hidden."""


def standing(root: Path, *, settle: bool = True) -> Standing:
    """Ask the cluster about every run that was submitted and is not through; settle what ended.

    `settle=False` writes nothing. Never raises for a cluster that does not answer.
    """
    holds = {
        assignment.spec.run_id: Hold(batch, job, assignment)
        for batch in batches(root)
        if batch.state != "abandoned"
        for job, assignments in zip(batch.ids or [""] * len(batch.jobs), batch.jobs, strict=True)
        for assignment in assignments
    }
    closed = {f"{path.parent.parent.name}/{path.name}" for path in _marks(root)}
    left = {run: hold for run, hold in holds.items() if _open(root, hold, closed)}
    if not left:
        return Standing({}, holds)
    leaving = frozenset(
        run for run, hold in left.items() if cancelled(root, hold.spec, hold.batch.created)
    )
    try:
        here = slurm.cluster().name
        names = {hold.batch.job_name for hold in left.values() if hold.batch.cluster == here}
        entries = slurm.queue(sorted(names))
        places: dict[str, Place] = {}
        gone: dict[str, Hold] = {}
        elsewhere = set()
        for run, hold in left.items():
            batch = hold.batch
            mine = batch.uid == os.getuid()
            where = "" if batch.cluster == here else f"on cluster {batch.cluster}"
            if not where and not mine:
                where = f"of {batch.user}"
            if not where and not hold.job:
                continue  # of a submission at work, or one that was killed: `recover` ends it
            if not where or (hold.job in entries and batch.cluster == here):
                entry = entries.get(hold.job)
                if entry is None:
                    gone[run] = hold
                else:
                    places[run] = Place(hold.job, entry.state, entry.node, entry.reason, batch.id)
            elif run not in leaving:
                elsewhere.add(where)
                places[run] = Place(hold.job, UNSEEN, "", where, batch.id)
        endings = slurm.endings({hold.job for hold in gone.values()}) if gone else {}
    except UserError as error:
        return Standing({}, holds, leaving, silent=str(error))
    ended = {run: hold for run, hold in gone.items() if hold.job in endings}
    lost = {}
    busy, unwritten = set(), set()
    for run, hold in ended.items():
        ending = endings[hold.job]
        if settle:
            try:
                if not _settle(root, hold, ending):
                    busy.add(run)
                continue
            except OSError:
                unwritten.add(run)
        if run not in leaving and (verdict := _verdict(root, hold, ending)):
            lost[run] = verdict
    if settle:
        open_jobs = {ended[run].job for run in busy | unwritten}
        for hold in ended.values():
            if hold.job not in open_jobs:
                _mark(root, hold)
    unsettled = frozenset(gone.keys() - ended.keys() | busy)
    return Standing(places, holds, leaving, unsettled, lost, elsewhere=tuple(sorted(elsewhere)))


def cancel_jobs(root: Path) -> list[str]:
    """End the live jobs of this user whose runs are all cancelled or finished; their ids.

    Raises UserError where the cluster does not take it.
    """
    now = standing(root)
    wanted: dict[str, bool] = {}
    jobs: dict[str, set[str]] = {}
    for run_id, place in now.places.items():
        if place.state == UNSEEN or now.holds[run_id].batch.uid != os.getuid():
            continue
        wanted[place.job] = wanted.get(place.job, True) and run_id in now.leaving
        jobs.setdefault(place.batch, set()).add(place.job)
    ended = {job for job, all_of_it in wanted.items() if all_of_it}
    for batch_id, members in jobs.items():
        if members <= ended:
            # one call for an array of a thousand
            slurm.cancel_by_name(job_name(batch_id))
        elif members & ended:
            slurm.cancel(members & ended)
    return sorted(ended)


def _marks(root: Path) -> Iterable[Path]:
    """Marks of jobs that need not be asked about any more: through, or ended and settled."""
    return (
        path for kind in ("through", "ended") for path in jobs_folder(root).glob(f"2*/{kind}/*")
    )


def _mark(root: Path, hold: Hold) -> None:
    with contextlib.suppress(OSError):
        path = batch_folder(root, hold.batch.id) / "ended" / hold.job
        path.parent.mkdir(exist_ok=True)
        path.touch()


def _open(root: Path, hold: Hold, closed: Container[str]) -> bool:
    """Whether the newest submission of a run has not brought it to an end yet, by what is on disk."""
    if f"{hold.batch.id}/{hold.job}" in closed:
        return False
    folder = f"{root}/runs/{hold.spec.run_id}/{hold.assignment.attempt}"
    if os.path.exists(f"{folder}/record.json"):
        return False
    status = Attempt(root, hold.spec.run_id, hold.assignment.attempt).status()
    return status is None or not (
        status.state == "failed" and status.job == hold.job and status.wanted >= hold.batch.created
    )


def _settle(root: Path, hold: Hold, ending: Ending) -> bool:
    """Write down what the end of its job means for a run. False if somebody is at the run. Raises
    OSError: a root that may only be read."""
    attempt = Attempt(root, hold.spec.run_id, hold.assignment.attempt)
    with run_lock(root, attempt.run_id) as mine:
        # an administrator may have queued the job once more
        if not mine or worked_on(attempt.status()):
            return False
        if attempt.finished or cancelled(root, hold.spec, hold.batch.created):
            return True
        verdict = _verdict(root, hold, ending)
        if verdict is not None and ending.state == "CANCELLED":
            by = f" by user id {ending.by}" if ending.by else ""
            cancel(root, attempt.run_id, f"job {hold.job} was cancelled{by}")
        elif verdict is not None:
            attempt.create(hold.spec)
            attempt.write_status(verdict)
    return True


def _verdict(root: Path, hold: Hold, ending: Ending) -> Status | None:
    """The status of a run that its job has left; None where the run is not the job's any more."""
    assignment = hold.assignment
    before = Attempt(root, hold.spec.run_id, assignment.attempt).status()
    begun = before is not None and before.wanted >= hold.batch.created
    if before is not None and begun and before.job != hold.job:
        return None  # a later command has had it
    now = time.time()
    blank = Status(state="failed", digest=assignment.digest, started=now, heartbeat=now)
    return msgspec.structs.replace(
        before or blank,
        state="failed",
        failure=explain(root, hold.batch, hold.job, ending, begun),
        job=hold.job,
        wanted=assignment.wanted,
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
