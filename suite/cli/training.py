"""What `run` and `retry` say while their plans are carried out, and of what came of it."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

from suite.base.command import Command
from suite.base.errors import DataError
from suite.cli.output import clean, console, print_rows, table
from suite.cli.progress import Progress
from suite.dispatch import sbatch, slurm
from suite.dispatch.batch import Batch
from suite.dispatch.carry_out import Launcher, MakePlan, Submitted
from suite.dispatch.result import Result
from suite.dispatch.submission import Request
from suite.runs.plan import Plan
from suite.runs.slots import Slot


def look(launcher: Launcher, make: MakePlan, *, settle: bool = False) -> Plan:
    """The plan, without writing anything unless `settle`; says what is wrong with the cluster."""
    now = launcher.cluster(settle=settle)
    if now.problem:
        _say(f"[yellow]cluster:[/] {clean(now.problem)}")
    return make(now.queued)


def run_here(launcher: Launcher, make: MakePlan, slots: Sequence[Slot]) -> Result:
    """Carry out the plan on this machine."""
    plan = look(launcher, make, settle=True)
    work = launcher.prepare(plan)
    where = (
        f"{min(len(slots), len(work))} at a time on {slots[0].device}, {slots[0].threads} "
        "thread(s) each" + (f", {launcher.ranks} ranks a run" if launcher.ranks > 1 else "")
    )
    with Progress(plan, work, where) as progress:
        result = launcher.here(plan, work, slots, progress.update)
    progress.summary(result)
    if plan.count("queued"):
        _say(f"{plan.count('queued')} run(s) are in cluster jobs: {clean(Command('status'))}")
    _mention_sets(launcher, plan)
    return result


def _mention_sets(launcher: Launcher, plan: Plan) -> None:
    """Say how runs that were finished before get the prediction sets that are asked for."""
    for name in launcher.sets:
        lacking = [
            item.spec.run_id[:8]
            for item in plan.items
            if item.todo in ("done", "evaluate") and name not in item.attempt.prediction_sets()
        ]
        if lacking:
            _say(
                f"{len(lacking)} run(s) were finished without prediction set {name}; to add it:\n"
                f"  {clean(Command('predict', *lacking, '--set', name))}"
            )


def dry_run(launcher: Launcher, make: MakePlan, request: Request, format: str = "table") -> None:
    """Print the jobs that would be submitted, and their script."""
    drafted = launcher.draft(look(launcher, make), request)
    if format == "json":
        listing = [] if drafted is None else drafted[1].jobs
        print_rows(
            "jobs",
            [
                {"job": number, "runs": [assignment.spec.run_id for assignment in job]}
                for number, job in enumerate(listing)
            ],
        )
        return
    if drafted is None:
        print("nothing to submit")
        return
    batch, packing = drafted
    batch = msgspec.structs.replace(
        batch, code="CODE", plugins=[path.name for path in request.plugins]
    )
    out = console()
    rows = [
        (number, len(job), ", ".join(f"{a.spec.method}/{a.spec.seed}" for a in job))
        for number, job in enumerate(packing.jobs)
    ]
    out.print(table(("job", "runs", "method/seed"), rows))
    count = sum(map(len, packing.jobs))
    out.print(f"\n{count} run(s) in {len(packing.jobs)} job(s): {clean(packing.why)}\n")
    largest = request.site.max_array or slurm.array_limit()
    arrays = -(-len(batch.jobs) // largest)
    if arrays > 1:
        out.print(f"in {arrays} arrays of at most {largest} jobs, of which this is the first:\n")
    print(sbatch.script(launcher.root, batch, min(len(batch.jobs), largest)))


def submit(launcher: Launcher, make: MakePlan, request: Request) -> Submitted:
    """Submit the plan's trainings; what only has to be evaluated is evaluated here, at once."""
    submitted = launcher.submit(make, request, _mention_data)
    plan, batch = submitted.plan, submitted.batch
    if batch is not None and submitted.packing is not None:
        _say(
            f"{plan.task.name} under {escape(plan.protocol.name)}: {len(batch.runs)} run(s) submitted to "
            f"{escape(batch.cluster)} in {len(batch.jobs)} job(s), {_ids(batch)}; "
            f"{escape(submitted.packing.why)}"
        )
    if plan.count("queued"):
        _say(f"{plan.count('queued')} run(s) are in the queue already")
    return launcher.evaluate(submitted)


def _mention_data(error: DataError) -> None:
    # login nodes do not always see what the nodes see; a wrong path is no secret either
    _say(f"[yellow]not found here, and the jobs will look for it:[/] {clean(error)}")


def follow(launcher: Launcher, submitted: Submitted, backoff: float) -> Result:
    """Watch the runs of a submission, and those that were in the queue already, to their end."""
    followed = launcher.followed(submitted)
    with Progress(submitted.plan, list(followed.values()), "on the cluster") as progress:
        try:
            result = launcher.follow(submitted, followed, backoff, progress.update)
        except KeyboardInterrupt:
            progress.left_to_cluster()
            sys.exit(130)
    progress.summary(result)
    return result


def leave(submitted: Submitted) -> Result:
    """The result of a submission that is not followed; says how to look after it."""
    plan = submitted.plan
    result = Result(plan, submitted.reports, False)
    if submitted.batch is None:
        Progress(plan, [], "").summary(result)
    if submitted.batch is not None or plan.count("queued"):
        look, end = Command("status", "--watch"), Command("cancel", "--all")
        _say(f"look: {clean(look)}; end: {clean(end)}")
    return result


def finish(launcher: Launcher, result: Result, format: str | None = "table") -> int:
    """Print the board of the plan's task, unless `format` is None. The exit code: 130 after Ctrl-C, 1 if a run failed, was
    cancelled or cannot be read, else 0."""
    from suite.cli.leaderboard import print_board

    if result.interrupted:
        return 130
    plan = result.plan
    with contextlib.redirect_stdout(io.StringIO() if format is None else sys.stdout):
        refused = print_board(
            launcher.root,
            launcher.catalog,
            plan.task.name,
            [plan.protocol.name],
            format=format or "table",
        )
    wanted = {item.spec.run_id for item in plan.items}
    lost = sorted(run for run in wanted if any(f"runs/{run}/" in file.path for file in refused))
    for run_id in lost:
        print(
            f"run {run_id} has a damaged file and is not in the table whole: "
            f"`{Command('evaluate', run_id, '--again')}`, or train it again with --fresh",
            file=sys.stderr,
        )
    return 1 if result.failures or result.unfinished or lost else 0


def outcomes(plan: Plan, result: Result | None) -> list[dict[str, Any]]:
    """What came of a plan's runs, for JSON: `state` is None for a run that nobody has begun."""
    reports = {} if result is None else result.reports
    rows = []
    for item in plan.items:
        report = reports.get(item.spec.run_id)
        rows.append(
            {
                "run": item.spec.run_id,
                "task": plan.task.name,
                "protocol": plan.protocol.name,
                "method": item.spec.method,
                "seed": item.spec.seed,
                "attempt": item.attempt.number,
                "todo": item.todo,
                "state": report.state if report else None,
                "failure": msgspec.to_builtins(report.failure) if report else None,
            }
        )
    return rows


def _ids(batch: Batch) -> str:
    first, last = batch.ids[0], batch.ids[-1]
    return first if first == last else f"{first} to {last}"


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)
