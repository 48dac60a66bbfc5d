"""`ingest`: bring the store up to date with the record files."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.options import Format, Plugins, Root, catalog_at, parse_format

_COUNTS = ("attempts", "evaluations", "metrics", "read", "removed", "seconds")


def ingest(
    root: Root = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Start from nothing instead of reading what changed.")
    ] = False,
    if_changed: Annotated[
        bool,
        typer.Option(
            "--if-changed",
            help="Of a large root, look only where the suite has written since the last look, within five "
            "minutes.",
        ),
    ] = False,
    format: Format = "table",
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Read new and changed records into the store; name the files that are refused, and why.

    `run` and `leaderboard` do this by themselves.

    \b
    Examples:
      python -m suite ingest
      python -m suite ingest --rebuild --root /data/results
    """
    from suite.base.errors import UserError
    from suite.base.settings import existing_root
    from suite.base.text import plain
    from suite.store import ingest as store
    from suite.store.connection import store_path

    parse_format(format, ("table", "json"))
    folder = existing_root(root)
    catalog = catalog_at(plugin, folder)
    if rebuild and if_changed:
        raise UserError("--rebuild reads everything, --if-changed little: give one")
    if if_changed:
        report = store.refresh(folder, catalog.tasks(), catalog.code)
    else:
        report = store.ingest(folder, catalog.tasks(), catalog.code, rebuild=rebuild)
    if format == "json":
        from suite.cli.output import print_rows

        counts = {name: getattr(report, name) for name in _COUNTS}
        rows = [{"path": one.path, "reason": one.reason} for one in report.refused]
        print_rows("ingest", rows, store=str(store_path(folder)), **counts)
        return
    print(
        f"{store_path(folder)}: {report.attempts} attempts, {report.evaluations} evaluations, "
        f"{report.metrics} metric rows; {report.read} files read, {report.removed} gone, "
        f"{report.seconds:.2f} s"
    )
    for refused in report.refused:
        print(f"refused {plain(refused.path)}: {plain(refused.reason)}")
