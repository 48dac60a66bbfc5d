"""Stored metrics against stored predictions, and a record against itself.

Every metric row of an evaluation is recomputed from the run's arrays by the task's `evaluate` and
compared. Nothing is written. The files may be a stranger's: they are read through `read_file` and
`read_arrays`, which bound what they take and follow no link.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.bounded import read_arrays
from suite.base.command import Command
from suite.base.errors import RecordError, UserError
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.exchange.attempt_files import AttemptFiles, read_attempt
from suite.exchange.comparison import Comparison, compare
from suite.exchange.consistency import record_problems, row_problems
from suite.records.attempt import Attempt, attempts
from suite.records.files import ATTEMPT, RUN_ID, Evaluation, Record
from suite.records.lookup import all_attempts, find_run, newest_finished
from suite.runs.evaluate import metric_rows

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class CheckedEvaluation:
    """One stored evaluation. `state`: match, mismatch, version (of another version of the task or its
    settings, not compared), task (of a task not known here) or damaged; `why` says more."""

    task: str
    evaluation_hash: str
    state: str
    compared: Comparison = field(default_factory=Comparison)
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """What `verify` found of one finished attempt. `problems` are lines; it `holds` where there is none,
    no evaluation contradicts the predictions and at least one was recomputed."""

    run_id: str
    attempt: int
    method: str
    protocol: str
    seed: int | None
    problems: tuple[str, ...] = ()
    evaluations: tuple[CheckedEvaluation, ...] = ()

    @property
    def holds(self) -> bool:
        states = {evaluation.state for evaluation in self.evaluations}
        return not self.problems and "match" in states and states <= {"match", "version", "task"}


def check_evaluations(
    attempt: Attempt,
    files: AttemptFiles,
    predictions: Mapping[str, Mapping[str, Array]],
    protocol: Protocol,
    catalog: Catalog,
) -> tuple[list[CheckedEvaluation], dict[str, list[MetricRow]]]:
    """Every evaluation of an attempt, and the recomputed rows, task name -> rows. Raises nothing for what
    the files hold: an evaluation that cannot be recomputed is `damaged`."""
    checked: list[CheckedEvaluation] = []
    recomputed: dict[str, list[MetricRow]] = {}
    failed: dict[str, str] = {}
    tasks = {name: t for name, t in catalog.tasks().items() if protocol in t.protocols}
    for name, task in tasks.items():
        try:
            recomputed[name] = _recompute(
                attempt, files.record, predictions, task, protocol, catalog
            )
        except RecordError as error:
            failed[name] = str(error)
    for stored in files.evaluations:
        task_here = tasks.get(stored.task)
        where = stored.task, stored.evaluation_hash
        if task_here is None:
            checked.append(
                CheckedEvaluation(*where, "task", why="no task of that name accepts its protocol")
            )
            continue
        settings = task_here.evaluation(protocol)
        if stored.evaluation_hash != task_here.evaluation_hash(protocol):
            checked.append(CheckedEvaluation(*where, "version", why=_version(stored, settings)))
            continue
        problems = row_problems(stored.metrics, task_here)
        if stored.evaluation and stored.evaluation != settings:
            problems.append("its settings are not those that its hash stands for")
        if stored.task in failed:
            problems.append(f"cannot be recomputed: {failed[stored.task]}")
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            checked.append(CheckedEvaluation(*where, "damaged", why=problems[0] + more))
            continue
        compared = compare(stored.metrics, recomputed[stored.task])
        state = "mismatch" if compared.mismatches else "match"
        checked.append(CheckedEvaluation(*where, state, compared))
    return checked, recomputed


def _version(stored: Evaluation, settings: Mapping[str, Any]) -> str:
    before, now = stored.evaluation.get("version"), settings["version"]
    if before is not None and before != now:
        return f"made by version {str(before)[:20]} of the task, today's is {now}"
    return "made with other settings of the task than today's"


def _recompute(
    attempt: Attempt,
    record: Record,
    predictions: Mapping[str, Mapping[str, Array]],
    task: Task,
    protocol: Protocol,
    catalog: Catalog,
) -> list[MetricRow]:
    import numpy as np

    settings = task.evaluation(protocol)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            # of empty means: arrays without samples are refused or give nulls, and say so
            warnings.simplefilter("ignore", RuntimeWarning)
            return metric_rows(attempt, record, predictions, task, settings, catalog)
    except RecordError:
        raise
    except Exception as error:
        # arrays that no run stores break the arithmetic somewhere
        text = " ".join(str(error).split())[:200]
        raise RecordError(f"{type(error).__name__}: {text}") from None


def verify(attempt: Attempt, catalog: Catalog) -> Verdict:
    """Recompute the metrics of a finished attempt and look its record over; nothing is written."""
    try:
        files = read_attempt(attempt.path)
    except RecordError as error:
        return Verdict(attempt.run_id, attempt.number, "", "", None, (str(error),))
    record = files.record
    spec = record.spec
    protocol = catalog.protocol_with(spec.protocol_hash, spec.protocol)
    problems = [*files.problems, *record_problems(record, protocol, catalog)]
    if (record.run_id, record.attempt) != (attempt.run_id, attempt.number):
        problems.append(
            f"says run {record.run_id}, attempt {record.attempt}; lies in the folder of run "
            f"{attempt.run_id}, attempt {attempt.number}"
        )
    checked: list[CheckedEvaluation] = []
    if protocol is None:
        problems.append(f"protocol {spec.protocol!r} ({spec.protocol_hash}) is not known here")
    else:
        try:
            predictions = read_arrays(attempt.path / "predictions.npz")
        except RecordError as error:
            problems.append(str(error))
        else:
            checked, _ = check_evaluations(attempt, files, predictions, protocol, catalog)
            if not any(e.state in ("match", "mismatch", "damaged") for e in checked):
                problems.append(
                    "no evaluation of today's version to compare: "
                    f"{Command('evaluate', record.run_id)}"
                )
    return Verdict(
        attempt.run_id,
        attempt.number,
        spec.method,
        spec.protocol,
        spec.seed,
        tuple(problems),
        tuple(checked),
    )


def attempts_named(root: Path, names: Sequence[str]) -> list[Attempt]:
    """The attempts that `verify` is asked about: of a run id the newest finished one, of a folder every
    finished one; without names every finished one below `root`. Raises UserError."""
    if not names:
        return [attempt for attempt in all_attempts(root) if attempt.finished]
    asked: list[Attempt] = []
    for name in names:
        folder = Path(name)
        if folder.is_dir() and (os.sep in name or not _is_run(root, name)):
            asked += finished_in(folder.absolute())
        elif os.sep in name:
            raise UserError(f"{name}: no such folder")
        else:
            asked.append(newest_finished(root, find_run(root, name)))
    return asked


def _is_run(root: Path, name: str) -> bool:
    try:
        find_run(root, name)
    except UserError:
        return False
    return True


def finished_in(folder: Path) -> list[Attempt]:
    """Finished attempts in a results folder, in a run's folder, or the one that `folder` is. Raises
    UserError where there is none."""
    if (folder / "record.json").exists():
        parent = folder.parent.name
        run_id, number = (parent, folder.name) if RUN_ID.fullmatch(parent) else ("", "")
        if not ATTEMPT.fullmatch(number):
            record = read_attempt(folder).record
            run_id, number = record.run_id, str(record.attempt)
        return [Attempt(folder.parent.parent.parent, run_id, int(number), folder=folder)]
    if RUN_ID.fullmatch(folder.name) and folder.parent.name == "runs":
        known = attempts(folder.parent.parent, folder.name)
    else:
        known = list(all_attempts(folder))
    finished = [attempt for attempt in known if attempt.finished]
    if not finished:
        raise UserError(
            f"{folder}: no finished run in it; name a folder that holds runs/<run id>/<attempt>/"
        )
    return finished
