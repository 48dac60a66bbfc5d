"""`retry`: try failed runs again, where they ran before."""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    where,
)

if TYPE_CHECKING:
    from suite.catalog import Catalog
    from suite.plan import Item, Plan
    from suite.survey import RunState


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
    data_root: DataRoot = None,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Least time between two resume checkpoints of a run.")
    ] = 60.0,
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
    from suite import settings
    from suite.catalog import Catalog
    from suite.cli.carrying import Carrier
    from suite.cli.output import plan_table
    from suite.dispatch import slurm
    from suite.dispatch.local import make_slots
    from suite.dispatch.standing import standing
    from suite.errors import UserError, did_you_mean
    from suite.launch import Request
    from suite.plan import Plan, describe
    from suite.record import FAILURE_KINDS
    from suite.sites import request
    from suite.survey import pick, survey

    if not 0 <= checkpoint_seconds < math.inf:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds:g}: 0 or more")
    if on not in (None, "local", "slurm"):
        raise UserError(f"--on {on!r}: use local or slurm")
    for name in kind:
        if name not in (*FAILURE_KINDS, "cancelled"):
            near = did_you_mean(name, (*FAILURE_KINDS, "cancelled"))
            raise UserError(f"--kind {name!r}: no such kind{near}")
    results = settings.results_root(root)
    plugins = tuple(path.absolute() for path in plugin)
    catalog = Catalog.load(plugins)
    if task is not None:
        catalog.task(task)
    known, problem = survey(results, catalog)
    if problem and on != "local":
        raise UserError(problem)
    named = pick(known, runs) if runs else known
    stuck = {run.place.job for run in named if run.place is not None and run.place.stuck}
    if stuck and not dry_run:
        slurm.release(stuck)
        print(f"{len(stuck)} job(s) released that SLURM held after a failed launch")
    chosen = [
        run
        for run in named
        if (task is None or task in run.tasks) and _wanted(run, kind, bool(runs))
    ]
    for run in named if runs else ():
        if run not in chosen and not (run.place and run.place.stuck):
            print(f"run {run.spec.run_id} is {run.state}: not tried again")
    if not chosen:
        if stuck:
            return
        print("nothing to try again; see `python -m suite status`")
        return
    holds = standing(results).holds
    # what was submitted together goes again together, as it was asked for then
    groups: dict[tuple[str, str], list[RunState]] = {}
    for run in chosen:
        hold = holds.get(run.spec.run_id)
        place = on or ("slurm" if hold else "local")
        submission = hold.batch.id if hold and place == "slurm" else ""
        groups.setdefault((place, f"{run.spec.protocol_hash} {submission}"), []).append(run)
    flags = {"partition": partition, "time": time, "mem": mem, "sbatch": sbatch or None}
    for place, _ in groups:
        if place == "local":
            where("local", site_name, None, {**flags, "wait": wait})
    code = 0
    for (place, _), members in groups.items():
        first = members[0].spec
        protocol = catalog.protocols.get(first.protocol_hash)
        if protocol is None:
            raise UserError(f"protocol {first.protocol!r} is not known here any more")
        plan = Plan(
            catalog.task(task or members[0].tasks[0]),
            protocol,
            [_again(catalog, run) for run in members],
        )
        hold = holds.get(first.run_id)
        carrier = Carrier(
            results,
            catalog,
            settings.data_root(data_root or (_path(hold.assignment.data_root) if hold else None)),
            plugins,
            checkpoint_seconds,
            hold.assignment.time_limit if hold else None,
        )
        if place == "local":
            slots = make_slots(device, workers, protocol.threads)
            if dry_run:
                plan_table(describe(plan, results, len(slots), carrier.data_root))
                continue
            result = carrier.here(partial(_without, plan), slots)
        else:
            asked = Request(
                request(site_name, flags, hold.batch.site if hold else None), workers, plugins
            )
            if dry_run:
                carrier.dry_run(partial(_without, plan), asked)
                continue
            result = carrier.on_cluster(partial(_without, plan), asked, wait)
            if not wait:
                continue
        code = max(code, carrier.finish(result))
    sys.exit(code)


def _wanted(run: RunState, kinds: Sequence[str], named: bool) -> bool:
    """Whether the run is to be tried again; `named`: its id was given."""
    from suite.record import INFRASTRUCTURE
    from suite.survey import BY_US

    if run.state == "failed":
        failure = run.item.status.failure if run.item.status else None
        assert failure is not None
        return failure.kind in kinds if kinds else named or failure.kind in INFRASTRUCTURE
    if run.state == "cancelled":
        return "cancelled" in kinds if kinds else named or run.note != BY_US
    return run.state == "stopped" and named and not kinds


def _again(catalog: Catalog, run: RunState) -> Item:
    """The run as it is to be carried out: in its attempt where that can go on, else in a new one."""
    from suite.plan import look

    if run.item.work:
        return run.item
    digest = catalog.digest(run.spec.method)
    attempt = run.item.attempt
    return look(attempt.root, run.spec, digest, "", "", fresh=True)


def _without(plan: Plan, queued: Container[str]) -> Plan:
    """The plan without what another shell has submitted meanwhile."""
    items = [item for item in plan.items if item.spec.run_id not in queued]
    return replace(plan, items=items)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
