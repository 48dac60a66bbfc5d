"""Watch runs on a cluster to their end, and submit again what it loses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

from suite.base.errors import UserError
from suite.dispatch import slurm
from suite.dispatch.reconcile import reconcile
from suite.records.attempt import Attempt
from suite.records.lease import cancel_request, is_leased
from suite.runs.job import Assignment, Report

POLL_SECONDS = 2.0, 30.0
"""Between two looks: from the first, growing to the second with a suite's length, since every look is a
question to the cluster's one controller."""
MAX_TRIES = 3
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
    is handed to `submit_again`, `MAX_TRIES` times at most, after `backoff` seconds, doubled each time;
    it answers with what it has submitted, or another command has in the queue. A job of `own` that
    SLURM holds after a failed launch is released as often, and then cancelled. What fails for lack of
    the package or of the results root takes the waiting jobs of its batch with it: they would fail the
    same way. A cluster that does not answer is waited for; a run that nobody has in hand any more is
    `stopped`.
    """
    left, began = dict(work), time.monotonic()
    final: dict[str, Report] = {}
    runs: dict[str, _Tries] = {}
    jobs: dict[str, _Tries] = {}

    while left:
        now = reconcile(root)
        for job in {
            job.id for run, job in now.live.items() if run in left and run in own and job.stuck
        }:
            tries = jobs.setdefault(job, _Tries(backoff))
            if tries.over:
                with contextlib.suppress(UserError):
                    slurm.cancel([job])
            elif tries.due():
                tries.count()
                with contextlib.suppress(UserError):  # it has gone on by itself
                    slurm.release([job])
        again = []
        for run_id, assignment in list(left.items()):
            waits = run_id in now.unsettled or run_id in now.live or now.silent is not None
            report = _report(root, assignment, waits)
            if report is None:
                continue
            if report.state == "running":
                on_report(report)
                continue
            if run_id in own and _lost(assignment, report):
                tries = runs.setdefault(run_id, _Tries(backoff))
                if not tries.over:
                    if tries.due():
                        again.append(assignment)
                    continue
            del left[run_id]
            final[run_id] = report
            on_report(report)
            if report.failure and report.failure.kind == "environment" and run_id in now.submitted:
                with contextlib.suppress(UserError):
                    slurm.cancel_by_name(now.submitted[run_id].batch.job_name, waiting=True)
        if again:
            try:
                left.update(submit_again(again))
                count = True
            except UserError as error:
                # a cluster that is away costs no try; one that refuses does
                count = not isinstance(error, slurm.NoAnswer)
            for assignment in again if count else ():
                runs[assignment.spec.run_id].count()
        if left:
            shortest, longest = POLL_SECONDS
            time.sleep(min(longest, max(shortest, (time.monotonic() - began) / 20)))
    return final


class _Tries:
    """How often something was tried, and when it is next."""

    def __init__(self, backoff: float) -> None:
        self._wait, self._counted = backoff, 0
        self._next = time.monotonic() + backoff

    @property
    def over(self) -> bool:
        return self._counted >= MAX_TRIES

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def count(self) -> None:
        self._counted += 1
        self._wait *= 2
        self._next = time.monotonic() + self._wait


def _report(root: Path, assignment: Assignment, waits: bool) -> Report | None:
    """What the run's files say: its end, its step, or None where it waits for its job, or for what the
    cluster will say of it."""
    spec = assignment.spec
    attempt = Attempt(root, spec.run_id, assignment.attempt)
    status = attempt.status()
    since = status is not None and status.wanted >= assignment.wanted
    seconds = status.elapsed if status else 0.0
    if attempt.finished:
        return Report(run_id=spec.run_id, state="done", seconds=seconds)
    if since and status is not None and status.state == "running" and (waits or is_leased(status)):
        return Report(run_id=spec.run_id, state="running", step=status.step, total=status.total)
    if waits:
        return None
    if cancel_request(root, spec, assignment.wanted):
        return Report(run_id=spec.run_id, state="cancelled", seconds=seconds)
    if since and status is not None and status.state == "failed":
        return Report(run_id=spec.run_id, state="failed", failure=status.failure, seconds=seconds)
    return Report(run_id=spec.run_id, state="stopped", seconds=seconds)


def _lost(assignment: Assignment, report: Report) -> bool:
    """Whether the cluster has ended the run, rather than anything of its own."""
    if report.failure is None:
        return False
    if report.failure.kind == "timeout":
        # its job's limit, not the run's own
        return assignment.time_limit is None or report.seconds < assignment.time_limit
    return report.failure.kind == "killed"
