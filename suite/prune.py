"""Removing kept weights that nobody needs: they are by far the largest files of a run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from suite.dispatch.batch import batches
from suite.hold import run_lock
from suite.record import Attempt, all_attempts, find_spec
from suite.spec import RunSpec


@dataclass(frozen=True)
class Kept:
    """Weights of a finished attempt: `spec` of its run, `size` in bytes, `why` they stay ("" if they may
    go)."""

    attempt: Attempt
    spec: RunSpec
    size: int
    why: str


def survey_weights(root: Path, *, all_: bool = False, runs: Collection[str] = ()) -> list[Kept]:
    """The weights of finished attempts below `root`, of all runs or of `runs`, and why they stay.

    Those of a run that another run names as an input always stay, whether that one is finished or only
    submitted. Of the rest, superseded ones may go; with `all_` every one.
    """
    finished: dict[str, list[Attempt]] = {}
    for attempt in all_attempts(root):
        if attempt.finished:
            finished.setdefault(attempt.run_id, []).append(attempt)
    named = _named(root)
    found = []
    for run_id, known in finished.items():
        spec = find_spec(root, run_id) if not runs or run_id in runs else None
        if spec is None:
            continue
        for attempt in known:
            if not attempt.weights.is_file():
                continue
            why = ""
            if run_id in named:
                why = f"run {named[run_id].run_id} ({named[run_id].method}) names it"
            elif not all_ and attempt is known[-1]:
                why = "the run's newest"
            found.append(Kept(attempt, spec, attempt.weights.stat().st_size, why))
    return found


def remove(kept: Iterable[Kept]) -> tuple[int, list[Kept]]:
    """Remove those that may go; the bytes freed, and those whose run somebody is at."""
    freed, busy = 0, []
    for one in kept:
        if one.why:
            continue
        with run_lock(one.attempt.root, one.attempt.run_id) as mine:
            if mine:
                one.attempt.weights.unlink(missing_ok=True)
                freed += one.size
            else:
                busy.append(one)
    return freed, busy


def _named(root: Path) -> dict[str, RunSpec]:
    """Run id -> a run that names it as an input: of those with a folder, and of those submitted."""
    found: dict[str, RunSpec] = {}
    specs = [a.spec for batch in batches(root) for job in batch.jobs for a in job]
    for run_id in dict.fromkeys(attempt.run_id for attempt in all_attempts(root)):
        spec = find_spec(root, run_id)
        specs += [spec] if spec is not None else []
    for spec in specs:
        found.update(dict.fromkeys(spec.inputs.values(), spec))
    return found
