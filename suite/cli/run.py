"""`run`: train what is missing, then print the leaderboard."""

from __future__ import annotations

import math
import sys
from collections.abc import Container
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.options import (
    Account,
    ArrayParallelism,
    BaseConfig,
    Constraint,
    CpusPerTask,
    DataRoot,
    DryRun,
    Format,
    GpusPerNode,
    Memory,
    Methods,
    On,
    Pack,
    Partition,
    Plugins,
    Pretrained,
    ProtocolName,
    Qos,
    Ranks,
    Root,
    Sbatch,
    Seeds,
    Settings,
    SiteName,
    TaskName,
    Time,
    Wait,
    catalog_at,
    parse_format,
    parse_seeds,
    under,
    where,
)

if TYPE_CHECKING:
    from suite.runs.plan import Plan


def run(
    task: TaskName,
    method: Methods = [],  # noqa: B006 - typer copies defaults
    protocol: ProtocolName = None,
    base_config: BaseConfig = None,
    pretrained: Pretrained = None,
    seeds: Seeds = "0",
    set_: Settings = [],  # noqa: B006
    data_root: DataRoot = None,
    root: Root = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Runs at a time, here or in a job. Default: GPUs, or cores / the protocol's threads.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0,1.")] = "auto",
    ranks: Ranks = None,
    plugin: Plugins = [],  # noqa: B006
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train finished and failed runs again, as new attempts.")
    ] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="Train runs again whose method's code has changed.")
    ] = False,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Minutes a run may take; over it is failed(timeout).", show_default=False
        ),
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Least time between two resume checkpoints of a run.")
    ] = 60.0,
    predict: Annotated[
        list[str],
        typer.Option(
            "--predict",
            metavar="SET",
            help="A further prediction set to store of every run, see `tasks --format json`; repeatable.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    on: On = "local",
    site_name: SiteName = None,
    partition: Partition = None,
    account: Account = None,
    qos: Qos = None,
    constraint: Constraint = None,
    time: Time = None,
    gpus_per_node: GpusPerNode = None,
    cpus_per_task: CpusPerTask = None,
    mem: Memory = None,
    array_parallelism: ArrayParallelism = None,
    sbatch: Sbatch = [],  # noqa: B006
    pack: Pack = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    format: Format = "table",
) -> None:
    """Train every method of a task under one protocol and print the leaderboard.

    What is finished is not trained again; what was interrupted goes on from its checkpoint. Exit
    code 0: all done. 1: some run failed. 2: wrong use or bad input. 130: stopped by Ctrl-C.

    \b
    Examples:
      python -m suite run --task longtail-seg
      python -m suite run --task longtail-seg --method ce --method aucseg --seeds 0,1,2
      python -m suite run --task longtail-seg --protocol camvid:half --data-root ~/data
      python -m suite run --task longtail-seg --method focal --set focal.gamma=1.0
      python -m suite run --task longtail-cls --method sse-sam --set sse-sam.loss=ldam
      python -m suite run --task longtail-cls --method crt --set crt.stage1=sse-sam
      python -m suite run --task longtail-cls --predict sharpness
      python -m suite run --task longtail-seg --plugin my_method.py
      python -m suite run --task longtail-seg --protocol camvid:half --base-config my_net.py
      python -m suite run --task longtail-seg --protocol ade20k:segnext-l --pretrained mscan_l.pth
      python -m suite run --task longtail-seg --on slurm --partition gpu --gpus-per-node 1 --time 4:00:00
      python -m suite run --task longtail-seg --protocol ade20k:segnext-l --ranks 4
      python -m suite run --task longtail-seg --on slurm --site lab --seeds 0-4 --dry-run
    """
    from suite.base import settings
    from suite.base.errors import UserError
    from suite.cli import training
    from suite.define.bring import keep
    from suite.dispatch.carry_out import Launcher
    from suite.dispatch.submission import Request
    from suite.runs.plan import make_plan
    from suite.runs.predict import extra_sets

    parse_format(format, ("table", "json"))
    if time_limit is not None and not 0 < time_limit < math.inf:
        raise UserError(f"--time-limit {time_limit:g}: minutes, more than 0")
    if not 0 <= checkpoint_seconds < math.inf:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds:g}: 0 or more")
    site = where(
        on,
        site_name,
        workers,
        {
            "partition": partition,
            "account": account,
            "qos": qos,
            "constraint": constraint,
            "time": time,
            "gpus_per_node": gpus_per_node,
            "cpus_per_task": cpus_per_task,
            "mem": mem,
            "array_parallelism": array_parallelism,
            "sbatch": sbatch,
            "pack": pack,
        },
    )
    if wait and site is None:
        raise UserError("--wait is for cluster jobs; add --on slurm")
    if site is not None and device != "auto":
        raise UserError("--device is for this machine; a job takes --gpus-per-node")
    results = settings.results_root(root)
    plugins = tuple(path.absolute() for path in plugin)
    catalog = catalog_at(plugins, results)
    wanted_seeds = parse_seeds(seeds)
    catalog, chosen, accepted, brought = under(
        catalog, catalog.task(task), protocol, results, base_config, pretrained
    )
    sets = extra_sets(accepted, predict)
    if ranks is None and site is not None:
        ranks = site.ranks
    number = accepted.on(ranks)

    def make(queued: Container[str]) -> Plan:
        return make_plan(
            results,
            catalog,
            chosen,
            accepted,
            methods=method,
            seeds=wanted_seeds,
            settings=set_,
            fresh=fresh,
            stale=stale,
            queued=queued,
        )

    launcher = Launcher(
        results,
        catalog,
        settings.data_root(data_root, here=site is None),
        plugins,
        checkpoint_seconds,
        time_limit and time_limit * 60,
        sets,
        number,
    )
    if site is None:
        from suite.runs.slots import make_slots

        slots = make_slots(device, workers, accepted.threads, number)
        if dry_run:
            from suite.cli.output import print_plan
            from suite.runs.describe import describe_plan

            planned = training.look(launcher, make)
            summary = describe_plan(planned, results, len(slots), launcher.data_root, number)
            print_plan(summary, format)
            return
        if brought is not None:
            keep(brought, results)
        result = training.run_here(launcher, make, slots)
    else:
        request = Request(site, site_name, workers, plugins)
        if dry_run:
            training.dry_run(launcher, make, request, format)
            return
        if brought is not None:
            keep(brought, results)
        submitted = training.submit(launcher, make, request)
        if wait:
            result = training.follow(launcher, submitted, site.backoff_seconds)
        else:
            result = training.leave(submitted)
            if submitted.batch is not None or submitted.plan.count("queued"):
                sys.exit(1 if result.failures else 0)
    sys.exit(training.finish(launcher, result, format))
