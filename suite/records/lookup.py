"""Runs below a results root, found by their ids or the first digits of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from suite.base.errors import RecordError, UserError
from suite.define.spec import RunSpec
from suite.records.attempt import Attempt, attempts
from suite.records.files import RUN_ID, read


def find_spec(root: Path, run_id: str) -> RunSpec | None:
    """The spec of a run, from the newest attempt where one can be read and is that run's."""
    for attempt in reversed(attempts(root, run_id)):
        for read_spec in (_spec_of, _recorded_spec):
            try:
                spec = read_spec(attempt)
            except (FileNotFoundError, RecordError):
                continue
            if spec.run_id == run_id:
                return spec
    return None


def _spec_of(attempt: Attempt) -> RunSpec:
    return read(RunSpec, attempt.path / "spec.json")


def _recorded_spec(attempt: Attempt) -> RunSpec:
    return attempt.record().spec


def all_attempts(root: Path) -> Iterator[Attempt]:
    """Every attempt below `root`, runs in the order of their ids."""
    try:
        names = os.listdir(root / "runs")
    except (FileNotFoundError, NotADirectoryError):
        return
    for run_id in sorted(name for name in names if RUN_ID.fullmatch(name)):
        yield from attempts(root, run_id)


def find_run(root: Path, prefix: str) -> str:
    """The run id that begins with `prefix`. Raises UserError: none, or several."""
    if RUN_ID.fullmatch(prefix) and (root / "runs" / prefix).is_dir():
        return prefix  # of 100,000 folders, the list alone takes a while
    try:
        names = os.listdir(root / "runs")
    except (FileNotFoundError, NotADirectoryError):
        names = []
    names = sorted(name for name in names if RUN_ID.fullmatch(name) and name.startswith(prefix))
    if len(names) == 1 and prefix:
        return names[0]
    if names:
        raise UserError(f"run {prefix!r} is not one run but {len(names)}: {', '.join(names[:5])}")
    raise UserError(f"no run {prefix!r} below {root / 'runs'}; see `leaderboard --format json`")


def newest_finished(root: Path, run_id: str) -> Attempt:
    """The newest attempt with a record. Raises UserError if there is none."""
    finished = [attempt for attempt in attempts(root, run_id) if attempt.finished]
    if not finished:
        raise UserError(f"run {run_id} is not finished; see `python -m suite show {run_id}`")
    return finished[-1]
