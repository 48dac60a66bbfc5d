"""`predict`: a further, or a lost, prediction set from a run's kept weights."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.options import DataRoot, Plugins, Root, catalog_at


def predict(
    runs: Annotated[list[str], typer.Argument(help="Run ids, or the first few digits of them.")],
    sets: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="SET", help="Prediction set, see `tasks --format json`; repeatable."
        ),
    ],
    root: Root = None,
    data_root: DataRoot = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Add prediction sets to finished runs, from their kept weights, and evaluate again.

    `test`, which every run stores itself, is made again where predictions.npz is lost or damaged.

    \b
    Examples:
      python -m suite predict 3f2a9c --set train
      python -m suite predict 3f2a9c 1b7d20 --set sharpness --data-root ~/data
      python -m suite predict 3f2a9c --set test
    """
    from suite.base import settings
    from suite.records.lookup import find_run, newest_finished
    from suite.runs.predict import predict_sets
    from suite.store.ingest import update_store

    results = settings.existing_root(root)
    catalog = catalog_at(plugin, results)
    # all that can be wrong with a name, before the first is begun
    chosen = [newest_finished(results, find_run(results, run)) for run in runs]
    for attempt in chosen:
        made = predict_sets(attempt, catalog, sets, settings.data_root(data_root), device)
        print(
            f"{attempt.path / 'predictions.npz'}: {', '.join(made)} stored and evaluated",
            flush=True,
        )
    update_store(results, catalog)
