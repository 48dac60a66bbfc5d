"""Runs, found by their ids or the first digits of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from suite.base.command import Command
from suite.base.errors import RecordError, UserError
from suite.define.spec import RunSpec
from suite.records.attempt import Attempt, attempts
from suite.records.files import RUN_ID, read


def match_run(prefix: str, run_ids: Iterable[str], none: str, *, cut: bool = False) -> str:
    """The one of `run_ids` that begins with `prefix`.

    `cut`: there may be more that begin so than are given. Raises UserError: several, or none; `none` ends
    its line and says where was looked.
    """
    found = sorted({run_id for run_id in run_ids if prefix and run_id.startswith(prefix)})
    if len(found) == 1:
        return found[0]
    if found:
        count = "several" if cut else str(len(found))
        raise UserError(f"run {prefix!r} is not one run but {count}: {', '.join(found[:5])}")
    raise UserError(f"no run {prefix!r} {none}")


def find_run(root: Path, prefix: str) -> str:
    """The id of the run with a folder below `root` that begins with `prefix`. Raises UserError: none, or
    several."""
    if RUN_ID.fullmatch(prefix) and (root / "runs" / prefix).is_dir():
        return prefix  # of 100,000 folders, the list alone takes a while
    none = f"below {root / 'runs'}; see `{Command('status', '--format', 'json')}`"
    return match_run(prefix, run_folders(root), none)


def run_folders(root: Path) -> list[str]:
    """Ids of the runs that have a folder below `root`, in the order of the file system."""
    try:
        names = os.listdir(root / "runs")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in names if RUN_ID.fullmatch(name)]


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
    for run_id in sorted(run_folders(root)):
        yield from attempts(root, run_id)


def newest_finished(root: Path, run_id: str) -> Attempt:
    """The newest attempt with a record. Raises UserError if there is none."""
    finished = [attempt for attempt in attempts(root, run_id) if attempt.finished]
    if not finished:
        raise UserError(f"run {run_id} is not finished; see `{Command('show', run_id)}`")
    return finished[-1]
