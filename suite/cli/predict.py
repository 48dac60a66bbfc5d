"""`predict`: a further prediction set from a run's kept weights."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.options import DataRoot, Plugins, Root


def predict(
    run: Annotated[str, typer.Argument(help="Run id, or the first few digits of it.")],
    set_: Annotated[str, typer.Option("--set", help="Prediction set, see `tasks --format json`.")],
    root: Root = None,
    data_root: DataRoot = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Add a prediction set to a finished run, from its kept weights, and evaluate again.

    \b
    Examples:
      python -m suite predict 3f2a9c --set train
      python -m suite predict 3f2a9c --set val --data-root ~/data
    """
    from suite import settings
    from suite.catalog import Catalog
    from suite.launch import update_store
    from suite.predict import predict_set
    from suite.showing import find_run, newest_finished

    results = settings.results_root(root)
    catalog = Catalog.load(plugin)
    attempt = newest_finished(results, find_run(results, run))
    predict_set(attempt, catalog, set_, settings.data_root(data_root), device)
    update_store(results, catalog)
    print(f"{attempt.path / 'predictions.npz'}: set {set_!r} stored and evaluated")
