"""`export`: a board as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from suite.cli.options import (
    AllRows,
    Columns,
    OnlyMethods,
    OnlyProtocols,
    Plugins,
    RankBy,
    Root,
    TaskName,
    catalog_at,
)

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
    protocol: OnlyProtocols = [],  # noqa: B006 - typer copies defaults
    method: OnlyMethods = [],  # noqa: B006
    columns: Columns = [],  # noqa: B006
    all_: AllRows = False,
    by: RankBy = None,
    long: Annotated[
        bool, typer.Option("--long", help="csv, parquet: one line per run and metric.")
    ] = False,
    claims: Annotated[
        bool, typer.Option("--claims", help="Published numbers beside ours, see `claims`.")
    ] = False,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Write the leaderboard of a task to a file, or to a folder that opens in a browser.

    What an earlier export left at PATH is replaced; a folder that holds anything else is refused.

    \b
    Examples:
      python -m suite export --task longtail-seg -o table.tex
      python -m suite export --task longtail-seg --method ce,la --columns 'rank,mIoU' -o table.tex
      python -m suite export --task longtail-seg --format html -o site
      python -m suite export --task longtail-seg --long -o runs.parquet
    """
    from suite.base.errors import UserError
    from suite.base.settings import existing_root
    from suite.cli.leaderboard import read_board
    from suite.cli.output import printable
    from suite.render import export as exports
    from suite.render import write as writing
    from suite.render.board import nothing
    from suite.render.files import is_stream
    from suite.render.view import View, named_columns

    # before the store is read: a wrong name shows at once
    format = exports.format_of(output, format, long)
    writing.check(output, format)
    where = existing_root(root)
    catalog = catalog_at(plugin, where)
    asked = View(by=by, methods=method, columns=named_columns(columns), planned=all_)
    found, view, rows, _ = read_board(where, catalog, task, protocol, asked, claims)
    shown = view.rows(rows)
    if not shown:
        note = nothing(rows, found, view)
        raise UserError(f"{note.text}: nothing to export; make some: {note.command}")
    content = exports.Export(
        root=where,
        task=found,
        rows=rows,
        view=view,
        cards={name: catalog.card(name) for name in catalog.methods()},
    )
    writing.write(content, format, output, long=long)
    opened = output / "index.html" if format == "html" else output
    # what a stream is given is all that it is given
    told = sys.stderr if is_stream(output) else sys.stdout
    print(f"{len(shown)} rows: {printable(opened)}", file=told)
