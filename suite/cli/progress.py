"""Progress of a `run`: Rich on a terminal, plain lines elsewhere. All of it goes to stderr, so that
the leaderboard on stdout can be piped."""

from __future__ import annotations

import itertools
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from suite.cli.output import clean
from suite.dispatch.result import Result
from suite.render.table import duration
from suite.runs.job import Assignment, Report
from suite.runs.plan import Plan

_PLAIN_EVERY_SECONDS = 15.0


class Progress:
    """Shows the runs of one command; a context manager whose `update` takes the reports.

    `where` says how the work is carried out, such as `2 at a time on cpu`.
    """

    def __init__(self, plan: Plan, work: Sequence[Assignment], where: str) -> None:
        self.plan, self.work, self.where = plan, work, where
        # long lines are for the terminal, or the log file, to wrap
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.names = {
            item.spec.run_id: f"{item.spec.method} seed {item.spec.seed}" for item in plan.items
        }
        self.width = max(map(len, self.names.values()), default=10)
        self.finished = 0
        self.began = time.monotonic()
        self._started: dict[str, tuple[float, int]] = {}
        self._said: dict[str, float] = {}
        self._bars: Bars | None = None
        self._suite: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        plan, total = self.plan, len(self.work)
        done = plan.count("done")
        if not total:
            return self
        self.console.print(
            f"{plan.task.name} under [bold]{escape(plan.protocol.name)}[/]: {total} to do, {done} done; "
            f"{self.where}"
        )
        if self.console.is_terminal:
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[eta]}"),
                console=self.console,
                transient=True,
            )
            self._suite = self._bars.add_task("all runs".ljust(self.width), total=total, eta="")
            self._bars.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, report: Report) -> None:
        """Take a worker's report."""
        if report.state == "running":
            self._advance(report)
            return
        self.finished += 1
        name = self.names.get(report.run_id, report.run_id).ljust(self.width)
        place = f"[{self.finished}/{len(self.work)}]"
        if report.failure is not None:
            failure = report.failure
            text = f"[red]failed({failure.kind})[/] {clean(failure.message)}"
        else:
            text = f"{report.state} in {duration(report.seconds)}"
        self.console.print(f"{escape(place):>8} {escape(name)} {text}")
        if self._bars is not None:
            if report.run_id in self._tasks:
                self._bars.remove_task(self._tasks.pop(report.run_id))
            left = len(self.work) - self.finished
            pace = (time.monotonic() - self.began) / self.finished
            eta = f"about {duration(pace * left)} left" if left else ""
            self._bars.update(self._suite, completed=self.finished, eta=eta)

    def _advance(self, report: Report) -> None:
        if report.warning:
            name = self.names.get(report.run_id, report.run_id)
            self.console.print(f"[yellow]warning:[/] {escape(name)}: {clean(report.warning)}")
            return
        now = time.monotonic()
        run_id, total = report.run_id, report.total
        since, first = self._started.setdefault(run_id, (now, report.step))
        pace = (now - since) / max(report.step - first, 1)
        eta = (
            duration(pace * (total - report.step)) + " left"
            if total and report.step > first
            else ""
        )
        name = self.names.get(run_id, run_id)
        if self._bars is not None:
            if run_id not in self._tasks:
                label = escape(name.ljust(self.width))
                self._tasks[run_id] = self._bars.add_task(label, total=total, eta="")
            self._bars.update(self._tasks[run_id], completed=report.step, total=total, eta=eta)
        elif now - self._said.get(run_id, since) > _PLAIN_EVERY_SECONDS:
            self._said[run_id] = now
            self.console.print(f"         {name}: step {report.step} of {total}, {eta}")
        else:
            self._said.setdefault(run_id, since)

    def summary(self, result: Result) -> None:
        """Say what came of it and what to type next."""
        console, plan = self.console, result.plan
        if not self.work:
            console.print(f"{plan.task.name} under {escape(plan.protocol.name)}: nothing to do")
        command = _own_command()
        if result.interrupted:
            done = sum(report.state == "done" for report in result.reports.values())
            fresh = "--fresh" in sys.argv
            console.print(
                f"Stopped: {done} of {len(self.work)} done; what was running is checkpointed. "
                # with --fresh what has just been trained would be trained once more
                f"To go on:\n  {escape(_own_command(without='--fresh'))}"
                + ("\nRuns not begun anew keep their old records; name them to --fresh." * fresh)
            )
            return
        stale = plan.count("stale")
        if stale:
            console.print(
                f"{stale} run(s) are stale: their method's code has changed since. To train them "
                f"again:\n  {escape(command)} --stale"
            )
        if waiting := plan.count("waiting"):
            console.print(
                f"{waiting} run(s) wait for a run that has failed, is stale or in a cluster job; see:\n"
                f"  {escape(_plan_command())}"
            )
        if result.unfinished:
            console.print(
                f"{len(result.unfinished)} run(s) were cancelled or stopped meanwhile; to go on:\n"
                f"  {escape(command)}"
            )
        for item, failure in result.failures:
            console.print(
                f"[red]failed({failure.kind})[/] {escape(self.names[item.spec.run_id])}: "
                f"{clean(failure.message)}; log: {escape(str(item.attempt.path / 'log.txt'))}",
            )
        if result.failures:
            console.print(f"To try them again:\n  {escape(_retry_command(result))}")

    def left_to_cluster(self) -> None:
        """Say that Ctrl-C has ended the watching, not the jobs."""
        self.console.print(
            "The jobs go on. Look: python -m suite status; end them: python -m suite cancel --all"
        )


def _retry_command(result: Result) -> str:
    """`retry` for the runs that failed, below the same root and with the same plug-ins."""
    runs = [item.spec.run_id[:8] for item, _ in result.failures]
    kinds = sorted({failure.kind for _, failure in result.failures})
    named = runs if len(runs) <= 6 else [word for kind in kinds for word in ("--kind", kind)]
    kept = [
        word
        for option, value in itertools.pairwise(sys.argv[1:])
        if option in ("--root", "--plugin")
        for word in (option, value)
    ]
    return "python -m suite retry " + shlex.join([*named, *kept])


def _plan_command() -> str:
    """`plan` for what this command wants."""
    kept = [
        word
        for option, value in itertools.pairwise(sys.argv[2:])
        if option in ("--task", "--protocol", "--method", "--seeds", "--set", "--root", "--plugin")
        for word in (option, value)
    ]
    return "python -m suite plan " + shlex.join(kept)


def _own_command(without: str = "") -> str:
    return "python -m suite " + shlex.join(word for word in sys.argv[1:] if word != without)
