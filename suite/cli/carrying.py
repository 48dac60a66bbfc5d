"""What `run` and `retry` share: carry out a plan here or on the cluster, and say what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from suite.base import settings
from suite.base.errors import DataError, UserError
from suite.cli.output import clean, console, table
from suite.cli.progress import Progress
from suite.define.catalog import Catalog
from suite.define.data import find_data
from suite.dispatch import launch, slurm, submission
from suite.dispatch.batch import Batch, jobs_folder, submission_lock
from suite.dispatch.follow import follow
from suite.dispatch.reconcile import standing
from suite.dispatch.submission import Request
from suite.runs.job import Assignment, Report
from suite.runs.plan import Item, Plan
from suite.runs.slots import Slot
from suite.runs.worker import classify, evaluate_all

MakePlan = Callable[[Container[str]], Plan]
"""Ids of the runs that a cluster job has in hand -> the plan."""


@dataclass(frozen=True)
class Submission:
    """What went to the cluster: the plan, the batch, None where there was nothing to submit, and the
    reports of what was evaluated here meanwhile."""

    plan: Plan
    batch: Batch | None
    reports: dict[str, Report]


@dataclass(frozen=True)
class Carrier:
    """What is the same for every plan of one command."""

    root: Path
    catalog: Catalog
    data_root: Path | None
    plugins: tuple[Path, ...] = ()
    checkpoint_seconds: float = 60.0
    time_limit: float | None = None
    sets: tuple[str, ...] = ()
    ranks: int = 1

    def work(self, items: Iterable[Item]) -> list[Assignment]:
        """What the workers are to be told of these items."""
        return launch.assignments(
            items,
            self.root,
            self.data_root,
            checkpoint_seconds=self.checkpoint_seconds,
            time_limit=self.time_limit,
            sets=self.sets,
            ranks=self.ranks,
        )

    def here(self, make: MakePlan, slots: Sequence[Slot]) -> launch.Result:
        """Carry out the plan on this machine."""
        plan = make(_in_jobs(self.root))
        work = self.work(plan.items)
        if work:
            settings.writable_root(self.root)
        if any(not assignment.evaluate_only for assignment in work):
            # now, rather than in every worker
            find_data(plan.protocol, self.data_root)
        where = (
            f"{min(len(slots), len(work))} at a time on {slots[0].device}, {slots[0].threads} "
            "thread(s) each" + (f", {self.ranks} ranks a run" if self.ranks > 1 else "")
        )
        with Progress(plan, work, where) as progress:
            result = launch.launch(
                plan, work, slots, plugins=self.plugins, on_report=progress.update
            )
        progress.summary(result)
        if plan.count("queued"):
            _say(f"{plan.count('queued')} run(s) are in cluster jobs: python -m suite status")
        self._mention_sets(plan)
        return result

    def _mention_sets(self, plan: Plan) -> None:
        """Say how runs that were finished before get the prediction sets that are asked for."""
        for name in self.sets:
            lacking = [
                item.spec.run_id[:8]
                for item in plan.items
                if item.todo in ("done", "evaluate") and name not in item.attempt.prediction_sets()
            ]
            if lacking:
                _say(
                    f"{len(lacking)} run(s) were finished without prediction set {name}; to add it:\n"
                    f"  python -m suite predict {' '.join(lacking)} --set {name} --root {self.root}"
                )

    def look(self, make: MakePlan) -> Plan:
        """The plan, without writing anything."""
        return make(_in_jobs(self.root, settle=False))

    def dry_run(self, make: MakePlan, request: Request) -> None:
        """Print the jobs that would be submitted, and their script."""
        plan = self.look(make)
        work = self.work(_trainings(plan))
        if not work:
            print("nothing to submit")
            return
        batch, packing = submission.draft(
            self.root, self.catalog, plan.protocol, work, request, cluster=""
        )
        batch = msgspec.structs.replace(
            batch, code="CODE", plugins=[path.name for path in request.plugins]
        )
        out = console()
        rows = [
            (number, len(job), ", ".join(f"{a.spec.method}/{a.spec.seed}" for a in job))
            for number, job in enumerate(packing.jobs)
        ]
        out.print(table(("job", "runs", "method/seed"), rows))
        out.print(f"\n{len(work)} run(s) in {len(packing.jobs)} job(s): {clean(packing.why)}\n")
        largest = request.site.max_array or slurm.array_limit()
        arrays = -(-len(batch.jobs) // largest)
        if arrays > 1:
            out.print(
                f"in {arrays} arrays of at most {largest} jobs, of which this is the first:\n"
            )
        print(slurm.script(self.root, batch, min(len(batch.jobs), largest)))

    def submit(self, make: MakePlan, request: Request) -> Submission:
        """Submit the plan's trainings; what only has to be evaluated is evaluated here, at once."""
        # before anything is written
        cluster = slurm.cluster()
        settings.writable_root(self.root)
        # what earlier runs took is what jobs are packed by
        launch.update_store(self.root, self.catalog)
        batch = None
        with submission_lock(self.root):
            slurm.recover(self.root, cluster.name)
            now = standing(self.root)
            if now.silent is not None:
                # nobody can say what is in the queue already
                raise UserError(now.silent)
            plan = make(now.queued)
            work = self.work(_trainings(plan))
            if work:
                _mention_data(plan, self.data_root)
                batch, packing = submission.submit(
                    self.root, self.catalog, plan.protocol, work, request
                )
        if batch is not None:
            _say(
                f"{plan.task.name} under {escape(plan.protocol.name)}: {len(work)} run(s) submitted to "
                f"{escape(batch.cluster)} in {len(batch.jobs)} job(s), {_ids(batch)}; "
                f"{escape(packing.why)}"
            )
        if plan.count("queued"):
            _say(f"{plan.count('queued')} run(s) are in the queue already")
        return Submission(plan, batch, self._evaluate(plan))

    def _evaluate(self, plan: Plan) -> dict[str, Report]:
        """Evaluate what only lacks that; one that cannot be stops none of the others."""
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
        return reports

    def follow(self, submitted: Submission, backoff: float) -> launch.Result:
        """Watch the runs of a submission, and those that were in the queue already, to their end."""
        plan, batch = submitted.plan, submitted.batch
        own = set(batch.runs) if batch is not None else set()
        now = standing(self.root)
        followed: dict[str, Assignment] = {}
        for item in plan.items:
            run_id = item.spec.run_id
            if run_id in own or run_id in now.queued:
                followed[run_id] = now.holds[run_id].assignment

        def again(lost: Sequence[Assignment]) -> dict[str, Assignment]:
            assert batch is not None
            with submission_lock(self.root):
                slurm.recover(self.root, slurm.cluster().name)
                now = standing(self.root)
                if now.silent is not None:
                    raise slurm.NoAnswer(now.silent)
                # another shell may have been quicker
                sent = {
                    a.spec.run_id: now.holds[a.spec.run_id].assignment
                    for a in lost
                    if a.spec.run_id in now.queued
                }
                free = [a for a in lost if a.spec.run_id in own and a.spec.run_id not in sent]
                if free:
                    renewed = submission.renew(batch, free)
                    slurm.submit(self.root, renewed)
                    sent.update({a.spec.run_id: a for job in renewed.jobs for a in job})
                return sent

        with Progress(plan, list(followed.values()), "on the cluster") as progress:
            try:
                reports = follow(
                    self.root, followed, again, own, backoff=backoff, on_report=progress.update
                )
            except KeyboardInterrupt:
                progress.left_to_cluster()
                sys.exit(130)
        result = launch.Result(plan, {**submitted.reports, **reports}, False)
        progress.summary(result)
        return result

    def leave(self, submitted: Submission) -> launch.Result:
        """The result of a submission that is not followed; says how to look after it."""
        plan = submitted.plan
        result = launch.Result(plan, submitted.reports, False)
        if submitted.batch is None:
            Progress(plan, [], "").summary(result)
        if submitted.batch is not None or plan.count("queued"):
            _say("look: python -m suite status --watch; end: python -m suite cancel --all")
        return result

    def finish(self, result: launch.Result) -> int:
        """Print the board of the plan's task. The exit code: 130 after Ctrl-C, 1 if a run failed, was
        cancelled or cannot be read, else 0."""
        from suite.cli.leaderboard import print_board

        if result.interrupted:
            return 130
        plan = result.plan
        refused = print_board(self.root, self.catalog, plan.task.name, plan.protocol.name)
        wanted = {item.spec.run_id for item in plan.items}
        lost = sorted(run for run in wanted if any(f"runs/{run}/" in file.path for file in refused))
        for run_id in lost:
            print(
                f"run {run_id} has a damaged file and is not in the table whole: "
                f"`python -m suite evaluate {run_id} --again`, or train it again with --fresh",
                file=sys.stderr,
            )
        return 1 if result.failures or result.unfinished or lost else 0


def _trainings(plan: Plan) -> list[Item]:
    """What a cluster has to do of a plan: not what only has to be evaluated, nor what somebody is at, nor
    what needs a run that somebody is at."""
    taken = {item.spec.run_id for item in plan.items if item.todo == "running"}
    return [
        item
        for item in plan.items
        if item.todo in ("new", "resume", "retry") and not taken & {*item.spec.inputs.values()}
    ]


def _in_jobs(root: Path, settle: bool = True) -> Container[str]:
    """Ids of the runs that a cluster job has in hand; a cluster that does not answer is mentioned."""
    if not jobs_folder(root).exists():
        return ()
    now = standing(root, settle=settle)
    if now.problem:
        _say(f"[yellow]cluster:[/] {clean(now.problem)}")
    return now.queued


def _mention_data(plan: Plan, data_root: Path | None) -> None:
    try:
        find_data(plan.protocol, data_root)
    except DataError as error:
        # login nodes do not always see what the nodes see; a wrong path is no secret either
        _say(f"[yellow]not found here, and the jobs will look for it:[/] {clean(error)}")


def _ids(batch: Batch) -> str:
    first, last = batch.ids[0], batch.ids[-1]
    return first if first == last else f"{first} to {last}"


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)
