"""Where submitted runs stand: our own files and SLURM's queue, held against each other.

A run is done when its record stands, whatever SLURM says. A run that a live job holds is left to it.
What a job left unfinished when it ended for good becomes a failure in the run's own status (or a
cancellation), so that plans and boards need not know of SLURM.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from suite.base.errors import UserError
from suite.define.spec import RunSpec
from suite.dispatch import slurm
from suite.dispatch.batch import Batch, batch_folder, batches, job_name, jobs_folder
from suite.dispatch.job_failure import job_failure
from suite.dispatch.slurm import Ending
from suite.records.attempt import Attempt
from suite.records.files import Status
from suite.records.lease import cancel, cancel_request, is_leased, run_lock
from suite.runs.job import Assignment


@dataclass(frozen=True)
class LiveJob:
    """A job in the queue that has a run in hand: its id, SLURM's state (or `UNSEEN`), node and reason, and
    its batch."""

    id: str
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
class SubmittedRun:
    """A run as it was submitted last: the batch, the id of its job on the cluster ("" where it has none
    yet), and what its worker is told."""

    batch: Batch
    job: str
    assignment: Assignment

    @property
    def spec(self) -> RunSpec:
        return self.assignment.spec


@dataclass(frozen=True)
class ClusterState:
    """Where the runs of all submissions stand.

    Attributes:
        live: run id -> the live job that has it in hand, or the one that may be alive where it cannot be
            seen from here.
        submitted: run id -> its newest submission.
        cancelled: runs that were cancelled since they were submitted: their jobs pass them over.
        unsettled: runs whose job has gone while the cluster does not say yet how, or while the last of
            its processes is still at them.
        lost: run id -> what its ended job has left, where that was not written down (`settle=False`,
            or a root that may only be read).
        silent: why the cluster could not be asked (then nothing is known of its queue), else None.
        elsewhere: whose jobs cannot be seen from here.
    """

    live: Mapping[str, LiveJob] = field(default_factory=dict)
    submitted: Mapping[str, SubmittedRun] = field(default_factory=dict)
    cancelled: frozenset[str] = frozenset()
    unsettled: frozenset[str] = frozenset()
    lost: Mapping[str, Status] = field(default_factory=dict)
    silent: str | None = None
    elsewhere: tuple[str, ...] = ()

    @property
    def queued(self) -> frozenset[str]:
        """Runs that a job has in hand, or may have: nobody else is to submit them."""
        return (frozenset(self.live) | self.unsettled) - self.cancelled

    @property
    def problem(self) -> str | None:
        """One line for people, None where there is nothing to say."""
        if self.silent is None and self.elsewhere:
            return f"not seen from here: jobs {' and '.join(self.elsewhere)}"
        return self.silent


UNSEEN = "UNSEEN"
"""State of a job on another cluster, or of a colleague whose queue is hidden."""


def reconcile(root: Path, *, settle: bool = True) -> ClusterState:
    """Ask the cluster about every run that was submitted and is not through; settle what ended.

    `settle=False` writes nothing. Never raises for a cluster that does not answer.
    """
    submitted = {
        assignment.spec.run_id: SubmittedRun(batch, job, assignment)
        for batch in batches(root)
        if batch.state != "abandoned"
        for job, assignments in zip(batch.ids or [""] * len(batch.jobs), batch.jobs, strict=True)
        for assignment in assignments
    }
    closed = {f"{path.parent.parent.name}/{path.name}" for path in _marks(root)}
    left = {run_id: run for run_id, run in submitted.items() if _open(root, run, closed)}
    if not left:
        return ClusterState({}, submitted)
    cancelled = frozenset(
        run_id for run_id, run in left.items() if cancel_request(root, run.spec, run.batch.created)
    )
    try:
        live, gone, elsewhere = _in_queue(left, cancelled)
        endings = slurm.endings({run.job for run in gone.values()}) if gone else {}
    except UserError as error:
        return ClusterState({}, submitted, cancelled, silent=str(error))
    ended = {run_id: run for run_id, run in gone.items() if run.job in endings}
    lost = {}
    busy, unwritten = set(), set()
    for run_id, run in ended.items():
        ending = endings[run.job]
        if settle:
            try:
                if not _settle(root, run, ending):
                    busy.add(run_id)
                continue
            except OSError:
                unwritten.add(run_id)
        if run_id not in cancelled and (verdict := _verdict(root, run, ending)):
            lost[run_id] = verdict
    if settle:
        open_jobs = {ended[run_id].job for run_id in busy | unwritten}
        for run in ended.values():
            if run.job not in open_jobs:
                _mark(root, run)
    unsettled = frozenset(gone.keys() - ended.keys() | busy)
    return ClusterState(live, submitted, cancelled, unsettled, lost, elsewhere=elsewhere)


def _in_queue(
    left: Mapping[str, SubmittedRun], cancelled: Container[str]
) -> tuple[dict[str, LiveJob], dict[str, SubmittedRun], tuple[str, ...]]:
    """Of submitted runs: those whose job is in the queue or cannot be seen from here, those whose job is
    gone, and whose jobs cannot be seen. Raises UserError: the cluster does not answer."""
    here = slurm.cluster().name
    names = {run.batch.job_name for run in left.values() if run.batch.cluster == here}
    entries = slurm.queue(sorted(names))
    live: dict[str, LiveJob] = {}
    gone: dict[str, SubmittedRun] = {}
    elsewhere = set()
    for run_id, run in left.items():
        batch = run.batch
        mine = batch.uid == os.getuid()
        where = "" if batch.cluster == here else f"on cluster {batch.cluster}"
        if not where and not mine:
            where = f"of {batch.user}"
        if not where and not run.job:
            continue  # of a submission at work, or one that was killed: `recover` ends it
        if not where or (run.job in entries and batch.cluster == here):
            entry = entries.get(run.job)
            if entry is None:
                gone[run_id] = run
            else:
                live[run_id] = LiveJob(run.job, entry.state, entry.node, entry.reason, batch.id)
        elif run_id not in cancelled:
            elsewhere.add(where)
            live[run_id] = LiveJob(run.job, UNSEEN, "", where, batch.id)
    return live, gone, tuple(sorted(elsewhere))


def cancel_jobs(root: Path) -> list[str]:
    """End the live jobs of this user whose runs are all cancelled or finished; their ids.

    Raises UserError where the cluster does not take it.
    """
    now = reconcile(root)
    wanted: dict[str, bool] = {}
    jobs: dict[str, set[str]] = {}
    for run_id, job in now.live.items():
        if job.state == UNSEEN or now.submitted[run_id].batch.uid != os.getuid():
            continue
        wanted[job.id] = wanted.get(job.id, True) and run_id in now.cancelled
        jobs.setdefault(job.batch, set()).add(job.id)
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


def _mark(root: Path, run: SubmittedRun) -> None:
    with contextlib.suppress(OSError):
        path = batch_folder(root, run.batch.id) / "ended" / run.job
        path.parent.mkdir(exist_ok=True)
        path.touch()


def _open(root: Path, run: SubmittedRun, closed: Container[str]) -> bool:
    """Whether the newest submission of a run has not brought it to an end yet, by what is on disk."""
    if f"{run.batch.id}/{run.job}" in closed:
        return False
    folder = f"{root}/runs/{run.spec.run_id}/{run.assignment.attempt}"
    if os.path.exists(f"{folder}/record.json"):
        return False
    status = Attempt(root, run.spec.run_id, run.assignment.attempt).status()
    return status is None or not (
        status.state == "failed" and status.job == run.job and status.wanted >= run.batch.created
    )


def _settle(root: Path, run: SubmittedRun, ending: Ending) -> bool:
    """Write down what the end of its job means for a run. False if somebody is at the run. Raises
    OSError: a root that may only be read."""
    attempt = Attempt(root, run.spec.run_id, run.assignment.attempt)
    with run_lock(root, attempt.run_id) as mine:
        # an administrator may have queued the job once more
        if not mine or is_leased(attempt.status()):
            return False
        if attempt.finished or cancel_request(root, run.spec, run.batch.created):
            return True
        verdict = _verdict(root, run, ending)
        if verdict is not None and ending.state == "CANCELLED":
            by = f" by user id {ending.by}" if ending.by else ""
            cancel(root, attempt.run_id, f"job {run.job} was cancelled{by}")
        elif verdict is not None:
            attempt.create(run.spec)
            attempt.write_status(verdict)
    return True


def _verdict(root: Path, run: SubmittedRun, ending: Ending) -> Status | None:
    """The status of a run that its job has left; None where the run is not the job's any more."""
    assignment = run.assignment
    before = Attempt(root, run.spec.run_id, assignment.attempt).status()
    begun = before is not None and before.wanted >= run.batch.created
    if before is not None and begun and before.job != run.job:
        return None  # a later command has had it
    now = time.time()
    blank = Status(state="failed", digest=assignment.digest, started=now, heartbeat=now)
    return msgspec.structs.replace(
        before or blank,
        state="failed",
        failure=job_failure(root, run.batch, run.job, ending, begun),
        job=run.job,
        wanted=assignment.wanted,
    )
