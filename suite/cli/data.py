"""`data list|check`: which data sets are wanted, which are here and sound."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from suite.cli.options import DataRoot, parse_format

app = typer.Typer(help="Data sets: which are wanted, which are here, which are sound.")


@app.command("list")
def list_(
    data_root: DataRoot = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """List data sets, where they are, and the layout expected.

    \b
    Examples:
      python -m suite data list
      python -m suite data list --data-root ~/data --format json
    """
    from suite import settings
    from suite.catalog import Catalog
    from suite.cli.output import console, print_json, table
    from suite.errors import UserError

    parse_format(format, ("table", "json"))
    root = settings.data_root(data_root)
    listing = []
    for name, dataset in Catalog.load().datasets().items():
        state, where = "found", ""
        try:
            if not dataset.embedded and root is None:
                state = "no data root (--data-root, $LONGTAIL_DATA)"
            else:
                where = str(
                    dataset.find(root if root and not dataset.embedded else settings.cache_dir())
                )
        except UserError as error:
            state = str(error)
        listing.append(
            {
                "name": name,
                "state": "embedded" if dataset.embedded else state,
                "path": where,
                "summary": dataset.summary,
                "layout": dataset.layout,
            }
        )
    if format == "json":
        print_json(listing)
        return
    out = console()
    rows = [(e["name"], e["state"], e["summary"]) for e in listing]
    out.print(table(("data set", "state", ""), rows))
    for e in listing:
        out.print(f"\n{e['name']}: {e['layout']}", soft_wrap=True, markup=False)


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Data sets. Default: all found.")
    ] = None,
    data_root: DataRoot = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Count files only; do not open them.")
    ] = False,
) -> None:
    """Check the user's copies: every file opened, sizes and label ids held against the data set.

    Exit code 2 if a copy is missing or damaged.

    \b
    Examples:
      python -m suite data check camvid --data-root ~/data
    """
    from suite import settings
    from suite.catalog import Catalog
    from suite.errors import DataError, UserError, did_you_mean

    root = settings.data_root(data_root)
    known = Catalog.load().datasets()
    for name in names or []:
        if name not in known:
            raise UserError(f"unknown data set {name!r}{did_you_mean(name, known)}")
    bad = False
    for name in names or known:
        dataset = known[name]
        if root is None and not dataset.embedded:
            if names:
                raise DataError(f"{name}: no data root; give --data-root DIR or set $LONGTAIL_DATA")
            print(f"{name}: not checked, no data root")
            continue
        try:
            path = dataset.find(settings.cache_dir() if dataset.embedded or root is None else root)
            problems = dataset.check(path, not quick)
        except DataError as error:
            problems = [str(error)]
        for problem in problems:
            print(f"{name}: {problem}")
        if not problems:
            print(f"{name}: sound")
        bad = bad or bool(problems)
    if bad:
        sys.exit(2)
