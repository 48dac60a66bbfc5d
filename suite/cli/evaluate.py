"""`evaluate`: scores from stored predictions, without training."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.completion import task_names
from suite.cli.options import Plugins, Root, catalog_at


def evaluate(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run ids. Default: every finished run.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            autocompletion=task_names,
            help="Task. Default: every task of the protocol.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also where the evaluation exists already.")
    ] = False,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Evaluate stored predictions; nothing is trained.

    \b
    Examples:
      python -m suite evaluate
      python -m suite evaluate 3f2a9c --task longtail-seg --again
    """
    import sys

    from suite.base import settings
    from suite.base.errors import RecordError
    from suite.records.lookup import all_attempts, find_run, newest_finished
    from suite.runs.evaluate import evaluate_attempt
    from suite.store.ingest import update_store

    results = settings.existing_root(root)
    catalog = catalog_at(plugin, results)
    tasks = [catalog.task(task)] if task else list(catalog.tasks().values())
    if runs:
        chosen = [newest_finished(results, find_run(results, run)) for run in runs]
    else:
        chosen = [attempt for attempt in all_attempts(results) if attempt.finished]
    made = refused = other = 0
    for attempt in chosen:
        try:
            spec = attempt.record().spec
            protocol = catalog.protocol_with(spec.protocol_hash, spec.protocol)
            if protocol is None:
                other += 1
                continue
            for one in tasks:
                if protocol in one.protocols:
                    made += (
                        evaluate_attempt(attempt, one, protocol, catalog, again=again) is not None
                    )
        except RecordError as error:
            refused += 1
            print(f"refused: {error}", file=sys.stderr)
    update_store(results, catalog)
    print(f"{made} evaluation(s) made from {len(chosen)} finished run(s)")
    if other:
        print(f"{other} run(s) belong to protocols that no task here accepts: left as they are")
    if refused:
        sys.exit(1)
