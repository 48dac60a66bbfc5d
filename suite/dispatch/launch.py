"""Carry out a plan on this machine, and bring the store up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.define.catalog import Catalog
from suite.dispatch.here import LocalDispatch
from suite.records.attempt import Attempt
from suite.records.files import Failure
from suite.runs.job import Assignment, Report
from suite.runs.plan import Item, Plan
from suite.runs.slots import Slot


@dataclass(frozen=True)
class Result:
    """What a command's runs came to.

    `reports` are of the runs worked on in this command; `interrupted` is True after Ctrl-C.
    """

    plan: Plan
    reports: dict[str, Report]
    interrupted: bool

    def state(self, item: Item) -> str:
        """done, failed, cancelled, stopped, stale or waiting."""
        report = self.reports.get(item.spec.run_id)
        if report is not None:
            return report.state
        return item.todo if item.todo in ("done", "failed", "stale", "waiting") else "stopped"

    @property
    def failures(self) -> list[tuple[Item, Failure]]:
        """Runs that failed, now or earlier and left as they are."""
        found = []
        for item in self.plan.items:
            report = self.reports.get(item.spec.run_id)
            failure = report.failure if report else item.status.failure if item.status else None
            if failure is not None and self.state(item) == "failed":
                found.append((item, failure))
        return found

    @property
    def unfinished(self) -> list[Item]:
        """Runs that somebody cancelled meanwhile, or whom nobody has in hand any more."""
        return [
            item
            for item in self.plan.items
            if (report := self.reports.get(item.spec.run_id)) is not None
            and report.state in ("cancelled", "stopped")
        ]


def assignments(
    items: Iterable[Item],
    root: Path,
    data_root: Path | None,
    *,
    checkpoint_seconds: float = 60.0,
    time_limit: float | None = None,
    sets: Sequence[str] = (),
    ranks: int = 1,
) -> list[Assignment]:
    """What the workers are to be told of those items that need work, in the same order."""
    wanted = time.time()
    return [
        Assignment(
            spec=item.spec,
            attempt=item.attempt.number,
            digest=item.digest,
            root=str(root),
            data_root=str(data_root) if data_root else None,
            checkpoint_seconds=checkpoint_seconds,
            time_limit=time_limit,
            evaluate_only=item.todo == "evaluate",
            sets=list(sets),
            wanted=wanted,
            ranks=ranks,
        )
        for item in items
        if item.work
    ]


def launch(
    plan: Plan,
    work: Sequence[Assignment],
    slots: Sequence[Slot],
    *,
    plugins: Sequence[Path] = (),
    on_report: Callable[[Report], None] = lambda _: None,
) -> Result:
    """Run the work here; returns when all of it is through or Ctrl-C has stopped it in order."""
    if not work:
        return Result(plan, {}, False)
    for assignment in work:
        if assignment.spec.inputs:
            # on disk before the first run is through: `prune` must know whose weights are wanted
            attempt = Attempt(Path(assignment.root), assignment.spec.run_id, assignment.attempt)
            attempt.create(assignment.spec)
    dispatch = LocalDispatch(slots, plugins, on_report)
    reports = dispatch.run(work)
    return Result(plan, reports, dispatch.interrupted)


def update_store(root: Path, catalog: Catalog) -> None:
    """Ingest what is new."""
    from suite.store.ingest import ingest

    ingest(root, catalog.tasks(), catalog.code)
