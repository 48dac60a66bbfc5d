"""What runs inside a cluster job: the local dispatch, on what the job was given."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.base import interpreter
from suite.base.errors import UserError
from suite.dispatch.batch import Batch, batch_folder, jobs_folder, read_batch
from suite.dispatch.here import LocalDispatch
from suite.dispatch.slurm import REFUSED, STOPPED_EXIT
from suite.runs.job import JOB_VARIABLE, Report
from suite.runs.slots import Slot, make_slots

TERMINATED = 128 + signal.SIGTERM
GRACE_SHARE = 0.6
"""Share of the time between SLURM's signal and the end that the workers get to checkpoint."""
SIGNAL_SECONDS = 1.0
"""A signal that a worker has had reaches this process within that time."""


@dataclass(frozen=True)
class NodeJob:
    """Job `number` of a batch, as submitit stores it; called on the node.

    It ends the process with the exit code that teardown.sh reads, or returns when all is through.
    """

    root: str
    batch: str
    number: int

    def __call__(self) -> None:
        interpreter.log_in_utf8()
        code = self.work()
        if code:
            # no exception: submitit would store it as the job's result, with a traceback
            sys.exit(code)

    def work(self) -> int:
        """Carry out the job's runs; its exit code."""
        root = Path(self.root)
        try:
            batch = read_batch(root, self.batch)
            slots = job_slots(batch)
            _check(batch)
        except UserError as error:
            print(f"longtail: {error}", file=sys.stderr)
            return REFUSED
        if batch.state == "abandoned":
            print(
                "longtail: this submission was given up; its runs go with another", file=sys.stderr
            )
            return REFUSED
        work = batch.jobs[self.number]
        told: list[int] = []
        # submitit's own handlers would requeue at once; here the workers checkpoint first
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, lambda got, _: told.append(got))
        os.environ[JOB_VARIABLE] = _job_id()
        moved: list[str] = []

        def heard(report: Report) -> None:
            if report.warning:
                print(f"longtail: run {report.run_id} warning: {report.warning}", flush=True)
            elif report.state == "running":
                moved.append(report.run_id)
            else:
                kind = f"({report.failure.kind}) {report.failure.message}" if report.failure else ""
                print(f"longtail: run {report.run_id} {report.state} {kind}", flush=True)

        dispatch = LocalDispatch(
            slots,
            [jobs_folder(root) / "code" / batch.code / plugin for plugin in batch.plugins],
            on_report=heard,
            stopping=lambda: bool(told),
            grace=GRACE_SHARE * batch.site.signal_seconds,
        )
        reports = dispatch.run(work)
        states = {
            a.spec.run_id: reports[a.spec.run_id].state for a in work if a.spec.run_id in reports
        }
        if len(states) < len(work) or "stopped" in states.values():
            return self._interrupted(told, bool(moved), states.values())
        # what failed has been tried again as often as it is to be
        mark = batch_folder(root, batch.id) / "through" / _job_id()
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        return 0

    def _interrupted(self, told: Sequence[int], moved: bool, states: Collection[str]) -> int:
        """The exit code of a job that was told to stop; `moved`: some run has made an iteration."""
        if not told:
            # SLURM signals every process of a job, and a worker may have been quicker than this one
            time.sleep(SIGNAL_SECONDS)
        if signal.SIGTERM in told:
            # it is being cancelled or preempted: teardown.sh looks which
            return TERMINATED
        # time limits too short for one iteration and its checkpoint would go round for ever
        return STOPPED_EXIT if moved and {"stopped", "done"} & set(states) else 1


def job_slots(batch: Batch) -> list[Slot]:
    """Room for the runs of a job, from what SLURM says it was given. Raises UserError: no GPU."""
    if batch.site.gpus:
        return make_slots("cuda", batch.slots, batch.threads, batch.ranks)
    return [Slot("cpu", "", batch.threads)] * batch.slots


def _check(batch: Batch) -> None:
    """Raise UserError if this Python lacks a package."""
    missing = []
    for name in batch.needs:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise UserError(
            f"{sys.executable} on {os.uname().nodename} lacks {', '.join(missing)}: name another "
            "with python = in the site's profile, or activate it in setup"
        )


def _job_id() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
    return os.environ.get("SLURM_JOB_ID", "")
