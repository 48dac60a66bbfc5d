"""`run`: train what is missing, then print the leaderboard."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from suite.cli.options import (
    DataRoot,
    Methods,
    Plugins,
    ProtocolName,
    Root,
    Seeds,
    Settings,
    TaskName,
    parse_seeds,
)


def run(
    task: TaskName,
    method: Methods = [],  # noqa: B006 - typer copies defaults
    protocol: ProtocolName = None,
    seeds: Seeds = "0",
    set_: Settings = [],  # noqa: B006
    data_root: DataRoot = None,
    root: Root = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Runs at a time. Default: GPUs, or usable cores / the protocol's threads per run.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0,1.")] = "auto",
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
      python -m suite run --task longtail-seg --plugin my_method.py
    """
    from suite import launch, settings
    from suite.catalog import Catalog
    from suite.cli.progress import Progress
    from suite.dispatch.local import make_slots
    from suite.errors import UserError
    from suite.plan import make_plan

    if time_limit is not None and not 0 < time_limit < math.inf:
        raise UserError(f"--time-limit {time_limit:g}: minutes, more than 0")
    if not 0 <= checkpoint_seconds < math.inf:
        raise UserError(f"--checkpoint-seconds {checkpoint_seconds:g}: 0 or more")
    results = settings.results_root(root)
    plugins: list[Path] = [path.absolute() for path in plugin]
    catalog = Catalog.load(plugins)
    chosen = catalog.task(task)
    under = catalog.protocol(chosen, protocol or settings.default_protocol(task))
    plan = make_plan(
        results,
        catalog,
        chosen,
        under,
        methods=method,
        seeds=parse_seeds(seeds),
        settings=set_,
        fresh=fresh,
        stale=stale,
    )
    slots = make_slots(device, workers, under.threads)
    data = settings.data_root(data_root)
    work = launch.assignments(
        plan,
        results,
        data,
        checkpoint_seconds=checkpoint_seconds,
        time_limit=time_limit and time_limit * 60,
    )
    if work:
        settings.writable_root(results)
    if any(not assignment.evaluate_only for assignment in work):
        # now, rather than in every worker
        settings.find_data(under, data)
    with Progress(plan, work, slots) as progress:
        result = launch.launch(plan, work, slots, plugins=plugins, on_report=progress.update)
    progress.summary(result)
    if result.interrupted:
        sys.exit(130)
    from suite.cli.leaderboard import print_board

    refused = print_board(results, catalog, task, under.name)
    wanted = {item.spec.run_id for item in plan.items}
    lost = sorted(run for run in wanted if any(f"runs/{run}/" in file.path for file in refused))
    for run_id in lost:
        print(
            f"run {run_id} has a damaged file and is not in the table whole: "
            f"`python -m suite evaluate {run_id} --again`, or train it again with --fresh",
            file=sys.stderr,
        )
    if result.failures or lost:
        sys.exit(1)
