"""What `show` says of a run, read from its folder alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from suite.errors import RecordError, UserError
from suite.record import RUN_ID, Attempt, Evaluation, attempts, read
from suite.spec import RunSpec


def find_run(root: Path, prefix: str) -> str:
    """The run id that begins with `prefix`. Raises UserError: none, or several."""
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


def run_facts(root: Path, prefix: str) -> dict[str, Any]:
    """Spec, attempts, and record, evaluations and files of the newest finished attempt."""
    run_id = find_run(root, prefix)
    known = attempts(root, run_id)
    if not known:
        raise UserError(f"run {run_id} has no attempt yet")
    record: dict[str, Any] | None = None
    evaluations: list[dict[str, Any]] = []
    files: list[str] = []
    listing = []
    for attempt in known:
        entry, content = _attempt(attempt)
        listing.append(entry)
        if content is not None:
            record = content
            evaluations = _evaluations(attempt)
            files = sorted(
                str(path.relative_to(attempt.path))
                for path in attempt.path.rglob("*")
                if path.is_file()
            )
    return {
        "run": run_id,
        "spec": msgspec.to_builtins(_spec(known)),
        "attempts": listing,
        "record": record,
        "evaluations": evaluations,
        "files": files,
    }


def _spec(known: Sequence[Attempt]) -> RunSpec:
    """The newest spec that can be read: an attempt killed at once has only its folder."""
    for attempt in reversed(known):
        try:
            return read(RunSpec, attempt.path / "spec.json")
        except (FileNotFoundError, RecordError):
            continue
    raise UserError(f"run {known[0].run_id}: no readable spec.json in any of its attempts")


def _attempt(attempt: Attempt) -> tuple[dict[str, Any], dict[str, Any] | None]:
    status = attempt.status()
    problem, content = None, None
    if attempt.finished:
        try:
            content = msgspec.to_builtins(attempt.record())
        except RecordError as error:
            problem = str(error)
    entry = {
        "attempt": attempt.number,
        "path": str(attempt.path),
        "state": "done" if content else status.state if status else "unknown",
        "digest": content["digest"] if content else status.digest if status else None,
        "step": status.step if status else None,
        "restarts": status.restarts if status else None,
        "failure": msgspec.to_builtins(status.failure) if status and status.failure else None,
        "problem": problem,
    }
    return entry, content


def _evaluations(attempt: Attempt) -> list[dict[str, Any]]:
    found = []
    for path in sorted((attempt.path / "evaluations").glob("*.json")):
        try:
            found.append(msgspec.to_builtins(read(Evaluation, path)))
        except RecordError:
            continue
    return found
