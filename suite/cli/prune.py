"""`prune`: remove kept weights."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.options import Root


def prune(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run ids, or the first few digits. Default: all.")
    ] = None,
    all_: Annotated[
        bool,
        typer.Option("--all", help="Also the newest attempts' weights, not superseded ones alone."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    root: Root = None,
) -> None:
    """Remove kept weights to free space; records, predictions and scores stay.

    Weights of a run that another one names as its input are never removed. Without its weights a run
    gets no further prediction set (`predict`), and is trained again where a new run needs it.

    \b
    Examples:
      python -m suite prune --dry-run
      python -m suite prune --all --dry-run
      python -m suite prune 3f2a9c --all
    """
    from suite import settings
    from suite.cli.output import console, table
    from suite.prune import remove, survey_weights
    from suite.showing import find_run

    results = settings.results_root(root)
    chosen = {find_run(results, run) for run in runs or ()}
    kept = survey_weights(results, all_=all_, runs=chosen)
    going = [one for one in kept if not one.why]
    # with ids given, say of each why it stays
    shown = kept if chosen else going
    if shown:
        rows = [
            (
                one.attempt.run_id,
                one.spec.method,
                one.spec.seed,
                one.attempt.number,
                f"{one.size / 2**20:,.1f} MiB",
                f"stays: {one.why}" if one.why else "goes",
            )
            for one in shown
        ]
        console().print(table(("run", "method", "seed", "attempt", "weights", ""), rows))
    if dry_run:
        print(f"{sum(one.size for one in going) / 2**20:,.1f} MiB would be freed")
        return
    freed, busy = remove(going)
    print(f"{freed / 2**20:,.1f} MiB freed")
    for one in busy:
        print(f"run {one.attempt.run_id} is in use by another process: left as it is")
