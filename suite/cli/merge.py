"""`merge`: runs of another results root of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from suite.cli.options import Plugins, Root, catalog_at, parse_format

FORMATS = ("table", "json")


def merge(
    other: Annotated[
        Path, typer.Argument(metavar="ROOT2", help="The results folder that runs come from.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come.")] = False,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Bring the runs of another results folder of your own into --root.

    Finished and failed attempts come as new attempts; those that are here already, and runs somebody is
    at, are left out. Typing it again brings nothing twice. For a stranger's folder use `review`.

    \b
    Examples:
      python -m suite merge /scratch/me/results --dry-run
      python -m suite merge /scratch/me/results
    """
    from suite.base import settings
    from suite.base.text import clipped, plain
    from suite.cli.output import console, print_rows, table
    from suite.define.bring import adopt
    from suite.exchange.merge import merge as bring_all
    from suite.store.ingest import update_store

    parse_format(format, FORMATS)
    results = settings.results_root(root)
    catalog = catalog_at(plugin, results)
    done = bring_all(other, results, dry_run=dry_run)
    if not dry_run and any(one.state == "brought" for one in done):
        # their runs may be under protocols that were brought there
        adopt(other, results, catalog)
        update_store(results, catalog_at(plugin, results))
    if format == "json":
        print_rows("merge", [one.as_dict() for one in done], dry_run=dry_run)
    else:
        shown = [one for one in done if one.state != "here"]
        if shown:
            rows = [
                (
                    plain(one.run_id),
                    one.attempt,
                    clipped(plain(one.method)),
                    "" if one.seed is None else one.seed,
                    one.state if not (dry_run and one.state == "brought") else "would come",
                    "" if one.to is None else one.to,
                    clipped(plain(one.why), 200),
                )
                for one in shown
            ]
            head = ("run", "attempt", "method", "seed", "", "as attempt", "")
            console().print(table(head, rows))
        counts = {state: sum(o.state == state for o in done) for state in ("brought", "here")}
        word = "would be brought" if dry_run else "brought"
        left = len(done) - sum(counts.values())
        print(
            f"{counts['brought']} attempt(s) {word}, {counts['here']} here already, {left} left out"
        )
    if any(one.state in ("refused", "busy") for one in done):
        sys.exit(1)
