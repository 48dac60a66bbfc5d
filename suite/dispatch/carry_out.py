"""Carry out a plan: on this machine, or on a cluster. Prints nothing: the command line does."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from suite.base import settings
from suite.base.errors import DataError, UserError
from suite.define.catalog import Catalog
from suite.define.data import find_data
from suite.dispatch import sbatch, slurm, submission
from suite.dispatch.batch import Batch, jobs_folder, submission_lock
from suite.dispatch.follow import follow
from suite.dispatch.here import LocalDispatch
from suite.dispatch.packing import Packing
from suite.dispatch.reconcile import ClusterState, reconcile
from suite.dispatch.result import Result
from suite.dispatch.submission import Request
from suite.records.attempt import Attempt
from suite.runs.failures import classify
from suite.runs.job import Assignment, Report
from suite.runs.plan import Plan
from suite.runs.slots import Slot
from suite.runs.todo import PlannedRun
from suite.runs.worker import evaluate_all

MakePlan = Callable[[Container[str]], Plan]
"""Ids of the runs that a cluster job has in hand -> the plan."""


def assignments(
    items: Iterable[PlannedRun],
    root: Path,
    data_root: Path | None,
    *,
    checkpoint_seconds: float = 60.0,
    time_limit: float | None = None,
    sets: Sequence[str] = (),
    ranks: int = 1,
) -> list[Assignment]:
    """What the workers are to be told of those items that need work, in the same order."""
    wanted = time.time()
    return [
        Assignment(
            spec=item.spec,
            attempt=item.attempt.number,
            digest=item.digest,
            root=str(root),
            data_root=str(data_root) if data_root else None,
            checkpoint_seconds=checkpoint_seconds,
            time_limit=time_limit,
            evaluate_only=item.todo == "evaluate",
            sets=list(sets),
            wanted=wanted,
            ranks=ranks,
        )
        for item in items
        if item.work
    ]


def launch(
    plan: Plan,
    work: Sequence[Assignment],
    slots: Sequence[Slot],
    *,
    plugins: Sequence[Path] = (),
    on_report: Callable[[Report], None] = lambda _: None,
) -> Result:
    """Run the work here; returns when all of it is through or Ctrl-C has stopped it in order."""
    if not work:
        return Result(plan, {}, False)
    for assignment in work:
        if assignment.spec.inputs:
            # on disk before the first run is through: `prune` must know whose weights are wanted
            attempt = Attempt(Path(assignment.root), assignment.spec.run_id, assignment.attempt)
            attempt.create(assignment.spec)
    dispatch = LocalDispatch(slots, plugins, on_report)
    reports = dispatch.run(work)
    return Result(plan, reports, dispatch.interrupted)


@dataclass(frozen=True)
class Submitted:
    """What went to the cluster: the plan, the batch and how its runs are packed, None where there was
    nothing to submit, and the reports of what was evaluated here meanwhile (`Launcher.evaluate`)."""

    plan: Plan
    batch: Batch | None = None
    packing: Packing | None = None
    reports: Mapping[str, Report] = field(default_factory=dict)


@dataclass(frozen=True)
class Launcher:
    """Carries out the plans of one command; its fields are what is the same for all of them.

    `checkpoint_seconds` and `time_limit` (seconds), `sets` and `ranks`: see `Assignment`.
    """

    root: Path
    catalog: Catalog
    data_root: Path | None
    plugins: tuple[Path, ...] = ()
    checkpoint_seconds: float = 60.0
    time_limit: float | None = None
    sets: tuple[str, ...] = ()
    ranks: int = 1

    def assignments(self, items: Iterable[PlannedRun]) -> list[Assignment]:
        """What the workers are to be told of these items."""
        return assignments(
            items,
            self.root,
            self.data_root,
            checkpoint_seconds=self.checkpoint_seconds,
            time_limit=self.time_limit,
            sets=self.sets,
            ranks=self.ranks,
        )

    def cluster(self, *, settle: bool = True) -> ClusterState:
        """Where submitted runs stand; the cluster is asked only where something was submitted."""
        if not jobs_folder(self.root).exists():
            return ClusterState()
        return reconcile(self.root, settle=settle)

    def prepare(self, plan: Plan) -> list[Assignment]:
        """The work of a plan that is to be carried out here. Raises UserError where it could not begin:
        a root that cannot be written, missing data."""
        work = self.assignments(plan.items)
        if work:
            settings.writable_root(self.root)
        if any(not assignment.evaluate_only for assignment in work):
            # now, rather than in every worker
            find_data(plan.protocol, self.data_root)
        return work

    def here(
        self,
        plan: Plan,
        work: Sequence[Assignment],
        slots: Sequence[Slot],
        on_report: Callable[[Report], None] = lambda _: None,
    ) -> Result:
        """Carry out the work on this machine."""
        return launch(plan, work, slots, plugins=self.plugins, on_report=on_report)

    def draft(self, plan: Plan, request: Request) -> tuple[Batch, Packing] | None:
        """The batch that `submit` would submit, and how its runs are packed; None without work."""
        work = self.assignments(_trainings(plan))
        if not work:
            return None
        return submission.draft(self.root, self.catalog, plan.protocol, work, request, cluster="")

    def submit(
        self,
        make: MakePlan,
        request: Request,
        on_missing_data: Callable[[DataError], None] = lambda _: None,
    ) -> Submitted:
        """Submit the plan's trainings.

        `on_missing_data` hears, before anything is submitted, of data that this machine does not see: the
        nodes may. Raises UserError: the cluster does not answer, or refuses.
        """
        from suite.store.ingest import update_store

        # before anything is written
        cluster = slurm.cluster()
        settings.writable_root(self.root)
        # what earlier runs took is what jobs are packed by
        update_store(self.root, self.catalog)
        batch = packing = None
        with submission_lock(self.root):
            now = self._recovered(cluster.name)
            if now.silent is not None:
                # nobody can say what is in the queue already
                raise UserError(now.silent)
            plan = make(now.queued)
            work = self.assignments(_trainings(plan))
            if work:
                try:
                    find_data(plan.protocol, self.data_root)
                except DataError as error:
                    on_missing_data(error)
                batch, packing = submission.submit(
                    self.root, self.catalog, plan.protocol, work, request
                )
        return Submitted(plan, batch, packing)

    def _recovered(self, cluster: str) -> ClusterState:
        """Where submitted runs stand, once what a killed submission left has been taken back."""
        sbatch.recover(self.root, cluster)
        return reconcile(self.root)

    def evaluate(self, submitted: Submitted) -> Submitted:
        """Evaluate here what only lacks that; one that cannot be stops none of the others."""
        plan = submitted.plan
        reports = {}
        for item in plan.items:
            if item.todo == "evaluate":
                run_id = item.spec.run_id
                try:
                    evaluate_all(item.attempt, self.catalog, plan.protocol)
                    reports[run_id] = Report(run_id=run_id, state="done")
                except Exception as error:
                    failure = classify(error)
                    reports[run_id] = Report(run_id=run_id, state="failed", failure=failure)
        return replace(submitted, reports=reports)

    def followed(self, submitted: Submitted) -> dict[str, Assignment]:
        """Run id -> assignment of a submission's runs, and of those of its plan that were in the queue
        already."""
        own = submitted.batch.runs if submitted.batch is not None else {}
        now = reconcile(self.root)
        return {
            item.spec.run_id: now.submitted[item.spec.run_id].assignment
            for item in submitted.plan.items
            if item.spec.run_id in own or item.spec.run_id in now.queued
        }

    def follow(
        self,
        submitted: Submitted,
        followed: Mapping[str, Assignment],
        backoff: float,
        on_report: Callable[[Report], None] = lambda _: None,
    ) -> Result:
        """Watch the runs of `followed` to their end; those of the submission that the cluster loses are
        submitted again, after `backoff` seconds."""
        batch = submitted.batch
        own = set(batch.runs) if batch is not None else set()

        def again(lost: Sequence[Assignment]) -> dict[str, Assignment]:
            assert batch is not None
            with submission_lock(self.root):
                now = self._recovered(slurm.cluster().name)
                if now.silent is not None:
                    raise slurm.NoAnswer(now.silent)
                # another shell may have been quicker
                sent = {
                    a.spec.run_id: now.submitted[a.spec.run_id].assignment
                    for a in lost
                    if a.spec.run_id in now.queued
                }
                free = [a for a in lost if a.spec.run_id in own and a.spec.run_id not in sent]
                if free:
                    renewed = submission.renew(batch, free)
                    sbatch.submit(self.root, renewed)
                    sent.update({a.spec.run_id: a for job in renewed.jobs for a in job})
                return sent

        reports = follow(self.root, followed, again, own, backoff=backoff, on_report=on_report)
        return Result(submitted.plan, {**submitted.reports, **reports}, False)


def _trainings(plan: Plan) -> list[PlannedRun]:
    """What a cluster has to do of a plan: not what only has to be evaluated, nor what somebody is at, nor
    what needs a run that somebody is at."""
    taken = {item.spec.run_id for item in plan.items if item.todo == "running"}
    return [
        item
        for item in plan.items
        if item.todo in ("new", "resume", "retry") and not taken & {*item.spec.inputs.values()}
    ]
