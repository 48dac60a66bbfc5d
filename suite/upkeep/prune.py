"""Removing what nobody needs: leftovers of killed processes, superseded weights, superseded attempts.

What may go is looked up first (`survey`), and looked at again under the run's lock before it goes
(`remove`). A kill at any instant leaves every attempt either whole or gone: its folder is renamed to a
name that means nothing (`.<k>.<host>.<pid>.tmp`, a leftover like any other) before it is emptied.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from suite.base.errors import RecordError, UserError
from suite.define.digest import Code
from suite.define.spec import RunSpec
from suite.dispatch.batch import batches, jobs_folder
from suite.records.attempt import Attempt, attempts, finished_digest
from suite.records.files import RUN_ID, STALE_HEARTBEAT_SECONDS
from suite.records.inputs import digest_of
from suite.records.lease import run_lock, worked_on
from suite.records.lookup import all_attempts, find_spec

if TYPE_CHECKING:
    from suite.define.catalog import Catalog

Kind = Literal["temporary", "checkpoint", "weights", "attempt"]

FORGOTTEN_SECONDS = 86400.0
"""A temporary file that was not written to for so long has no writer, on whatever machine it was."""
_TEMPORARY = re.compile(r"\..+\.(?P<host>[^/]+?)\.(?P<pid>[0-9]+)\.tmp")


@dataclass(frozen=True)
class Kept:
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


@dataclass(frozen=True)
class Left:
    """Something that was to go and is still there, and why; `failed` where it could not be removed,
    else somebody is at its run or it is needed again."""

    kept: Kept
    why: str
    failed: bool = False


# -- what is there
def survey(
    root: Path,
    kinds: Collection[Kind],
    *,
    catalog: Catalog | None = None,
    all_: bool = False,
    runs: Collection[str] = (),
) -> list[Kept]:
    """What there is of these kinds below `root`, of all runs or of `runs`; nothing twice.

    Args:
        catalog: says what today's code is; needed for the kind `attempt`.
        all_: the newest attempts' weights may go too.
    """
    found: list[Kept] = []
    if "temporary" in kinds:
        found += survey_temporary(root, runs=runs)
    if "checkpoint" in kinds:
        found += survey_checkpoints(root, runs=runs)
    if "attempt" in kinds:
        assert catalog is not None, "superseded by what? The catalog knows today's code"
        found += survey_superseded(root, catalog, runs=runs)
    if "weights" in kinds:
        found += survey_weights(root, all_=all_, runs=runs)
    going = {one.path for one in found if one.kind == "attempt" and one.goes}
    return [one for one in found if going.isdisjoint(one.path.parents)]


def survey_weights(root: Path, *, all_: bool = False, runs: Collection[str] = ()) -> list[Kept]:
    """The weights of finished attempts below `root`, of all runs or of `runs`, and why they stay.

    Those of a run that another run names as an input always stay, whether that one is finished or only
    submitted. Of the rest, superseded ones may go; with `all_` every one.
    """
    named = _named(root)
    found = []
    for run_id, known in _by_run(root, runs).items():
        finished = [attempt for attempt in known if attempt.finished]
        kept = [attempt for attempt in finished if _is_own_file(attempt.weights)]
        spec = find_spec(root, run_id) if kept else None
        if spec is None:
            continue
        for attempt in kept:
            why = _named_by(named, run_id)
            if not why and not all_ and attempt is finished[-1]:
                why = "the run's newest"
            found.append(
                Kept(
                    "weights",
                    attempt.weights,
                    attempt.weights.stat().st_size,
                    why,
                    run_id,
                    attempt,
                    spec,
                )
            )
    return found


def survey_checkpoints(root: Path, *, runs: Collection[str] = ()) -> list[Kept]:
    """Resume states of finished attempts: a worker killed after the record and before the tidying left
    them. That of an attempt whose record cannot be read stays: it may be all there is."""
    found = []
    for run_id, known in _by_run(root, runs).items():
        for attempt in known:
            folder = attempt.checkpoint_dir
            if not attempt.finished or not os.path.lexists(folder):
                continue
            why = "" if _sound(attempt) else "the attempt's record.json is damaged"
            spec = find_spec(root, run_id)
            found.append(Kept("checkpoint", folder, size_of(folder), why, run_id, attempt, spec))
    return found


def survey_superseded(root: Path, catalog: Catalog, *, runs: Collection[str] = ()) -> list[Kept]:
    """Attempts older than the newest finished one of today's code, whole, and why they stay.

    Those of a run that another one names as an input stay, since that one's record tells of them.
    """
    named = _named(root)
    found = []
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
                why = _named_by(named, run_id) or _more_than(attempt, newest)
                size = size_of(attempt.path)
                found.append(
                    Kept("attempt", attempt.path, size, why, run_id, attempt, spec, newest.number)
                )
    return found


def survey_temporary(root: Path, *, runs: Collection[str] = ()) -> list[Kept]:
    """Temporary files and folders whose process is gone, of all runs or of `runs`; without `runs` also
    those beside the runs and in the folders of submissions. Those of living processes are not listed."""
    folders = [root / "runs" / run_id for run_id in runs or _run_folders(root)]
    found = [
        Kept("temporary", path, size_of(path), run_id=folder.name)
        for folder in folders
        for path in _temporaries(folder, deep=True)
    ]
    if not runs:
        beside = [(root / "runs", False), (jobs_folder(root), True), (root, False)]
        for folder, deep in beside:
            found += [
                Kept("temporary", path, size_of(path)) for path in _temporaries(folder, deep=deep)
            ]
    return found


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


# -- removing it
def remove(kept: Iterable[Kept]) -> tuple[int, list[Left]]:
    """Remove those that may go; the bytes freed, and what was left.

    Whatever belongs to a run goes under the run's lock, after another look: whether somebody is at the
    run, and whether it has become needed since the survey.
    """
    freed, left = 0, []
    named: dict[Path, dict[str, RunSpec]] = {}
    for one in kept:
        if not one.goes:
            continue
        root = one.attempt.root if one.attempt else None
        if root is not None and one.kind in ("weights", "attempt") and root not in named:
            named[root] = _named(root)
        try:
            with _held(one) as mine:
                why = "in use by another process"
                if mine:
                    why = _needed(one, named.get(root, {}) if root else {})
                if why:
                    left.append(Left(one, why))
                    continue
                discard(one.path, whole=one.kind == "attempt")
                freed += one.size
        except OSError as error:
            left.append(Left(one, f"cannot be removed ({error.strerror or error})", failed=True))
    return freed, left


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
def _held(one: Kept) -> Iterator[bool]:
    """The run's lock for the block, if it belongs to one; False where somebody is at the run."""
    if not one.run_id:
        yield True
        return
    root = one.attempt.root if one.attempt else _root_of(one)
    if not (root / "runs" / one.run_id).is_dir():
        yield True  # gone meanwhile; taking the lock would make the folder anew
        return
    with run_lock(root, one.run_id) as mine:
        # a lease, where there are no locks across machines
        at_it = any(worked_on(attempt.status()) for attempt in attempts(root, one.run_id))
        yield mine and not at_it


def _root_of(one: Kept) -> Path:
    parts = one.path.parts
    for i in range(len(parts) - 2, 0, -1):
        if parts[i] == one.run_id and parts[i - 1] == "runs":
            return Path(*parts[: i - 1])
    raise ValueError(f"{one.path} lies in no folder of run {one.run_id}")


def _needed(one: Kept, named: Mapping[str, RunSpec]) -> str:
    """Why it must stay after all, as things are now; "" if it may go."""
    if one.attempt is None:
        return "" if _dead(one.path) else "written to again"
    if one.kind in ("weights", "attempt") and (why := _named_by(named, one.run_id)):
        return why
    if one.kind == "checkpoint" and not _sound(one.attempt):
        return "its record.json has gone or is damaged"
    if one.kind == "weights" and not one.attempt.finished:
        return "its record.json has gone"
    if one.kind == "attempt" and not _sound(Attempt(one.attempt.root, one.run_id, one.newest)):
        return f"attempt {one.newest} has gone or is damaged"
    return ""


# -- helpers
def _by_run(root: Path, runs: Collection[str]) -> dict[str, list[Attempt]]:
    """Run id -> its attempts, oldest first. Folders that are links lead out of the root: left alone."""
    found: dict[str, list[Attempt]] = {}
    for run_id in runs or _run_folders(root):
        known = [a for a in attempts(root, run_id) if not os.path.islink(a.path)]
        if known and not os.path.islink(root / "runs" / run_id):
            found[run_id] = known
    return found


def _run_folders(root: Path) -> list[str]:
    try:
        names = os.listdir(root / "runs")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if RUN_ID.fullmatch(name))


def _is_own_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _sound(attempt: Attempt) -> bool:
    """Whether the attempt is finished by a record that is whole and its own."""
    try:
        record = attempt.record()
    except (FileNotFoundError, RecordError):
        return False
    own = (attempt.run_id, attempt.number, attempt.run_id)
    return (record.run_id, record.attempt, record.spec.run_id) == own


def _newest_of(known: list[Attempt], code: Code, digest: str) -> Attempt | None:
    for attempt in reversed(known):
        if code.same(finished_digest(attempt), digest) and _sound(attempt):
            return attempt
    return None


def _more_than(attempt: Attempt, newest: Attempt) -> str:
    only = attempt.prediction_sets() - newest.prediction_sets() if attempt.finished else set()
    if not only:
        return ""
    return f"attempt {newest.number} lacks its prediction set(s) {', '.join(sorted(only))}"


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


def _named_by(named: Mapping[str, RunSpec], run_id: str) -> str:
    by = named.get(run_id)
    return f"run {by.run_id} ({by.method}) names it" if by is not None else ""


def _temporaries(folder: Path, *, deep: bool) -> Iterator[Path]:
    """What dead processes left in a folder, and below it; links are not followed."""
    if folder.is_symlink():
        return
    for here, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            if _TEMPORARY.fullmatch(name) and _dead(path := Path(here, name)):
                yield path
        folders[:] = [n for n in folders if deep and not _TEMPORARY.fullmatch(n)]


def _dead(path: Path) -> bool:
    """Whether nobody can be writing to it any more."""
    found = _TEMPORARY.fullmatch(path.name)
    try:
        age = time.time() - os.lstat(path).st_mtime
    except OSError:
        return True
    if found is None or age < STALE_HEARTBEAT_SECONDS:
        # younger than a minute: its process may be in another container of this machine's name
        return False
    if age > FORGOTTEN_SECONDS:
        return True
    if found["host"] != os.uname().nodename:
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False
