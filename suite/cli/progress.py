"""Progress of a `run`: Rich on a terminal, plain lines elsewhere. All of it goes to stderr, so that
the leaderboard on stdout can be piped."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from suite.base.command import Command
from suite.cli.output import clean, params
from suite.define.spec import spelled
from suite.dispatch.result import Result
from suite.records.again import Wanted, run_commands, setting
from suite.render.table import duration
from suite.runs.job import Assignment, Report
from suite.runs.plan import Plan
from suite.runs.todo import PlannedRun

_PLAIN_EVERY_SECONDS = 15.0


class Progress:
    """Shows the runs of one command; a context manager whose `update` takes the reports.

    `where` says how the work is carried out, such as `2 at a time on cpu`.
    """

    def __init__(self, plan: Plan, work: Sequence[Assignment], where: str) -> None:
        self.plan, self.work, self.where = plan, work, where
        # long lines are for the terminal, or the log file, to wrap
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.names = _names(plan)
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
                f"again:\n  {_lines(_stale_commands(plan))}"
            )
        if waiting := plan.count("waiting"):
            console.print(
                f"{waiting} run(s) wait for a run that has failed, is stale or in a cluster job; see:\n"
                f"  {_lines([_plan_command(plan)])}"
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
            console.print(f"To try them again:\n  {_lines([_retry_command(result)])}")

    def left_to_cluster(self) -> None:
        """Say that Ctrl-C has ended the watching, not the jobs."""
        look, end = Command("status"), Command("cancel", "--all")
        self.console.print(f"The jobs go on. Look: {clean(look)}; end them: {clean(end)}")


def _names(plan: Plan) -> dict[str, str]:
    """Run id -> `ce seed 0`, with what `--set` gave it where that tells it from another run."""
    short = {item.spec.run_id: f"{item.spec.method} seed {item.spec.seed}" for item in plan.items}
    counts = Counter(short.values())
    return {
        item.spec.run_id: f"{name} {params(item.changed)}".rstrip() if counts[name] > 1 else name
        for item in plan.items
        for name in [short[item.spec.run_id]]
    }


def _lines(commands: Sequence[object]) -> str:
    return escape("\n  ".join(map(str, commands)))


def _retry_command(result: Result) -> Command:
    """`retry` for the runs that failed."""
    runs = [item.spec.run_id[:8] for item, _ in result.failures]
    kinds = sorted({failure.kind for _, failure in result.failures})
    named = runs if len(runs) <= 6 else [word for kind in kinds for word in ("--kind", kind)]
    return Command("retry", *named)


def _stale_commands(plan: Plan) -> Sequence[object]:
    if sys.argv[1:2] == ["run"]:
        return [f"{_own_command()} --stale"]
    stale = [item for item in plan.items if item.todo == "stale"]
    wanted = [Wanted(*_wanted(item), (item.spec.seed,)) for item in stale]
    return run_commands(plan.task.name, plan.protocol.name, wanted, "--stale")


def _plan_command(plan: Plan) -> Command:
    """`plan` for what was asked for."""
    asked = [item for item in plan.items if not item.input_of]
    words = ["--method", ",".join(dict.fromkeys(item.spec.method for item in asked))]
    for text in dict.fromkeys(text for item in asked for text in _wanted(item)[1]):
        words += ["--set", text]
    under = ["--task", plan.task.name, "--protocol", plan.protocol.name]
    return Command("plan", *under, *words, "--seeds", spelled(item.spec.seed for item in asked))


def _wanted(item: PlannedRun) -> tuple[str, tuple[str, ...]]:
    """A run's method, and the `--set` texts that it was asked for with."""
    method = item.spec.method
    return method, tuple(setting(method, key, value) for key, value in item.changed.items())


def _own_command(without: str = "") -> str:
    return "python -m suite " + shlex.join(word for word in sys.argv[1:] if word != without)
