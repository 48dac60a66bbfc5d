"""`cancel`: take runs out of the queue, and end those that run."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.options import Plugins, Root


def cancel(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run ids, or the first few digits.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="Every run of this task.", show_default=False),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every run that waits or runs.")] = False,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Cancel runs, here and on the cluster. What runs is checkpointed; nothing is deleted.

    \b
    Examples:
      python -m suite cancel 3f2a9c
      python -m suite cancel --task longtail-seg
      python -m suite cancel --all
    """
    from suite import settings
    from suite.catalog import Catalog
    from suite.dispatch.standing import cancel_jobs
    from suite.errors import UserError
    from suite.hold import cancel as ask
    from suite.survey import pick, survey

    if sum((bool(runs), task is not None, all_)) != 1:
        raise UserError("cancel what? Name runs, or say --task TASK or --all (one of the three)")
    results = settings.results_root(root)
    catalog = Catalog.load(plugin)
    if task is not None:
        catalog.task(task)
    known, problem = survey(results, catalog)
    chosen = pick(known, runs) if runs else [r for r in known if task is None or task in r.tasks]
    active = [run for run in chosen if run.state in ("queued", "running")]
    for run in active:
        ask(results, run.spec.run_id)
    ended = cancel_jobs(results)
    print(
        f"{len(active)} run(s) cancelled"
        + (f", {len(ended)} job(s) ended on the cluster" if ended else "")
        + ("; what runs here stops within a second" if any(not r.place for r in active) else "")
    )
    for run in chosen if runs else ():
        if run not in active:
            print(f"run {run.spec.run_id} is {run.state}: nothing to cancel")
    if problem:
        raise UserError(f"{problem}: jobs there read the request when they come to the run")
