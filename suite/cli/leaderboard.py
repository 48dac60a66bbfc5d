"""`leaderboard`: the rows of a task, ranked under each protocol."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.options import OnlyProtocol, Plugins, Root, TaskName, catalog_at, parse_format

if TYPE_CHECKING:
    from suite.define.catalog import Catalog
    from suite.define.task import Task
    from suite.store.read_files import Refused
    from suite.store.row import Row

FORMATS = ("table", "json", "csv", "markdown", "latex")


def leaderboard(
    task: TaskName,
    protocol: OnlyProtocol = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="Metric that ranks, such as mIoU or 'mIoU[group=tail]'. Default: the task's.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    claims: Annotated[
        bool, typer.Option("--claims", help="With the published numbers beside ours; see `claims`.")
    ] = False,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Print the leaderboard of a task: mean, 95 % interval and n, with shared ranks.

    \b
    Examples:
      python -m suite leaderboard --task longtail-seg
      python -m suite leaderboard --task longtail-seg --by 'mIoU[group=tail]'
      python -m suite leaderboard --task longtail-seg --format latex > table.tex
    """
    from suite.base.errors import UserError
    from suite.base.settings import existing_root

    parse_format(format, FORMATS)
    if claims and format == "json":
        raise UserError(
            "--claims: JSON holds our results; `claims --format json` the published ones"
        )
    results = existing_root(root)
    print_board(results, catalog_at(plugin, results), task, protocol, by, format, claims)


def print_board(
    root: Path,
    catalog: Catalog,
    task_name: str,
    protocol_name: str | None = None,
    by: str | None = None,
    format: str = "table",
    claims: bool = False,
) -> Sequence[Refused]:
    """Bring the store up to date and print the board; `protocol_name` may be short (`camvid`).

    Returns the files that the store refused; they are named on stderr.
    """
    from suite.cli.output import console
    from suite.render import board as tables
    from suite.render import formats
    from suite.render.grid import Claims

    task, by, rows, refused = read_board(root, catalog, task_name, protocol_name, by)
    printed: Claims = {}
    if claims:
        from suite.render.export import published

        printed = published(catalog, task, rows)
    if format == "table":
        tables.terminal(rows, task, console(), by, printed)
    elif format == "json":
        sys.stdout.write(formats.to_json(rows))
    elif format == "csv":
        sys.stdout.write(tables.to_csv(rows, printed))
    elif format == "markdown":
        sys.stdout.write(tables.to_markdown(rows, task, by, printed))
    else:
        sys.stdout.write(tables.to_latex(rows, task, by, printed))
    return refused


def read_board(
    root: Path,
    catalog: Catalog,
    task_name: str,
    protocol_name: str | None = None,
    by: str | None = None,
) -> tuple[Task, str | None, list[Row], Sequence[Refused]]:
    """Bring the store up to date and read the board: (task, canonical `by`, rows, refused files).

    Files that the store refused are named on stderr.
    """
    from suite.base import settings
    from suite.base.errors import UserError
    from suite.base.text import plain
    from suite.boards.leaderboard import board, rows_to_come
    from suite.define.metrics import canonical_key
    from suite.store import ingest as store

    task = catalog.task(task_name)
    by = canonical_key(by) if by else None
    to_come = None
    try:
        to_come = catalog.protocol(task, protocol_name or settings.default_protocol(task.name))
    except UserError:
        # rows may be under a protocol that the task no longer has: the board knows
        if protocol_name is None:
            raise
    if protocol_name is not None and to_come is not None:
        protocol_name = to_come.name
    report = store.refresh(root, catalog.tasks(), catalog.code)
    for refused in report.refused:
        # on stderr: the board on stdout may be piped into a file
        print(f"refused {plain(refused.path)}: {plain(refused.reason)}", file=sys.stderr)
    planned = [] if to_come is None else rows_to_come(catalog, task, to_come)
    rows = board(
        root,
        task,
        protocol=protocol_name,
        by=by,
        today=catalog.code.alone,
        planned=planned,
        catalog=catalog,
    )
    return task, by, rows, report.refused
