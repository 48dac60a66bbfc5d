"""`retry`: try failed runs again, where they ran before."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from suite.cli.completion import task_names
from suite.cli.options import (
    DataRoot,
    DryRun,
    Format,
    Memory,
    Partition,
    Plugins,
    Root,
    Sbatch,
    SiteName,
    Time,
    Wait,
    catalog_at,
    parse_format,
    where,
)

if TYPE_CHECKING:
    from suite.dispatch.reconcile import SubmittedRun
    from suite.dispatch.submission import Request


def retry(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run ids, or the first few digits. Default: all.")
    ] = None,
    kind: Annotated[
        list[str],
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Only failures of this kind, such as oom, or cancelled; repeatable. Default: those "
            "that another try may mend, and what the cluster cancelled.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    task: Annotated[
        str | None,
        typer.Option(
            "--task", autocompletion=task_names, help="Only runs of this task.", show_default=False
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", help="local or slurm. Default: where the run was before.", show_default=False
        ),
    ] = None,
    site_name: SiteName = None,
    partition: Partition = None,
    time: Time = None,
    mem: Memory = None,
    sbatch: Sbatch = [],  # noqa: B006
    workers: Annotated[
        int | None, typer.Option(help="Runs at a time, here or in a job.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="Here: auto, cpu, cuda or cuda:0,1.")] = "auto",
    ranks: Annotated[
        int | None,
        typer.Option(
            "--ranks",
            help="Processes that share a run's batch, each on a GPU of its own. Default: as before.",
            show_default=False,
        ),
    ] = None,
    data_root: DataRoot = None,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006
    checkpoint_seconds: Annotated[
        float | None,
        typer.Option(
            help="Least time between two resume checkpoints of a run. Default: as before, or 60.",
            show_default=False,
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Minutes a run may take. Default: as it was submitted.", show_default=False
        ),
    ] = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    format: Format = "table",
) -> None:
    """Try failed runs again: on the cluster with the request they had, changed by the flags given.

    A run goes on from its checkpoint. With --kind nan or --kind code it is trained anew.

    \b
    Examples:
      python -m suite retry
      python -m suite retry --kind oom --mem 32G
      python -m suite retry 3f2a9c --on local
    """
    from suite.base import settings
    from suite.base.command import Command
    from suite.base.errors import UserError, did_you_mean
    from suite.cli import training
    from suite.cli.output import plan_table, print_rows, printable
    from suite.dispatch.carry_out import Launcher
    from suite.dispatch.retry import Where, groups, is_wanted, obstacle, release_held, without
    from suite.dispatch.states import select_runs, survey
    from suite.records.files import FAILURE_KINDS
    from suite.runs.describe import describe_plan
    from suite.runs.slots import make_slots

    parse_format(format, ("table", "json"))
    as_json = format == "json"
    say = partial(print, file=sys.stderr) if as_json else print
    rows: list[dict[str, Any]] = []
    if checkpoint_seconds is not None and not 0 <= checkpoint_seconds < math.inf:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds:g}: 0 or more")
    if time_limit is not None and not 0 < time_limit < math.inf:
        raise UserError(f"--time-limit {time_limit:g}: minutes, more than 0")
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: at least 1")
    place: Where | None = next((one for one in get_args(Where) if one == on), None)
    if place is None and on is not None:
        raise UserError(f"--on {on!r}: use local or slurm")
    for name in kind:
        if name not in (*FAILURE_KINDS, "cancelled"):
            near = did_you_mean(name, (*FAILURE_KINDS, "cancelled"))
            raise UserError(f"--kind {name!r}: no such kind{near}")
    results = settings.existing_root(root)
    settings.data_root(data_root, here=on == "local")
    plugins = tuple(path.absolute() for path in plugin)
    catalog = catalog_at(plugins, results)
    if task is not None:
        catalog.task(task)
    known, now = survey(results, catalog, settle=not dry_run)
    if now.silent and on != "local":
        raise UserError(now.silent)
    named = [
        run
        for run in (select_runs(known, runs) if runs else known)
        if task is None or task in run.tasks
    ]
    released, jobs = release_held(named, dry_run=dry_run) if on != "local" else (set(), 0)
    if jobs:
        done = "would be released" if dry_run else "released"
        say(f"{jobs} job(s) {done} that SLURM held after a failed launch")
    chosen = [run for run in named if is_wanted(run, kind, bool(runs))]
    for run in named if runs else ():
        if run not in chosen and run.spec.run_id not in released:
            say(f"run {run.spec.run_id} is {run.state}: not tried again")
    possible = []
    for run in chosen:
        why = obstacle(catalog, run, now.submitted.get(run.spec.run_id), time_limit)
        if why:
            say(printable(why))
        else:
            possible.append(run)
    found = groups(catalog, possible, now, place, ranks)
    flags = {"partition": partition, "time": time, "mem": mem, "sbatch": sbatch or None}
    for group in found:
        if group.where == "local":
            where("local", site_name, None, {**flags, "wait": wait or None})
        elif device != "auto":
            raise UserError("--device is for this machine; add --on local")
    if not found:
        if not released:
            say(f"nothing to try again; see `{Command('status')}`")
        if as_json:
            print_rows("retry", [])
        return

    def launcher(submitted: SubmittedRun | None, number: int) -> Launcher:
        before = submitted.assignment if submitted else None
        data = data_root or (Path(before.data_root) if before and before.data_root else None)
        seconds = before.checkpoint_seconds if before else 60.0
        limit = before.time_limit if before else None
        return Launcher(
            results,
            catalog,
            settings.data_root(data, here=False),
            plugins,
            seconds if checkpoint_seconds is None else checkpoint_seconds,
            limit if time_limit is None else time_limit * 60,
            tuple(before.sets) if before else (),
            number,
        )

    # all that can be wrong with a request, before the first is submitted
    requests = [
        _request(site_name, flags, workers, plugins, group.submitted)
        if group.where == "slurm"
        else None
        for group in found
    ]
    submissions = []
    code = 0
    for group, request in zip(found, requests, strict=True):
        with_ = launcher(group.submitted, group.ranks)
        plan = group.plan(catalog, task or group.runs[0].tasks[0])
        make = partial(without, plan)
        if request is None:
            slots = make_slots(device, workers, plan.protocol.threads, with_.ranks)
            if dry_run and as_json:
                rows += training.outcomes(plan, None)
                continue
            if dry_run:
                plan_table(describe_plan(plan, results, len(slots), with_.data_root, group.ranks))
                continue
            result = training.run_here(with_, make, slots)
            code = max(code, training.finish(with_, result, None if as_json else "table"))
            rows += training.outcomes(plan, result)
            if result.interrupted:
                break
            continue
        if dry_run and as_json:
            rows += training.outcomes(plan, None)
            continue
        if dry_run:
            training.dry_run(with_, make, request)
            continue
        try:
            submissions.append((with_, training.submit(with_, make, request), request))
        except UserError as error:
            if not submissions:
                raise
            # what was submitted before stays submitted
            print(f"Error: {printable(error)}", file=sys.stderr)
            code = max(code, 2)
    for with_, submitted, request in submissions:
        if wait:
            result = training.follow(with_, submitted, request.site.backoff_seconds)
            code = max(code, training.finish(with_, result, None if as_json else "table"))
        else:
            result = training.leave(submitted)
            code = max(code, 1 if result.failures else 0)
        rows += training.outcomes(submitted.plan, result)
    if as_json:
        print_rows("retry", rows)
    sys.exit(code)


def _request(
    site_name: str | None,
    flags: Mapping[str, Any],
    workers: int | None,
    plugins: tuple[Path, ...],
    submitted: SubmittedRun | None,
) -> Request:
    """What the runs asked for before, changed by the flags given; says what of it is left out."""
    from suite.dispatch.request import SHELL_KEYS
    from suite.dispatch.retry import request_again

    request, left_out = request_again(site_name, flags, workers, plugins, submitted)
    if left_out:
        print(
            f"what these jobs asked for beside a profile is not repeated: {', '.join(SHELL_KEYS)}"
        )
    return request
