"""`status`: where every run stands, on this machine and on the cluster."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.cli.completion import task_names
from suite.cli.options import (
    Methods,
    Plugins,
    ProposedDataRoot,
    ProtocolName,
    Root,
    catalog_at,
    parse_format,
    parse_seeds,
)

if TYPE_CHECKING:
    from rich.console import Group

    from suite.define.catalog import Catalog
    from suite.dispatch.reconcile import ClusterState
    from suite.dispatch.states import TrackedRun

SHOWN = 20
"""Runs listed by name of each kind; the JSON has them all."""


def status(
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            autocompletion=task_names,
            help="Only this task; what it lacks is shown as planned.",
            show_default=False,
        ),
    ] = None,
    method: Methods = [],  # noqa: B006 - typer copies defaults
    protocol: ProtocolName = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", help="With --task: seeds wanted. Default: 0.", show_default=False),
    ] = None,
    state: Annotated[
        list[str],
        typer.Option("--state", metavar="STATE", help="Only this state; repeatable."),
    ] = [],  # noqa: B006
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again until nothing runs or waits any more.")
    ] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.")] = 10.0,
    root: Root = None,
    data_root: ProposedDataRoot = None,
    plugin: Plugins = [],  # noqa: B006
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Show the state of the runs: planned, queued, running, done, failed, stale.

    The cluster's queue is asked; runs that it has lost are marked as failed, with the reason.

    \b
    Examples:
      python -m suite status
      python -m suite status --task longtail-seg --seeds 0,1,2 --watch
      python -m suite status --state failed --format json
    """
    import time

    from suite.base import settings
    from suite.base.errors import UserError, did_you_mean
    from suite.cli.output import console, print_rows
    from suite.records.states import RUN_STATES

    parse_format(format, ("table", "json"))
    for name in state:
        if name not in RUN_STATES:
            raise UserError(f"--state {name!r}: no such state{did_you_mean(name, RUN_STATES)}")
    if not 0.5 <= interval <= 86400:
        raise UserError(f"--interval {interval:g}: 0.5 seconds or more")
    if watch and format == "json":
        raise UserError("--watch is for people; with --format json ask again yourself")
    results = settings.existing_root(root, or_none_yet=True)
    catalog = catalog_at(plugin, results)
    if task is not None:
        catalog.task(task)
    elif protocol is not None or seeds is not None:
        raise UserError("--protocol and --seeds say what is wanted of a task: give --task too")
    wanted_seeds = parse_seeds(seeds or "0")

    def look() -> tuple[list[TrackedRun], ClusterState]:
        return _look(results, catalog, task, protocol, method, wanted_seeds)

    def view() -> Group:
        return _view([run for run in found if not state or run.state in state], now)

    found, now = look()
    for name in method:
        if not any(run.spec.method == name for run in found):
            # a name that nothing here has: say what there is
            catalog.card_for(None if task is None else catalog.task(task), name)
    if format == "json":
        chosen = [run.as_dict() for run in found if not state or run.state in state]
        print_rows("status", chosen, problem=now.problem)
        return
    out = console()
    if not watch:
        out.print(view())
        return
    from rich.live import Live

    from suite.cli.streams import reader_gone

    shown: Any = None
    with Live(console=out, auto_refresh=False, transient=True) as live:
        while True:
            counts = Counter(run.state for run in found)
            if out.is_terminal:
                live.update(view(), refresh=True)
            elif counts != shown:
                print(", ".join(f"{count} {name}" for name, count in counts.items()), flush=True)
                shown = counts
            if not counts["running"] and not counts["queued"] and now.silent is None:
                break
            if reader_gone():
                return
            try:
                time.sleep(interval)
            except KeyboardInterrupt:
                sys.exit(130)
            found, now = look()
    out.print(view())


def _look(
    root: Path,
    catalog: Catalog,
    task: str | None,
    protocol: str | None,
    methods: Sequence[str],
    seeds: Sequence[int],
) -> tuple[list[TrackedRun], ClusterState]:
    from suite.base import settings
    from suite.dispatch.states import survey

    wanted, only = [], None
    if task is not None:
        under = catalog.protocol(catalog.task(task), protocol or settings.default_protocol(task))
        wanted = [
            catalog.spec(name, under, seed)
            for name in methods or catalog.methods(task)
            for seed in seeds
        ]
        only = under.hash if protocol is not None else None
    states, now = survey(root, catalog, wanted)
    return [
        run
        for run in states
        if (task is None or task in run.tasks)
        and (only is None or run.spec.protocol_hash == only)
        and (not methods or run.spec.method in methods)
    ], now


def _view(found: Sequence[TrackedRun], now: ClusterState) -> Group:
    """Counts by task, protocol and state; then the runs that run, wait or failed."""
    from rich.console import Group
    from rich.text import Text

    from suite.base.command import Command
    from suite.cli.output import clean, table
    from suite.dispatch.progress import failure_kinds
    from suite.records.states import RUN_STATES
    from suite.render.table import duration

    parts: list[Any] = []
    if now.problem:
        parts.append(Text.from_markup(f"[yellow]cluster:[/] {clean(now.problem)}\n"))
    if not found:
        parts.append(f"no runs yet: {Command('run', '--task', 'TASK')} (see `tasks`)")
        return Group(*parts)
    boards: dict[tuple[str, str], Counter[str]] = {}
    for run in found:
        key = ", ".join(run.tasks) or "-", run.spec.protocol
        boards.setdefault(key, Counter())[run.state] += 1
    columns = [name for name in RUN_STATES if any(counts[name] for counts in boards.values())]
    rows: list[Sequence[object]] = [
        (*key, *(counts[name] or "" for name in columns), sum(counts.values()))
        for key, counts in sorted(boards.items())
    ]
    parts.append(table(("task", "protocol", *columns, "runs"), rows))

    def listing(name: str, heads: Sequence[str], cells: Any) -> None:
        runs = [run for run in found if run.state == name]
        if not runs:
            return
        more = f", {SHOWN} of {len(runs)} shown" if len(runs) > SHOWN else ""
        rows = [
            (run.spec.run_id, run.spec.method, run.spec.seed, *cells(run)) for run in runs[:SHOWN]
        ]
        parts.append("")
        parts.append(table(("run", "method", "seed", *heads), rows, f"{name}{more}"))

    def running(run: TrackedRun) -> Sequence[object]:
        status = run.status
        assert status is not None
        steps = f"{status.step} of {status.total}" if status.total else str(status.step)
        eta = run.eta_seconds
        return steps, duration(eta) if eta is not None else "-", run.where

    def failed(run: TrackedRun) -> Sequence[object]:
        failure = run.status.failure if run.status else None
        return (failure.kind, failure.message) if failure else ("", "")

    listing("running", ("step", "left", "where"), running)
    listing("queued", ("where", "why it waits"), lambda run: (run.where, run.note))
    listing("stopped", ("step",), lambda run: (run.status.step if run.status else 0,))
    listing("cancelled", ("",), lambda run: (run.note,))
    listing("failed", ("kind", "what happened"), failed)
    parts.append("")
    states = Counter(run.state for run in found)
    kinds = failure_kinds(found)
    for name, meaning in RUN_STATES.items():
        if not states[name]:
            continue
        of_them = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        by_kind = f"({of_them}) " if name == "failed" and of_them else ""
        parts.append(f"{states[name]:>5} {name:<9} {by_kind}{meaning}")
    return Group(*parts)
