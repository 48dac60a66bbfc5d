"""Finished attempts from elsewhere as new attempts here, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from suite.base.errors import RecordError, UserError
from suite.base.settings import writable_root
from suite.define.flags import EXTERNAL
from suite.define.spec import RunSpec
from suite.exchange.attempt_files import read_attempt
from suite.records.attempt import Attempt, attempts
from suite.records.files import Record, Status, read
from suite.records.fingerprint import stored_fingerprint
from suite.records.lease import is_leased, run_lock
from suite.records.lookup import all_attempts

_INCOMING = ".incoming-"


@dataclass(frozen=True)
class MergedAttempt:
    """What became of an attempt of the other root.

    `state`: brought (or, with `dry_run`, would be) as attempt `to`; here (as `to`) already; unfinished,
    busy (somebody is at the run, there or here) or refused: left out for the reason `why`.
    """

    run_id: str
    attempt: int
    state: str
    method: str = ""
    seed: int | None = None
    to: int | None = None
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        made = asdict(self)
        return {"run": made.pop("run_id"), **made}


def merge(other: Path, root: Path, *, dry_run: bool = False) -> list[MergedAttempt]:
    """Bring the finished and failed attempts below `other` into `root`, as the next attempts of their runs.

    Attempts that are here identically are skipped, so a second merge brings nothing. Input runs come before
    the runs that name them, whose records then name the new attempts. Raises UserError: no results folder,
    or the same one.
    """
    if not other.is_dir():
        raise UserError(f"{other}: {'is a file' if other.exists() else 'no such folder'}")
    if not (other / "runs").is_dir():
        raise UserError(f"{other}: no results folder (it holds no runs/); name another one")
    if (other / "runs").resolve() == (root / "runs").resolve():
        raise UserError(f"{other}: is the results root itself; name another one, or give --root")
    if not dry_run:
        writable_root(root)
    theirs: dict[str, list[Attempt]] = {}
    for attempt in all_attempts(other):
        theirs.setdefault(attempt.run_id, []).append(attempt)
    done: list[MergedAttempt] = []
    moved: dict[tuple[str, int], int] = {}
    for run_id in inputs_first({run_id: _inputs(known) for run_id, known in theirs.items()}):
        if _locked(other, run_id):
            done += [
                MergedAttempt(run_id, a.number, "busy", why="a process is at it")
                for a in theirs[run_id]
            ]
            continue
        planned: list[Attempt] = []
        for attempt in theirs[run_id]:
            try:
                merged = _merge_attempt(attempt, root, moved, len(planned), dry_run)
            except OSError as error:
                raise UserError(f"{attempt.path}: {error.strerror or error}") from None
            if merged.to is not None:
                moved[run_id, attempt.number] = merged.to
            if dry_run and merged.state == "brought":
                planned.append(attempt)
            done.append(merged)
    return done


def _merge_attempt(
    theirs: Attempt,
    root: Path,
    moved: Mapping[tuple[str, int], int],
    ahead: int,
    dry_run: bool,
) -> MergedAttempt:
    """`ahead`: attempts of the run that a dry run has said would come."""
    status = theirs.status()
    if not theirs.finished:
        return _merge_failure(theirs, status, root, ahead, dry_run)
    try:
        files = read_attempt(theirs.path)
        record = files.record
        if (record.run_id, record.attempt) != (theirs.run_id, theirs.number):
            raise RecordError(f"says run {record.run_id}, attempt {record.attempt}")
        if record.spec.run_id != record.run_id:
            raise RecordError(f"its spec is that of run {record.spec.run_id}")
    except RecordError as error:
        return MergedAttempt(theirs.run_id, theirs.number, "refused", why=str(error))

    def about(state: str, to: int | None = None, why: str = "") -> MergedAttempt:
        spec = record.spec
        return MergedAttempt(theirs.run_id, theirs.number, state, spec.method, spec.seed, to, why)

    known, same_arrays = present(root, record, stored_fingerprint(theirs.path / "predictions.npz"))
    if known is not None:
        why = "" if same_arrays else "here already, with other prediction sets; see `predict`"
        return about("here" if same_arrays else "unfinished", known.number, why)
    why = "" if not files.problems else f"without {len(files.problems)} unreadable evaluation(s)"
    if dry_run:
        return about("brought", _next(root, theirs.run_id) + ahead, why)

    def fill(staged: Attempt) -> None:
        _copy(theirs.path, staged.path)
        for evaluation in files.evaluations:
            staged.write_evaluation(msgspec.structs.replace(evaluation, attempt=staged.number))
        staged.write_record(renumbered(record, staged.number, moved))

    brought = bring(root, theirs.run_id, fill)
    if brought is None:
        return about("busy", why="a process is at it here")
    return about("brought", brought.number, why)


def _merge_failure(
    theirs: Attempt, status: Status | None, root: Path, ahead: int, dry_run: bool
) -> MergedAttempt:
    """A failed attempt is a row too; others that are not finished stay where they can be finished."""
    where = theirs.run_id, theirs.number
    if is_leased(status):
        return MergedAttempt(*where, "busy", why="a process is at it")
    if status is None or status.state != "failed":
        return MergedAttempt(
            *where, "unfinished", why="not finished; finish it there with `retry` or `run`"
        )
    try:
        spec = read(RunSpec, theirs.path / "spec.json")
        if spec.run_id != theirs.run_id:
            raise RecordError(f"its spec is that of run {spec.run_id}")
    except (FileNotFoundError, RecordError) as error:
        return MergedAttempt(*where, "refused", why=str(error))
    about = spec.method, spec.seed
    for attempt in attempts(root, theirs.run_id):
        if attempt.status() == status:
            return MergedAttempt(*where, "here", *about, attempt.number)
    if any(attempt.finished for attempt in attempts(root, theirs.run_id)):
        # as the newest attempt it would be tried again, although the run is through
        return MergedAttempt(*where, "unfinished", *about, why="failed there, finished here")
    if dry_run:
        return MergedAttempt(*where, "brought", *about, _next(root, theirs.run_id) + ahead)

    def fill(staged: Attempt) -> None:
        _copy(theirs.path, staged.path)

    brought = bring(root, theirs.run_id, fill)
    if brought is None:
        return MergedAttempt(*where, "busy", *about, why="a process is at it here")
    return MergedAttempt(*where, "brought", *about, brought.number)


# -- bringing


def bring(root: Path, run_id: str, fill: Callable[[Attempt], None]) -> Attempt | None:
    """Make the next attempt of a run: `fill` writes its files into a folder that nobody looks into, which
    is then renamed. Killed at any instant, it leaves the attempt whole or not at all.

    Returns None, with nothing done, where another process is at the run. Raises OSError, and what `fill`
    raises.
    """
    with run_lock(root, run_id) as mine:
        known = attempts(root, run_id)
        if not mine or (known and is_leased(known[-1].status())):
            return None
        folder = root / "runs" / run_id
        for leftover in folder.glob(f"{_INCOMING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        attempt = Attempt(root, run_id, _next(root, run_id))
        incoming = folder / f"{_INCOMING}{platform.node()}-{os.getpid()}"
        staged = Attempt(root, run_id, attempt.number, folder=incoming)
        staged.path.mkdir()
        try:
            fill(staged)
            _sync(staged.path)
            os.rename(staged.path, attempt.path)
        except BaseException:
            shutil.rmtree(staged.path, ignore_errors=True)
            raise
        _sync_one(folder)
        return attempt


def present(
    root: Path, record: Record, arrays: Mapping[str, tuple[int, int]] | None
) -> tuple[Attempt | None, bool]:
    """The attempt that a record is already here as, and whether all of its predictions are too."""
    wanted = bare(record)
    for attempt in attempts(root, record.run_id):
        try:
            if bare(attempt.record()) == wanted:
                stored = stored_fingerprint(attempt.path / "predictions.npz") or {}
                return attempt, (arrays or {}).items() <= stored.items()
        except (FileNotFoundError, RecordError):
            continue
    return None, False


def bare(record: Record) -> Record:
    """A record without what bringing it here changes."""
    return msgspec.structs.replace(
        record,
        attempt=0,
        inputs={
            role: msgspec.structs.replace(named, attempt=0) for role, named in record.inputs.items()
        },
        flags=sorted(set(record.flags) - {EXTERNAL}),
        external="",
    )


def renumbered(record: Record, number: int, moved: Mapping[tuple[str, int], int]) -> Record:
    """The record as attempt `number`; `moved`: (run id, attempt there) -> attempt here, of input runs."""
    inputs = {
        role: msgspec.structs.replace(
            named, attempt=moved.get((named.run_id, named.attempt), named.attempt)
        )
        for role, named in record.inputs.items()
    }
    return msgspec.structs.replace(record, attempt=number, inputs=inputs)


def _next(root: Path, run_id: str) -> int:
    known = attempts(root, run_id)
    return known[-1].number + 1 if known else 1


def _copy(source: Path, target: Path) -> None:
    """The files of an attempt that name no attempt number. Only regular ones: a pipe would never end."""
    for name in ("spec.json", "status.json", "predictions.npz", "weights.safetensors", "log.txt"):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted((source / "samples").iterdir()):
            if path.suffix == ".png" and path.is_file():
                (target / "samples").mkdir(exist_ok=True)
                shutil.copyfile(path, target / "samples" / path.name)


def _sync(folder: Path) -> None:
    for base, _, names in os.walk(folder):
        for name in names:
            _sync_one(Path(base) / name)
        _sync_one(Path(base))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(root: Path, run_id: str) -> bool:
    """Whether another process holds the run's lock. Makes no file: the other root may be read-only."""
    try:
        with open(root / "runs" / run_id / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _inputs(known: Iterable[Attempt]) -> set[str]:
    named: set[str] = set()
    for attempt in known:
        with contextlib.suppress(FileNotFoundError, RecordError):
            named.update(read(RunSpec, attempt.path / "spec.json").inputs.values())
        with contextlib.suppress(FileNotFoundError, RecordError):
            named.update(attempt.record().spec.inputs.values())
    return named


def inputs_first(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Run ids in an order in which those that others name come first. An id is a hash over the ids that it
    names, so there is no circle; should one be claimed, it is cut."""
    return list(_ordered(needs))


def _ordered(needs: Mapping[str, Iterable[str]]) -> Iterator[str]:
    seen: set[str] = set()
    for first in sorted(needs):
        stack = [(first, False)]
        while stack:
            run_id, through = stack.pop()
            if through:
                yield run_id
            elif run_id not in seen and run_id in needs:
                seen.add(run_id)
                stack.append((run_id, True))
                stack += [(other, False) for other in sorted(needs[run_id])]
