"""`leaderboard`: the rows of a task, ranked under each protocol."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.options import (
    AllRows,
    Columns,
    OnlyMethods,
    OnlyProtocols,
    Plugins,
    ProposedDataRoot,
    RankBy,
    Root,
    TaskName,
    catalog_at,
    parse_format,
)

if TYPE_CHECKING:
    from suite.define.catalog import Catalog
    from suite.define.task import Task
    from suite.render.view import View
    from suite.store.read_files import Refused
    from suite.store.row import Row

FORMATS = ("table", "json", "csv", "markdown", "latex")


def leaderboard(
    task: TaskName,
    protocol: OnlyProtocols = [],  # noqa: B006 - typer copies defaults
    method: OnlyMethods = [],  # noqa: B006
    columns: Columns = [],  # noqa: B006
    all_: AllRows = False,
    by: RankBy = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    claims: Annotated[
        bool, typer.Option("--claims", help="With the published numbers beside ours; see `claims`.")
    ] = False,
    root: Root = None,
    data_root: ProposedDataRoot = None,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Print the leaderboard of a task: mean, 95 % interval and n, with shared ranks.

    On a terminal as many columns as fit; in a pipe all of them, unbroken.

    \b
    Examples:
      python -m suite leaderboard --task longtail-seg
      python -m suite leaderboard --task longtail-seg --by 'mIoU[group=tail]'
      python -m suite leaderboard --task longtail-cls --method ce,la --columns 'rank,top1,top1[group=tail]'
      python -m suite leaderboard --task longtail-seg --format latex > table.tex
    """
    from suite.base.errors import UserError
    from suite.base.settings import existing_root
    from suite.render.view import View, named_columns

    parse_format(format, FORMATS)
    if claims and format == "json":
        raise UserError(
            "--claims: JSON holds our results; `claims --format json` the published ones"
        )
    results = existing_root(root)
    view = View(by=by, methods=method, columns=named_columns(columns), planned=all_)
    print_board(results, catalog_at(plugin, results), task, protocol, view, format, claims)


def print_board(
    root: Path,
    catalog: Catalog,
    task_name: str,
    protocols: Sequence[str] = (),
    view: View | None = None,
    format: str = "table",
    claims: bool = False,
) -> Sequence[Refused]:
    """Bring the store up to date and print the board; names of protocols may be short (`camvid`).

    Returns the files that the store refused; they are named on stderr.
    """
    from suite.cli.output import console
    from suite.render import board as tables
    from suite.render import formats

    task, view, rows, refused = read_board(root, catalog, task_name, protocols, view, claims)
    if format == "table":
        tables.terminal(rows, task, console(), view)
    elif format == "json":
        sys.stdout.write(formats.to_json(formats.envelope("leaderboard", view.data(rows))))
    elif format == "csv":
        sys.stdout.write(tables.to_csv(rows, view))
    elif format == "markdown":
        sys.stdout.write(tables.to_markdown(rows, task, view))
    else:
        sys.stdout.write(tables.to_latex(rows, task, view))
    return refused


def read_board(
    root: Path,
    catalog: Catalog,
    task_name: str,
    protocols: Sequence[str] = (),
    view: View | None = None,
    claims: bool = False,
) -> tuple[Task, View, list[Row], Sequence[Refused]]:
    """Bring the store up to date and read the board: (task, what is shown, rows, refused files).

    Files that the store refused are named on stderr.
    """
    from dataclasses import replace

    from suite.base import settings
    from suite.base.errors import UserError
    from suite.base.text import plain
    from suite.boards.leaderboard import board, rows_to_come
    from suite.define.metrics import canonical_key
    from suite.render.view import View, check
    from suite.store import ingest as store

    task = catalog.task(task_name)
    view = view or View()
    view = replace(view, by=canonical_key(view.by) if view.by else None)
    names, to_come = [], []
    for name in protocols or [settings.default_protocol(task.name) or task.default_protocol]:
        try:
            to_come.append(catalog.protocol(task, name))
            names.append(to_come[-1].name)
        except UserError:
            # rows may be under a protocol that the task no longer has: the board knows
            if not protocols:
                raise
            names.append(name)
    report = store.refresh(root, catalog.tasks(), catalog.code)
    for refused in report.refused:
        # on stderr: the board on stdout may be piped into a file
        print(f"refused {plain(refused.path)}: {plain(refused.reason)}", file=sys.stderr)
    rows = board(
        root,
        task,
        protocol=names if protocols else None,
        by=view.by,
        today=catalog.code.alone,
        planned=[row for protocol in to_come for row in rows_to_come(catalog, task, protocol)],
        catalog=catalog,
    )
    check(view, task, rows, catalog.methods(task.name))
    if claims:
        from suite.render.export import published

        view = replace(view, claims=published(catalog, task, view.rows(rows)))
    return task, view, rows, report.refused
