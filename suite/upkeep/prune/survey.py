"""What there is below a root that may go, and why the rest of its kind stays."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from suite.base.errors import UserError
from suite.define.digest import Code
from suite.define.spec import RunSpec
from suite.dispatch.batch import jobs_folder
from suite.records.attempt import Attempt, attempts, finished_digest
from suite.records.inputs import digest_of
from suite.records.lookup import find_spec, run_folders
from suite.upkeep.prune.need import inputs_named, is_sound, why_named
from suite.upkeep.prune.temporary import temporaries

if TYPE_CHECKING:
    from suite.define.catalog import Catalog

Kind = Literal["temporary", "checkpoint", "weights", "attempt"]


@dataclass(frozen=True)
class Candidate:
    """What lies below a root beyond records, predictions and scores, or is superseded.

    `path` is a file or folder of `size` bytes; `attempt` and `spec` are those it belongs to, None for what
    belongs to no attempt; `why` says why it stays ("" if it may go); `newest` is, for a superseded
    attempt, the number of the finished one that stands for the run.
    """

    kind: Kind
    path: Path
    size: int
    why: str = ""
    run_id: str = ""
    attempt: Attempt | None = None
    spec: RunSpec | None = None
    newest: int = 0

    @property
    def goes(self) -> bool:
        return not self.why


def survey(
    root: Path,
    kinds: Collection[Kind],
    *,
    catalog: Catalog | None = None,
    all_: bool = False,
    runs: Collection[str] = (),
) -> list[Candidate]:
    """What there is of these kinds below `root`, of all runs or of `runs`; nothing twice.

    Args:
        catalog: says what today's code is; needed for the kind `attempt`.
        all_: the newest attempts' weights may go too.
    """
    candidates: list[Candidate] = []
    if "temporary" in kinds:
        candidates += survey_temporary(root, runs=runs)
    if "checkpoint" in kinds:
        candidates += survey_checkpoints(root, runs=runs)
    if "attempt" in kinds:
        assert catalog is not None, "superseded by what? The catalog knows today's code"
        candidates += survey_superseded(root, catalog, runs=runs)
    if "weights" in kinds:
        candidates += survey_weights(root, all_=all_, runs=runs)
    going = {
        candidate.path for candidate in candidates if candidate.kind == "attempt" and candidate.goes
    }
    return [candidate for candidate in candidates if going.isdisjoint(candidate.path.parents)]


def survey_weights(
    root: Path, *, all_: bool = False, runs: Collection[str] = ()
) -> list[Candidate]:
    """The weights of finished attempts below `root`, of all runs or of `runs`, and why they stay.

    Those of a run that another run names as an input always stay, whether that one is finished or only
    submitted. Of the rest, superseded ones may go; with `all_` every one.
    """
    named = inputs_named(root)
    candidates = []
    for run_id, known in _by_run(root, runs).items():
        finished = [attempt for attempt in known if attempt.finished]
        kept = [attempt for attempt in finished if _is_own_file(attempt.weights)]
        spec = find_spec(root, run_id) if kept else None
        if spec is None:
            continue
        for attempt in kept:
            why = why_named(named, run_id)
            if not why and not all_ and attempt is finished[-1]:
                why = "the run's newest"
            candidates.append(
                Candidate(
                    "weights",
                    attempt.weights,
                    attempt.weights.stat().st_size,
                    why,
                    run_id,
                    attempt,
                    spec,
                )
            )
    return candidates


def survey_checkpoints(root: Path, *, runs: Collection[str] = ()) -> list[Candidate]:
    """Resume states of finished attempts: a worker killed after the record and before the tidying left
    them. That of an attempt whose record cannot be read stays: it may be all there is."""
    candidates = []
    for run_id, known in _by_run(root, runs).items():
        for attempt in known:
            folder = attempt.checkpoint_dir
            if not attempt.finished or not os.path.lexists(folder):
                continue
            why = "" if is_sound(attempt) else "the attempt's record.json is damaged"
            spec = find_spec(root, run_id)
            candidates.append(
                Candidate("checkpoint", folder, size_of(folder), why, run_id, attempt, spec)
            )
    return candidates


def survey_superseded(
    root: Path, catalog: Catalog, *, runs: Collection[str] = ()
) -> list[Candidate]:
    """Attempts older than the newest finished one of today's code, whole, and why they stay.

    Those of a run that another one names as an input stay, since that one's record tells of them.
    """
    named = inputs_named(root)
    candidates = []
    for run_id, known in _by_run(root, runs).items():
        spec = find_spec(root, run_id) if len(known) > 1 else None
        if spec is None:
            continue
        try:
            digest = digest_of(root, catalog, spec)
        except UserError:
            continue  # nobody can say what today's code is: a method of a plug-in, a missing input run
        newest = _newest_of(known, catalog.code, digest)
        if newest is None:
            continue
        for attempt in known:
            if attempt.number < newest.number:
                why = why_named(named, run_id) or _more_than(attempt, newest)
                size = size_of(attempt.path)
                candidates.append(
                    Candidate(
                        "attempt", attempt.path, size, why, run_id, attempt, spec, newest.number
                    )
                )
    return candidates


def survey_temporary(root: Path, *, runs: Collection[str] = ()) -> list[Candidate]:
    """Temporary files and folders whose process is gone, of all runs or of `runs`; without `runs` also
    those beside the runs and in the folders of submissions. Those of living processes are not listed."""
    folders = [root / "runs" / run_id for run_id in runs or sorted(run_folders(root))]
    candidates = [
        Candidate("temporary", path, size_of(path), run_id=folder.name)
        for folder in folders
        for path in temporaries(folder, deep=True)
    ]
    if not runs:
        beside = [(root / "runs", False), (jobs_folder(root), True), (root, False)]
        for folder, deep in beside:
            candidates += [
                Candidate("temporary", path, size_of(path))
                for path in temporaries(folder, deep=deep)
            ]
    return candidates


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as nothing."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size if stat.S_ISREG(status.st_mode) else 0
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(folder, name))
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def _by_run(root: Path, runs: Collection[str]) -> dict[str, list[Attempt]]:
    """Run id -> its attempts, oldest first. Folders that are links lead out of the root: left alone."""
    by_run: dict[str, list[Attempt]] = {}
    for run_id in runs or sorted(run_folders(root)):
        known = [a for a in attempts(root, run_id) if not os.path.islink(a.path)]
        if known and not os.path.islink(root / "runs" / run_id):
            by_run[run_id] = known
    return by_run


def _is_own_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _newest_of(known: list[Attempt], code: Code, digest: str) -> Attempt | None:
    for attempt in reversed(known):
        if code.same(finished_digest(attempt), digest) and is_sound(attempt):
            return attempt
    return None


def _more_than(attempt: Attempt, newest: Attempt) -> str:
    only = attempt.prediction_sets() - newest.prediction_sets() if attempt.finished else set()
    if not only:
        return ""
    return f"attempt {newest.number} lacks its prediction set(s) {', '.join(sorted(only))}"
