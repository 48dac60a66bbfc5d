"""`power`: how many more seeds would tell two methods apart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from suite.cli.options import (
    DataRoot,
    On,
    Plugins,
    ProtocolName,
    Root,
    SiteName,
    TaskName,
    Wait,
    catalog_at,
    parse_format,
)


def power(
    a: Annotated[str, typer.Argument(metavar="A", help="Method, or id of a run of its row.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Method, or id of a run of its row.")],
    task: TaskName,
    protocol: ProtocolName = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Metric key. Default: the task's first.", show_default=False),
    ] = None,
    power: Annotated[
        float, typer.Option("--power", help="Probability with which they are to be told apart.")
    ] = 0.8,
    run: Annotated[
        bool, typer.Option("--run", help="Train exactly the missing runs, as `run` would.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --run: show the plan; train nothing.")
    ] = False,
    on: On = "local",
    site_name: SiteName = None,
    wait: Wait = False,
    workers: Annotated[
        int | None, typer.Option(help="With --run: runs at a time.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="With --run: auto, cpu, cuda or cuda:0,1.")] = "auto",
    data_root: DataRoot = None,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Estimate from the runs there are how many more seeds would tell A from B (two-sided t, 5 %).

    \b
    Examples:
      python -m suite power ce la --task longtail-cls
      python -m suite power ce aucseg --task longtail-seg --protocol camvid --metric mIoU --power 0.9
      python -m suite power ce la --task longtail-cls --run
    """
    from suite.base import settings
    from suite.base.errors import UserError
    from suite.base.text import plain
    from suite.boards.power import needed
    from suite.cli.compare import refresh
    from suite.cli.output import print_rows

    parse_format(format, ("table", "json"))
    if not run:
        given = {"dry-run": dry_run, "wait": wait, "workers": workers, "site": site_name}
        for name, value in given.items():
            if value:
                raise UserError(f"--{name} is for --run")
    results = settings.existing_root(root)
    catalog = catalog_at(plugin, results)
    chosen = catalog.task(task)
    under = catalog.protocol(chosen, protocol or settings.default_protocol(task))
    refresh(results, catalog)
    found = needed(results, catalog, chosen, a, b, protocol=under, metric=metric, target=power)
    if format == "json":
        import msgspec

        command = None if found.command is None else str(found.command)
        made = {**msgspec.to_builtins(found), "next": command}
        del made["command"]
        print_rows("power", [made])
    else:
        print(f"{plain(a)} and {plain(b)}, {found.metric}, {chosen.name} under {under.name}")
        print(found.words)
        for line in found.warnings:
            print(f"note: {plain(line)}")
        if found.command and not run:
            print(f"  {found.command}")
    if not run:
        return
    sys.stdout.flush()
    if found.command is None:
        if found.seeds:
            raise UserError(plain(found.warnings[-1]))
        return
    _run(
        found.task,
        found.protocol,
        found.methods,
        found.seeds,
        found.settings,
        **{
            "data_root": data_root,
            "root": root,
            "workers": workers,
            "device": device,
            "plugin": plugin,
            "on": on,
            "site_name": site_name,
            "dry_run": dry_run,
            "wait": wait,
        },
    )


def _run(
    task: str,
    protocol: str,
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    set_: tuple[str, ...],
    **options: str | bool | int | Path | list[Path] | None,
) -> None:
    """Train them; does not return."""
    from suite.cli.run import run
    from suite.define.spec import spelled

    run(
        task=task,
        method=list(methods),
        protocol=protocol,
        seeds=spelled(seeds),
        set_=list(set_),
        **options,  # type: ignore[arg-type]
    )
