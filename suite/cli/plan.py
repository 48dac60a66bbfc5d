"""`plan`: what a `run` would do."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.options import (
    BaseConfig,
    DataRoot,
    Methods,
    Plugins,
    Pretrained,
    ProtocolName,
    Ranks,
    Root,
    Seeds,
    Settings,
    TaskName,
    catalog_at,
    parse_format,
    parse_seeds,
    under,
)


def plan(
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
        int | None, typer.Option(help="Runs at a time, for the estimate.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0,1.")] = "auto",
    ranks: Ranks = None,
    plugin: Plugins = [],  # noqa: B006
    fresh: Annotated[bool, typer.Option("--fresh", help="As on `run`.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="As on `run`.")] = False,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Show what would run, what exists and what is stale. Starts and writes nothing.

    \b
    Examples:
      python -m suite plan --task longtail-seg --seeds 0,1,2
      python -m suite plan --task longtail-seg --protocol camvid:half --format json
    """
    from suite.base import settings
    from suite.cli.output import print_plan
    from suite.dispatch.batch import jobs_folder
    from suite.dispatch.reconcile import ClusterState, reconcile
    from suite.runs.describe import describe_plan
    from suite.runs.plan import make_plan
    from suite.runs.slots import make_slots

    parse_format(format, ("table", "json"))
    results = settings.results_root(root)
    catalog = catalog_at(plugin, results)
    catalog, chosen, accepted, _ = under(
        catalog, catalog.task(task), protocol, results, base_config, pretrained
    )
    now = reconcile(results, settle=False) if jobs_folder(results).exists() else ClusterState()
    made = make_plan(
        results,
        catalog,
        chosen,
        accepted,
        methods=method,
        seeds=parse_seeds(seeds),
        settings=set_,
        fresh=fresh,
        stale=stale,
        queued=now.queued,
    )
    number = accepted.on(ranks)
    slots = make_slots(device, workers, accepted.threads, number)
    summary = describe_plan(
        made, results, len(slots), settings.data_root(data_root, here=False), number
    )
    summary["cluster_problem"] = now.problem
    print_plan(summary, format)
