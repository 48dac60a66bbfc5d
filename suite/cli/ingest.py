"""`ingest`: bring the store up to date with the record files."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.options import Plugins, Root


def ingest(
    root: Root = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Start from nothing instead of reading what changed.")
    ] = False,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Read new and changed records into the store; name the files that are refused, and why.

    `run` and `leaderboard` do this by themselves.

    \b
    Examples:
      python -m suite ingest
      python -m suite ingest --rebuild --root /data/results
    """
    from suite import store
    from suite.catalog import Catalog
    from suite.escape import plain
    from suite.settings import results_root

    catalog = Catalog.load(plugin)
    folder = results_root(root)
    report = store.ingest(folder, catalog.tasks(), catalog.code, rebuild=rebuild)
    print(
        f"{store.store_path(folder)}: {report.attempts} attempts, {report.evaluations} evaluations, "
        f"{report.metrics} metric rows; {report.read} files read, {report.removed} gone, "
        f"{report.seconds:.2f} s"
    )
    for refused in report.refused:
        print(f"refused {plain(refused.path)}: {plain(refused.reason)}")
