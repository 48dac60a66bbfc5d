"""Watch runs on a cluster to their end, and submit again what it loses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

from suite.dispatch import slurm
from suite.dispatch.standing import standing
from suite.errors import UserError
from suite.hold import cancelled
from suite.record import Attempt
from suite.worker import Assignment, Report

POLL_SECONDS = 2.0, 30.0
"""Between two looks: from the first, growing to the second with a suite's length, since every look is a
question to the cluster's one controller."""
MAX_RESUBMITS = 3
"""So often `follow` submits a run again that its job has lost."""


def follow(
    root: Path,
    work: Mapping[str, Assignment],
    submit_again: Callable[[Sequence[Assignment]], Mapping[str, Assignment]],
    own: Container[str],
    *,
    backoff: float,
    on_report: Callable[[Report], None] = lambda _: None,
) -> dict[str, Report]:
    """Watch runs on a cluster until each has an end; run id -> final report.

    A run of `own` whose job is gone for a reason of the cluster's (time limit, preemption, a dead node)
    is handed to `submit_again`, `MAX_RESUBMITS` times at most, after `backoff` seconds, doubled each
    time; it answers with what it has submitted, or another command has in the queue. A job that SLURM
    holds after a failed launch is released as often, and then cancelled. What fails for lack of the
    package or of the results root takes the waiting jobs of its batch with it: they would fail the
    same way. A cluster that does not answer is waited for.
    """
    left, began = dict(work), time.monotonic()
    final: dict[str, Report] = {}
    submitted: dict[str, int] = {}
    due: dict[str, float] = {}
    released: dict[str, int] = {}
    while left:
        now = standing(root)
        for job in {place.job for run, place in now.places.items() if run in left and place.stuck}:
            released[job] = released.get(job, 0) + 1
            with contextlib.suppress(UserError):  # it has gone on by itself
                (slurm.release if released[job] <= MAX_RESUBMITS else slurm.cancel)([job])
        for run_id, assignment in list(left.items()):
            waits = run_id in now.places or now.silent is not None
            report = _standing_report(root, assignment, waits)
            if report is None:
                continue
            if report.state == "running":
                on_report(report)
                continue
            if run_id in own and _lost(assignment, report):
                count = submitted.get(run_id, 0)
                if run_id not in due and count < MAX_RESUBMITS:
                    submitted[run_id] = count + 1
                    due[run_id] = time.monotonic() + backoff * 2**count
                if run_id in due:
                    continue
            due.pop(run_id, None)
            del left[run_id]
            final[run_id] = report
            on_report(report)
            if report.failure and report.failure.kind == "environment" and run_id in now.holds:
                with contextlib.suppress(UserError):
                    slurm.cancel_by_name(now.holds[run_id].batch.job_name, waiting=True)
        ready = [run_id for run_id, moment in due.items() if moment <= time.monotonic()]
        if ready:
            # where the cluster does not take it now, the next look tries again
            with contextlib.suppress(UserError):
                sent = submit_again([left[run_id] for run_id in ready])
                left.update(sent)
                for run_id in sent:
                    del due[run_id]
        if left:
            shortest, longest = POLL_SECONDS
            time.sleep(min(longest, max(shortest, (time.monotonic() - began) / 20)))
    return final


def _standing_report(root: Path, assignment: Assignment, waits: bool) -> Report | None:
    """What the run's files say: its end, its step, or None where it waits for its job, or for what the
    cluster will say of it."""
    spec = assignment.spec
    attempt = Attempt(root, spec.run_id, assignment.attempt)
    status = attempt.status()
    since = status is not None and status.wanted >= assignment.wanted
    seconds = status.elapsed if status else 0.0
    if attempt.finished:
        return Report(run_id=spec.run_id, state="done", seconds=seconds)
    if since and status is not None and status.state == "running" and waits:
        return Report(run_id=spec.run_id, state="running", step=status.step, total=status.total)
    if waits:
        return None
    if cancelled(root, spec, assignment.wanted):
        return Report(run_id=spec.run_id, state="cancelled", seconds=seconds)
    if since and status is not None and status.state == "failed":
        return Report(run_id=spec.run_id, state="failed", failure=status.failure, seconds=seconds)
    return None


def _lost(assignment: Assignment, report: Report) -> bool:
    """Whether the cluster has ended the run, rather than anything of its own."""
    if report.failure is None:
        return False
    if report.failure.kind == "timeout":
        # its job's limit, not the run's own
        return assignment.time_limit is None or report.seconds < assignment.time_limit
    return report.failure.kind == "killed"
