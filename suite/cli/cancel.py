"""`cancel`: take runs out of the queue, and end those that run."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.completion import task_names
from suite.cli.options import Plugins, Root, catalog_at


def cancel(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run ids, or the first few digits.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", autocompletion=task_names, help="Every run of this task.", show_default=False
        ),
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
    from suite.base import settings
    from suite.base.errors import UserError
    from suite.dispatch.reconcile import cancel_jobs
    from suite.dispatch.states import select_runs, survey
    from suite.records import lease

    if sum((bool(runs), task is not None, all_)) != 1:
        raise UserError("cancel what? Name runs, or say --task TASK or --all (one of the three)")
    results = settings.existing_root(root)
    catalog = catalog_at(plugin, results)
    if task is not None:
        catalog.task(task)
    known, before = survey(results, catalog, settle=False)
    chosen = (
        select_runs(known, runs) if runs else [r for r in known if task is None or task in r.tasks]
    )
    # also what has failed or waits: another command may be about to take it up
    open_runs = [run for run in chosen if run.job or run.state not in ("done", "stale")]
    active = [run for run in open_runs if run.state in ("queued", "running")]
    if runs:
        for run in open_runs:
            lease.cancel(results, run.spec.run_id)
    elif known:
        # requests are for runs that only another machine knows of too: under any protocol of the task
        of_task = None if task is None else [p.hash for p in catalog.task(task).protocols]
        lease.cancel_all(results, of_task)
    ended = cancel_jobs(results) if before.submitted else []
    here = any(run.state == "running" and run.job is None for run in active)
    print(
        f"{len(active)} run(s) cancelled"
        + (f", {len(ended)} job(s) ended on the cluster" if ended else "")
        + ("; what runs on this machine stops within a second" if here else "")
    )
    for run in chosen if runs else ():
        if run not in active:
            print(f"run {run.spec.run_id} is {run.state}: nobody is at it")
    if before.problem:
        raise UserError(f"{before.problem}; jobs there leave the runs alone when they come to them")
