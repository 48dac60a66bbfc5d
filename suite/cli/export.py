"""`export`: a board as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from suite.cli.options import OnlyProtocol, Plugins, Root, TaskName, catalog_at

FORMATS = "csv, markdown, latex, parquet, html"


def export(
    task: TaskName,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="File to write; for html a folder.", metavar="PATH"),
    ],
    format: Annotated[
        str | None,
        typer.Option(help=f"One of {FORMATS}. Default: by the ending of PATH.", show_default=False),
    ] = None,
    protocol: OnlyProtocol = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="Metric that ranks, such as mIoU or 'mIoU[group=tail]'. Default: the task's.",
            show_default=False,
        ),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="csv, parquet: one line per run and metric.")
    ] = False,
    claims: Annotated[
        bool, typer.Option("--claims", help="Published numbers beside ours, see `claims`.")
    ] = False,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Write the leaderboard of a task to a file, or to a folder that opens in a browser.

    What an earlier export left at PATH is replaced; a folder that holds anything else is refused.

    \b
    Examples:
      python -m suite export --task longtail-seg -o table.tex
      python -m suite export --task longtail-seg --format html -o site
      python -m suite export --task longtail-seg --long -o runs.parquet
    """
    from suite.base.errors import UserError
    from suite.base.settings import existing_root
    from suite.cli.leaderboard import read_board
    from suite.cli.output import printable
    from suite.render import export as exports
    from suite.render import write as writing

    # before the store is read: a wrong name shows at once
    format = exports.format_of(output, format, long)
    writing.check(output, format)
    where = existing_root(root)
    catalog = catalog_at(plugin, where)
    found, by, rows, _ = read_board(where, catalog, task, protocol, by)
    if format in ("latex", "markdown"):
        # a paper's table has no use for what nobody has run
        rows = [row for row in rows if row.state != "planned"]
        if not rows:
            raise UserError(
                f"no run of task {task!r} to export; make some: python -m suite run --task {task}"
            )
    content = exports.Export(
        root=where,
        task=found,
        rows=rows,
        by=by,
        cards={name: catalog.card(name) for name in catalog.methods()},
        claims=exports.published(catalog, found, rows) if claims else {},
    )
    writing.write(content, format, output, long=long)
    opened = output / "index.html" if format == "html" else output
    print(f"{len(rows)} rows: {printable(opened)}")
