"""`compare`: two methods held against each other, or all of a task."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.completion import task_names
from suite.cli.options import (
    OnlyProtocol,
    Plugins,
    ProposedDataRoot,
    Root,
    catalog_at,
    parse_format,
)

if TYPE_CHECKING:
    from suite.boards.comparison import Comparison
    from suite.boards.overview import Overview
    from suite.define.catalog import Catalog

FORMATS = ("table", "json", "markdown")


def compare(
    a: Annotated[
        str | None,
        typer.Argument(metavar="A", help="Method, or id of a run of its row.", show_default=False),
    ] = None,
    b: Annotated[
        str | None,
        typer.Argument(metavar="B", help="Method, or id of a run of its row.", show_default=False),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            autocompletion=task_names,
            help="Task. Default: the only one with both.",
            show_default=False,
        ),
    ] = None,
    protocol: OnlyProtocol = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="Metric key, such as 'mIoU[group=tail]'. Default: the task's first.",
            show_default=False,
        ),
    ] = None,
    over: Annotated[
        str,
        typer.Option(
            help="seeds, or images: resamples of the test images of stored predictions, for the models "
            "as trained."
        ),
    ] = "seeds",
    bootstrap: Annotated[
        bool, typer.Option("--bootstrap", help="Over seeds: bootstrap in place of t.")
    ] = False,
    all_: Annotated[
        bool,
        typer.Option(
            "--all",
            help="All methods: win rates, critical difference, exchange rate of head and tail.",
        ),
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            help="With --all: the method that exchange rates are against. Default: the task's.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    root: Root = None,
    data_root: ProposedDataRoot = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Compare two methods: difference with 95 % interval and p, and what their runs were made of.

    \b
    Examples:
      python -m suite compare ce la --task longtail-cls
      python -m suite compare ce la --task longtail-cls --metric 'top1[group=tail]' --over images
      python -m suite compare 3f2a9c 81bb02 --format json
      python -m suite compare --all --task longtail-cls
    """
    from suite.base import settings
    from suite.base.command import Command
    from suite.base.errors import UserError
    from suite.boards.compare import compare as compare_two
    from suite.boards.named_rows import pick_task
    from suite.boards.overview import overview

    parse_format(format, FORMATS)
    if over not in ("seeds", "images"):
        raise UserError(f"--over {over!r}: use seeds or images")
    if bootstrap and (over == "images" or all_):
        raise UserError("--bootstrap is for two methods over seeds")
    if all_ and a is not None:
        raise UserError("--all compares every method: leave A and B out")
    if all_ and task is None:
        raise UserError(f"--all needs --task; see `{Command('tasks')}`")
    if not all_ and (a is None or b is None):
        raise UserError("compare what? Give two methods or run ids, or --all")
    if not all_ and reference is not None:
        raise UserError("--reference is for --all")
    results = settings.existing_root(root)
    catalog = catalog_at(plugin, results)
    refresh(results, catalog)
    chosen = pick_task(results, catalog, task, [side for side in (a, b) if side is not None])
    only = catalog.protocol(chosen, protocol) if protocol else None
    found: Comparison | Overview
    if all_:
        against = reference or chosen.reference
        if not against:
            raise UserError(f"task {chosen.name!r} names no plain method: give --reference METHOD")
        found = overview(
            results,
            catalog,
            chosen,
            metric=metric,
            only=only,
            reference=against,
            images=over == "images",
        )
    else:
        assert a is not None and b is not None
        found = compare_two(
            results,
            catalog,
            chosen,
            a,
            b,
            metric=metric,
            only=only,
            over="images" if over == "images" else "seeds",
            bootstrap=bootstrap,
        )
    _print(found, format)


def refresh(root: Path, catalog: Catalog) -> None:
    """Bring the store up to date; files that it refuses are named on stderr."""
    from suite.base.text import plain
    from suite.store import ingest as store

    for refused in store.refresh(root, catalog.tasks(), catalog.code).refused:
        print(f"refused {plain(refused.path)}: {plain(refused.reason)}", file=sys.stderr)


def _print(found: Comparison | Overview, format: str) -> None:
    from suite.render.comparison import as_json, tables_of

    if format == "json":
        from suite.cli.output import print_rows

        kind, rows, more = as_json(found)
        print_rows(kind, rows, **more)
        return
    if format == "markdown":
        from suite.render.formats import to_markdown

        sys.stdout.write("\n".join(map(to_markdown, tables_of(found))))
    else:
        from suite.cli.output import print_tables

        print_tables(tables_of(found))
