"""`compare`: two methods held against each other, all of a task, or arms of one."""

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
    from suite.boards.arms import ArmsFound
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
    arms: Annotated[
        str | None,
        typer.Option(
            "--arms",
            metavar="METHOD.PARAM",
            help="Rows of METHOD that differ in PARAM alone: do they differ more than seeds do?",
            show_default=False,
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="METRIC",
            help="With --arms: a further metric, or curve:loss, to be tested too; repeatable. Default: the task's.",
            show_default=False,
        ),
    ] = None,
    fitted: Annotated[
        str | None,
        typer.Option(
            "--fitted",
            metavar="METRIC",
            help="With --arms: training accuracy, to tell runs that did not fit. Default: the task's.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="VALUE",
            help="With --arms: an arm to show and not to test, such as the untreated one; repeatable.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    root: Root = None,
    data_root: ProposedDataRoot = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Compare two methods: difference with 95 % interval and p, and what their runs were made of.

    Or all methods (--all), or arms of one method, crossed with seeds (--arms).

    \b
    Examples:
      python -m suite compare ce la --task longtail-cls
      python -m suite compare ce la --task longtail-cls --metric 'top1[group=tail]' --over images
      python -m suite compare 3f2a9c 81bb02 --format json
      python -m suite compare --all --task longtail-cls
      python -m suite compare --arms focal.gamma --task longtail-cls --also curve:loss
    """
    from suite.base import settings
    from suite.base.command import Command
    from suite.base.errors import UserError
    from suite.boards.arms import arms as compare_arms
    from suite.boards.arms import named_arms
    from suite.boards.compare import compare as compare_two
    from suite.boards.named_rows import pick_task
    from suite.boards.overview import overview

    parse_format(format, FORMATS)
    if over not in ("seeds", "images"):
        raise UserError(f"--over {over!r}: use seeds or images")
    if bootstrap and (over == "images" or all_):
        raise UserError("--bootstrap is for two methods over seeds")
    if arms is None and (also or without or fitted is not None):
        raise UserError("--also, --fitted and --without are for --arms METHOD.PARAM")
    if arms is not None and (a is not None or all_ or over == "images" or bootstrap):
        raise UserError(
            "--arms compares the rows of one method over seeds: leave A, B, --all, --over "
            "and --bootstrap out"
        )
    if all_ and a is not None:
        raise UserError("--all compares every method: leave A and B out")
    if all_ and task is None:
        raise UserError(f"--all needs --task; see `{Command('tasks')}`")
    if not all_ and arms is None and (a is None or b is None):
        raise UserError("compare what? Give two methods or run ids, --all, or --arms METHOD.PARAM")
    if not all_ and reference is not None:
        raise UserError("--reference is for --all")
    results = settings.existing_root(root)
    catalog = catalog_at(plugin, results)
    refresh(results, catalog)
    sides = [side for side in (a, b) if side is not None]
    if arms is not None:
        sides = [named_arms(catalog, arms)[0]]
    chosen = pick_task(results, catalog, task, sides)
    only = catalog.protocol(chosen, protocol) if protocol else None
    found: Comparison | Overview | ArmsFound
    if arms is not None:
        found = compare_arms(
            results,
            catalog,
            chosen,
            arms,
            metric=metric,
            also=also or None,
            fitted=fitted,
            without=without or (),
            only=only,
        )
    elif all_:
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


def _print(found: Comparison | Overview | ArmsFound, format: str) -> None:
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
