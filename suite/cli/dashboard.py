"""`dashboard`: the leaderboards in a browser."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from suite.cli.options import Plugins, ProposedDataRoot, Root, catalog_at


def dashboard(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8501,
    address: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Default: this machine alone; 0.0.0.0: whoever reaches it."
        ),
    ] = "127.0.0.1",
    root: Root = None,
    data_root: ProposedDataRoot = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Serve the dashboard until Ctrl-C: boards, classes, comparisons, runs, jobs, claims.

    It follows runs as they finish, and sends nothing anywhere but to your browser.

    \b
    Examples:
      python -m suite dashboard
      python -m suite dashboard --root /data/results --port 8600
    """
    from importlib import import_module

    from suite.base import settings
    from suite.base.command import answered
    from suite.base.errors import UserError
    from suite.store.connection import store_path
    from suite.store.ingest import refresh

    # the command line stands above all packages; `suite` itself imports none of the dashboard
    serve = import_module("dashboard.serve")
    serve.check_free(address, port)
    results = settings.existing_root(root, or_none_yet=True)
    catalog = catalog_at(plugin, results)
    if (results / "runs").is_dir():
        try:
            refresh(results, catalog.tasks(), catalog.code)
        except UserError as error:
            # somebody else's results, perhaps: they can be looked at all the same
            if not store_path(results).exists():
                raise
            print(f"not brought up to date: {error}", file=sys.stderr)
    serve.serve(results, plugin, address, port, catalog, answered())
