"""`retry`: try failed runs again, where they ran before."""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from suite.cli.options import (
    DataRoot,
    DryRun,
    Memory,
    Partition,
    Plugins,
    Root,
    Sbatch,
    SiteName,
    Time,
    Wait,
    catalog_at,
    where,
)

if TYPE_CHECKING:
    from suite.define.catalog import Catalog
    from suite.dispatch.reconcile import Hold
    from suite.dispatch.states import RunState
    from suite.dispatch.submission import Request
    from suite.runs.plan import Item, Plan


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
        str | None, typer.Option("--task", help="Only runs of this task.", show_default=False)
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
    from suite.base.errors import UserError, did_you_mean
    from suite.cli.carrying import Carrier
    from suite.cli.output import plan_table, printable
    from suite.dispatch.states import pick, survey
    from suite.records.files import FAILURE_KINDS
    from suite.runs.plan import Plan, describe
    from suite.runs.slots import make_slots

    if checkpoint_seconds is not None and not 0 <= checkpoint_seconds < math.inf:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds:g}: 0 or more")
    if time_limit is not None and not 0 < time_limit < math.inf:
        raise UserError(f"--time-limit {time_limit:g}: minutes, more than 0")
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: at least 1")
    if on not in (None, "local", "slurm"):
        raise UserError(f"--on {on!r}: use local or slurm")
    for name in kind:
        if name not in (*FAILURE_KINDS, "cancelled"):
            near = did_you_mean(name, (*FAILURE_KINDS, "cancelled"))
            raise UserError(f"--kind {name!r}: no such kind{near}")
    results = settings.results_root(root)
    plugins = tuple(path.absolute() for path in plugin)
    catalog = catalog_at(plugins, results)
    if task is not None:
        catalog.task(task)
    known, now = survey(results, catalog, settle=not dry_run)
    if now.silent and on != "local":
        raise UserError(now.silent)
    named = [
        run for run in (pick(known, runs) if runs else known) if task is None or task in run.tasks
    ]
    released = _release(named, dry_run) if on != "local" else set()
    chosen = [run for run in named if _wanted(run, kind, bool(runs))]
    for run in named if runs else ():
        if run not in chosen and run.spec.run_id not in released:
            print(f"run {run.spec.run_id} is {run.state}: not tried again")
    groups: dict[tuple[str, str, str, int], list[RunState]] = {}
    for run in chosen:
        hold = now.holds.get(run.spec.run_id)
        if not _possible(catalog, run, hold, time_limit):
            continue
        place = on or ("slurm" if hold else "local")
        # what was submitted together goes again together, as it was asked for then
        submission = hold.batch.id if hold else ""
        before = hold.assignment.ranks if hold else run.status.ranks if run.status else None
        number = catalog.protocol_of(run.spec).on(before if ranks is None else ranks)
        group = place, run.spec.protocol_hash, submission, number
        groups.setdefault(group, []).append(run)
    flags = {"partition": partition, "time": time, "mem": mem, "sbatch": sbatch or None}
    for place, *_ in groups:
        if place == "local":
            where("local", site_name, None, {**flags, "wait": wait or None})
        elif device != "auto":
            raise UserError("--device is for this machine; add --on local")
    if not groups:
        if not released:
            print("nothing to try again; see `python -m suite status`")
        return

    def carrier(hold: Hold | None, number: int) -> Carrier:
        before = hold.assignment if hold else None
        data = data_root or (Path(before.data_root) if before and before.data_root else None)
        seconds = before.checkpoint_seconds if before else 60.0
        limit = before.time_limit if before else None
        return Carrier(
            results,
            catalog,
            settings.data_root(data),
            plugins,
            seconds if checkpoint_seconds is None else checkpoint_seconds,
            limit if time_limit is None else time_limit * 60,
            tuple(before.sets) if before else (),
            number,
        )

    # all that can be wrong with a request, before the first is submitted
    requests = {
        group: _request(site_name, flags, workers, plugins, now.holds.get(members[0].spec.run_id))
        for group, members in groups.items()
        if group[0] == "slurm"
    }
    # those for the cluster first: they can wait there while this machine works
    submissions = []
    code = 0
    for group in sorted(groups, key=lambda group: group[0] == "local"):
        members, (place, protocol_hash, _, number) = groups[group], group
        hold = now.holds.get(members[0].spec.run_id)
        with_ = carrier(hold, number)
        plan = Plan(
            catalog.task(task or members[0].tasks[0]),
            catalog.protocols[protocol_hash],
            [_again(catalog, run) for run in members],
        )
        make = partial(_without, plan)
        if place == "local":
            slots = make_slots(device, workers, plan.protocol.threads, with_.ranks)
            if dry_run:
                plan_table(describe(plan, results, len(slots), with_.data_root, number))
                continue
            result = with_.here(make, slots)
            code = max(code, with_.finish(result))
            if result.interrupted:
                break
            continue
        request = requests[group]
        if dry_run:
            with_.dry_run(make, request)
            continue
        try:
            submissions.append((with_, with_.submit(make, request), request))
        except UserError as error:
            if not submissions:
                raise
            # what was submitted before stays submitted
            print(f"Error: {printable(error)}", file=sys.stderr)
            code = max(code, 2)
    for with_, submitted, request in submissions:
        if wait:
            result = with_.follow(submitted, request.site.backoff_seconds)
            code = max(code, with_.finish(result))
        elif with_.leave(submitted).failures:
            code = max(code, 1)
    sys.exit(code)


def _release(runs: Sequence[RunState], dry_run: bool) -> set[str]:
    """Release the jobs that SLURM holds after a failed launch; ids of the runs in them."""
    from suite.dispatch import slurm

    stuck = {run.spec.run_id: run.place.job for run in runs if run.place and run.place.stuck}
    jobs = set(stuck.values())
    if jobs and not dry_run:
        slurm.release(jobs)
    if jobs:
        done = "would be released" if dry_run else "released"
        print(f"{len(jobs)} job(s) {done} that SLURM held after a failed launch")
    return set(stuck)


def _possible(catalog: Catalog, run: RunState, hold: Hold | None, limit: float | None) -> bool:
    """Whether the run can be tried again as it stands; says why not."""
    from suite.base.errors import UserError
    from suite.cli.output import printable
    from suite.records.inputs import digest_of

    spec, status = run.spec, run.status
    if spec.method not in catalog.methods():
        files = " ".join(hold.batch.plugin_files) if hold else "FILE"
        print(
            printable(
                f"run {spec.run_id}: method {spec.method!r} is not known here; --plugin {files}"
            )
        )
        return False
    if spec.protocol_hash not in catalog.protocols:
        print(
            printable(f"run {spec.run_id}: protocol {spec.protocol!r} is not known here any more")
        )
        return False
    try:
        digest_of(run.item.attempt.root, catalog, spec)
    except UserError as error:
        print(printable(str(error)))
        return False
    own = hold.assignment.time_limit if hold else None
    timed_out = status is not None and status.failure and status.failure.kind == "timeout"
    if timed_out and own is not None and limit is None and status and status.elapsed >= own:
        print(f"run {spec.run_id} has used up its {own / 60:g} minutes: add --time-limit MINUTES")
        return False
    return True


def _request(
    site_name: str | None,
    flags: Mapping[str, Any],
    workers: int | None,
    plugins: tuple[Path, ...],
    hold: Hold | None,
) -> Request:
    """What the runs asked for before, changed by the flags given.

    Shell lines, the interpreter and sbatch's further options are never taken from the results folder:
    it may come from a stranger. They are the profile's, as it is today.
    """
    from suite.dispatch.request import SHELL, request
    from suite.dispatch.submission import Request

    if hold is None or site_name is not None:
        return Request(request(site_name, flags), site_name, workers, plugins)
    before = hold.batch
    profile = request(before.site_name, {})
    if any(getattr(before.site, key) != getattr(profile, key) for key in SHELL):
        print(f"what these jobs asked for beside a profile is not repeated: {', '.join(SHELL)}")
    base = msgspec.structs.replace(before.site, **{key: getattr(profile, key) for key in SHELL})
    asked = request(None, flags, base)
    return Request(asked, before.site_name, workers or before.workers, plugins)


def _wanted(run: RunState, kinds: Sequence[str], named: bool) -> bool:
    """Whether the run is to be tried again; `named`: its id was given."""
    from suite.dispatch.states import BY_US
    from suite.records.files import INFRASTRUCTURE

    if run.state == "failed":
        failure = run.status.failure if run.status else None
        kind = failure.kind if failure is not None else "killed"
        return kind in kinds if kinds else named or kind in INFRASTRUCTURE
    if run.state == "cancelled":
        return "cancelled" in kinds if kinds else named or run.note != BY_US
    return run.state == "stopped" and named and not kinds


def _again(catalog: Catalog, run: RunState) -> Item:
    """The run as it is to be carried out: in its attempt where that can go on, else in a new one."""
    from suite.records.inputs import digest_of
    from suite.runs.plan import look

    if run.item.work:
        return run.item
    root = run.item.attempt.root
    digest = digest_of(root, catalog, run.spec)
    return look(root, run.spec, digest, catalog.code, "", "", fresh=True)


def _without(plan: Plan, queued: Container[str]) -> Plan:
    """The plan without what another shell has submitted meanwhile."""
    items = [item for item in plan.items if item.spec.run_id not in queued]
    return replace(plan, items=items)
