"""Removing what a survey has found, after another look at it under the run's lock."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from suite.define.spec import RunSpec
from suite.records.attempt import Attempt, attempts
from suite.records.lease import is_leased, run_lock
from suite.upkeep.prune.need import inputs_named, is_sound, why_named
from suite.upkeep.prune.survey import Candidate
from suite.upkeep.prune.temporary import is_dead


@dataclass(frozen=True)
class Remaining:
    """Something that was to go and is still there, and why; `failed` where it could not be removed,
    else somebody is at its run or it is needed again."""

    candidate: Candidate
    why: str
    failed: bool = False


def remove(candidates: Iterable[Candidate]) -> tuple[int, list[Remaining]]:
    """Remove those that may go; the bytes freed, and what was left.

    Whatever belongs to a run goes under the run's lock, after another look: whether somebody is at the
    run, and whether it has become needed since the survey.
    """
    freed, remaining = 0, []
    named: dict[Path, dict[str, RunSpec]] = {}
    for candidate in candidates:
        if not candidate.goes:
            continue
        root = candidate.attempt.root if candidate.attempt else None
        if root is not None and candidate.kind in ("weights", "attempt") and root not in named:
            named[root] = inputs_named(root)
        try:
            with _held(candidate) as mine:
                why = "in use by another process"
                if mine:
                    why = _needed(candidate, named.get(root, {}) if root else {})
                if why:
                    remaining.append(Remaining(candidate, why))
                    continue
                discard(candidate.path, whole=candidate.kind == "attempt")
                freed += candidate.size
        except OSError as error:
            remaining.append(
                Remaining(candidate, f"cannot be removed ({error.strerror or error})", failed=True)
            )
    return freed, remaining


def discard(path: Path, *, whole: bool = False) -> None:
    """Remove a file, a link (never what it leads to) or a folder. Raises OSError.

    `whole`: a folder that must never be found half-empty loses its name first, durably.
    """
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_folder:
        path.unlink(missing_ok=True)
        return
    doomed = path
    if whole:
        doomed = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")
        if os.path.lexists(doomed):
            # of an earlier process of that number, killed half-way
            discard(doomed)
        os.rename(path, doomed)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            # else a power failure may bring the name back for a folder without its record
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    shutil.rmtree(doomed)


@contextlib.contextmanager
def _held(candidate: Candidate) -> Iterator[bool]:
    """The run's lock for the block, if it belongs to one; False where somebody is at the run."""
    if not candidate.run_id:
        yield True
        return
    root = candidate.attempt.root if candidate.attempt else _root_of(candidate)
    if not (root / "runs" / candidate.run_id).is_dir():
        yield True  # gone meanwhile; taking the lock would make the folder anew
        return
    with run_lock(root, candidate.run_id) as mine:
        # a lease, where there are no locks across machines
        at_it = any(is_leased(attempt.status()) for attempt in attempts(root, candidate.run_id))
        yield mine and not at_it


def _root_of(candidate: Candidate) -> Path:
    parts = candidate.path.parts
    for i in range(len(parts) - 2, 0, -1):
        if parts[i] == candidate.run_id and parts[i - 1] == "runs":
            return Path(*parts[: i - 1])
    raise ValueError(f"{candidate.path} lies in no folder of run {candidate.run_id}")


def _needed(candidate: Candidate, named: Mapping[str, RunSpec]) -> str:
    """Why it must stay after all, as things are now; "" if it may go."""
    if candidate.attempt is None:
        return "" if is_dead(candidate.path) else "written to again"
    if candidate.kind in ("weights", "attempt") and (why := why_named(named, candidate.run_id)):
        return why
    if candidate.kind == "checkpoint" and not is_sound(candidate.attempt):
        return "its record.json has gone or is damaged"
    if candidate.kind == "weights" and not candidate.attempt.finished:
        return "its record.json has gone"
    if candidate.kind == "attempt" and not is_sound(
        Attempt(candidate.attempt.root, candidate.run_id, candidate.newest)
    ):
        return f"attempt {candidate.newest} has gone or is damaged"
    return ""
