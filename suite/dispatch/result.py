"""What the runs of one command came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from suite.records.files import Failure
from suite.records.states import ResultState
from suite.runs.job import Report
from suite.runs.plan import Plan
from suite.runs.todo import PlannedRun


@dataclass(frozen=True)
class Result:
    """What a command's runs came to.

    `reports` are of the runs worked on in this command; `interrupted` is True after Ctrl-C.
    """

    plan: Plan
    reports: Mapping[str, Report]
    interrupted: bool

    def state(self, item: PlannedRun) -> ResultState:
        """By its report, else by the plan."""
        report = self.reports.get(item.spec.run_id)
        if report is not None:
            return report.state
        todo = item.todo
        if todo == "done" or todo == "failed" or todo == "stale" or todo == "waiting":
            return todo
        return "stopped"

    @property
    def failures(self) -> list[tuple[PlannedRun, Failure]]:
        """Runs that failed, now or earlier and left as they are."""
        found = []
        for item in self.plan.items:
            report = self.reports.get(item.spec.run_id)
            failure = report.failure if report else item.status.failure if item.status else None
            if failure is not None and self.state(item) == "failed":
                found.append((item, failure))
        return found

    @property
    def unfinished(self) -> list[PlannedRun]:
        """Runs that somebody cancelled meanwhile, or whom nobody has in hand any more."""
        return [
            item
            for item in self.plan.items
            if (report := self.reports.get(item.spec.run_id)) is not None
            and report.state in ("cancelled", "stopped")
        ]
