"""The store: everything the record files say, in DuckDB, built by one ingester, always rebuildable.

DuckDB admits one writing process and shuts readers out meanwhile. So `<root>/store.duckdb` is never
written in place: the ingester (one at a time, by a lock on `<root>/store.lock`) works on a copy,
checkpoints it and renames it over the old one. A reader keeps the file it opened; whoever opens one
sees a whole state. Killed at any instant, an ingester leaves the old store and a working copy that
the next one removes. The store of results that may only be read is made in the user's cache, unless the one
that lies with them is up to date.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from suite.base.canonical import canonical
from suite.base.errors import UserError
from suite.define.digest import Code
from suite.define.task import Task, default_keys
from suite.records.files import SCHEMA
from suite.records.lease import MAY_NOT_WRITE, lock_file, open_lock
from suite.store.connection import (
    STORE,
    STORE_SCHEMA,
    attach,
    can_name,
    copied,
    duckdb_config,
    no_collection,
    places,
    statements,
)
from suite.store.derive import derive_attempts, derive_statistics
from suite.store.look import keep_look, last_look, stamps
from suite.store.read_files import Refused, read_files
from suite.store.scan import ATTEMPT_FILES, UNREAD, Stamp, is_attempt_file, scan
from suite.store.tables import given, insert, insert_rows

if TYPE_CHECKING:
    from suite.define.catalog import Catalog


FILES_AT_ONCE = 8192
"""Files read into memory before they are written to the store."""


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What an ingest found and did.

    `attempts`, `evaluations`, `metrics` and `refused` describe the store as it is now; `read` counts
    the files read this time, `removed` those that disappeared; `changed` is False where nothing had
    to be done; `rebuilt` where it started from nothing; `seconds` is wall time with the wait for
    another ingester.
    """

    attempts: int
    evaluations: int
    metrics: int
    refused: tuple[Refused, ...]
    read: int
    removed: int
    changed: bool
    rebuilt: bool
    seconds: float


@dataclass(frozen=True)
class _Known:
    """What the present store was made from."""

    files: dict[str, Stamp]
    settings: dict[str, str]
    counts: tuple[int, int, int]
    refused: tuple[Refused, ...]


@dataclass(frozen=True)
class _Work:
    """What an ingest is to do: the results root, what its store depends on besides files, the keys that are
    ranked, today's code; `start` is when it began (`time.perf_counter`)."""

    root: Path
    settings: dict[str, str]
    wanted: Mapping[tuple[str, str], bool]
    today: Code
    start: float


def refresh(root: Path, tasks: Mapping[str, Task], today: Code) -> IngestReport:
    """`ingest` for who only reads: of a large root nothing is looked at where nothing can have changed
    (`suite.store.look`)."""
    start = time.perf_counter()
    look = last_look(root, _settings(tasks, today)[0])
    if look is None:
        return ingest(root, tasks, today)
    known = _Known({}, {}, look.counts, tuple(Refused(*one) for one in look.refused))
    return _report(known, start, read=0, removed=0, changed=False, rebuilt=False)


def _settings(
    tasks: Mapping[str, Task], today: Code
) -> tuple[dict[str, str], dict[tuple[str, str], bool]]:
    """What a store depends on besides files, and the metric keys that are ranked."""
    wanted = default_keys(tasks) if tasks else {}
    settings = {
        "schema": str(STORE_SCHEMA),
        "records": str(SCHEMA),
        "today": canonical([dict(today.digests), dict(today.links), today.history]).decode(),
        "ranking": canonical(sorted([*key, higher] for key, higher in wanted.items())).decode(),
    }
    return settings, wanted


def ingest(
    root: Path, tasks: Mapping[str, Task], today: Code, rebuild: bool = False
) -> IngestReport:
    """Bring the store up to date with the files below `root`; reads only what changed.

    Args:
        tasks: name -> task; says which metric keys are ranked and in which direction.
        today: the methods' code. Runs of another digest are kept and not ranked; of a method not named
            there, and of a run whose input runs are not here, the newest digest counts as today's.
        rebuild: start from nothing.

    Waits for an ingester that is at work. Files that are malformed or lie in the wrong place are
    left out and named in the report. Raises UserError: no store can be written, neither in `root` nor in the
    user's cache; the runs cannot be read.
    """
    start = time.perf_counter()
    settings, wanted = _settings(tasks, today)
    _readable(root)
    own, kept = places(root)
    work = _Work(root, settings, wanted, today, start)
    try:
        try:
            report = _ingest(work, own, [] if rebuild else [own / STORE])
        except OSError as error:
            if error.errno not in MAY_NOT_WRITE:
                raise
            return _ingest_into_cache(work, own, kept, rebuild)
        if (kept / STORE).exists():
            # from a time when nothing could be written here
            shutil.rmtree(kept, ignore_errors=True)
        return report
    except OSError as error:
        raise UserError(f"{root}: the store cannot be written ({error.strerror})") from None
    except duckdb.IOException as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{root}: the store cannot be written ({first})") from None


def _readable(root: Path) -> None:
    try:
        os.scandir(root / "runs").close()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UserError(f"{root / 'runs'}: cannot be read ({error.strerror})") from None


def _ingest_into_cache(work: _Work, own: Path, kept: Path, rebuild: bool) -> IngestReport:
    """The same where nothing may be written in the results root: what is there is taken if it is up to
    date, else a store in the user's cache is brought up to date."""
    known = None if rebuild else _known(own / STORE)
    if known is not None and (known.files, known.settings) == (scan(work.root), work.settings):
        shutil.rmtree(kept, ignore_errors=True)
        return _report(known, work.start, read=0, removed=0, changed=False, rebuilt=False)
    try:
        return _ingest(work, kept, [] if rebuild else [kept / STORE, own / STORE])
    except OSError as error:
        raise UserError(
            f"{work.root}: may only be read, and {kept} cannot be written ({error.strerror}): set "
            "XDG_CACHE_HOME to a folder for a store of your own"
        ) from None


def _ingest(work: _Work, place: Path, present: Sequence[Path]) -> IngestReport:
    """Bring the store in the folder `place` up to date, from the first of `present` that can be read."""
    root, settings = work.root, work.settings
    with _lock(place):
        begun, before = time.time(), stamps(root)
        known, base = None, None
        for base in present:
            if (known := _known(base)) is not None:
                break
        if known is not None and known.settings.get("records") != settings["records"]:
            # what was refused for its version may be read now
            known = None
        found = scan(root)
        current = known is not None and (known.files, known.settings) == (found, settings)
        if known is not None and current and base == place / STORE:
            refused = [(one.path, one.reason) for one in known.refused]
            keep_look(root, begun, before, settings, len(found), known.counts, refused)
            return _report(known, work.start, read=0, removed=0, changed=False, rebuilt=False)
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
        try:
            return _update(work, place / STORE, base, known, found)
        except duckdb.Error:
            if known is None:
                raise
        # damage that opening the old store did not show
        return _update(work, place / STORE, None, None, found)


def update_store(root: Path, catalog: "Catalog") -> None:
    """Ingest what is new below `root`."""
    ingest(root, catalog.tasks(), catalog.code)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = open_lock(folder / "store.lock")
    try:
        lock_file(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def _known(path: Path) -> _Known | None:
    """None where there is no store, or one that has to be rebuilt."""
    if not path.exists():
        return None
    try:
        connection, problem = attach(path)
        try:
            return None if problem else _read_known(connection)
        finally:
            connection.close()
    except duckdb.Error:
        return None


def _read_known(connection: duckdb.DuckDBPyConnection) -> _Known:
    files = connection.execute("SELECT path, mtime_ns, size FROM files").fetchall()
    meta = connection.execute("SELECT key, value FROM meta").fetchall()
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM facts), (SELECT count(*) FROM evaluations), "
        "(SELECT count(*) FROM metrics)"
    ).fetchall()
    refused = connection.execute("SELECT path, reason FROM refused ORDER BY path").fetchall()
    return _Known(
        {path: (mtime, size) for path, mtime, size in files},
        dict(meta),
        counts[0],
        tuple(Refused(*row) for row in refused),
    )


def _report(known: _Known, start: float, **done: Any) -> IngestReport:
    attempts, evaluations, metrics = known.counts
    return IngestReport(
        attempts=attempts,
        evaluations=evaluations,
        metrics=metrics,
        refused=known.refused,
        seconds=time.perf_counter() - start,
        **done,
    )


def _update(
    work: _Work, path: Path, base: Path | None, known: _Known | None, found: dict[str, Stamp]
) -> IngestReport:
    """Make the store at `path`: from that at `base`, which is `known`, or from nothing."""
    before = known.files if known else {}
    changed = [name for name, stamp in found.items() if before.get(name) != stamp]
    gone = [name for name in before if name not in found]
    with _workplace(path, base if known else None) as (connection, copy):
        connection.execute("SET python_enable_replacements = false")
        connection.execute("BEGIN")
        if known is None:
            connection.execute(statements("schema"))
        paths = _with_siblings(changed + gone, found)
        if known is not None:
            _forget(connection, paths + gone)
        with no_collection():
            _read_in(connection, work.root, paths, found)
        renewed = known is None or known.settings != work.settings
        touched = renewed or any(not name.endswith("/status.json") for name in changed + gone)
        derive_attempts(connection, work.today)
        if touched:
            # a heartbeat alone changes no mean: spared, since boards are shown while runs go on
            derive_statistics(connection, work.wanted)
        connection.execute("DELETE FROM meta")
        for row in work.settings.items():
            connection.execute("INSERT INTO meta VALUES (?, ?)", row)
        connection.execute("COMMIT")
        connection.execute("CHECKPOINT")
        state = _read_known(connection)
        connection.close()
        _swap(copy, path)
    done = {"read": len(changed), "removed": len(gone), "changed": True, "rebuilt": known is None}
    return _report(state, work.start, **done)


@contextmanager
def _workplace(path: Path, base: Path | None) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A copy of `base`, or an empty store, to work on: beside `path`, or where DuckDB cannot lock or name it
    there, in the system's folder for temporary files."""
    beside = _beside(path)
    for leftover in (beside, Path(f"{beside}.wal")):
        leftover.unlink(missing_ok=True)
    with ExitStack() as stack:
        copy = beside
        if base is not None:
            shutil.copyfile(base, copy)
        connection = _opened(copy)
        if connection is None:
            beside.unlink(missing_ok=True)
            copy = stack.enter_context(copied(base))
            connection = duckdb.connect(os.fspath(copy), config=duckdb_config())
        stack.callback(connection.close)
        yield connection, copy


def _opened(copy: Path) -> duckdb.DuckDBPyConnection | None:
    try:
        return duckdb.connect(os.fspath(copy), config=duckdb_config()) if can_name(copy) else None
    except duckdb.IOException:
        return None


def _beside(path: Path) -> Path:
    return path.with_name(f"{STORE}.work")


def _swap(copy: Path, path: Path) -> None:
    """Put the copy in the place of `path`."""
    beside = _beside(path)
    if copy != beside:
        shutil.copyfile(copy, beside)
    _fsync(beside)
    os.replace(beside, path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _forget(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
    """Take out what the store has from `paths`."""
    attempts = {name.rpartition("/")[0] for name in paths if is_attempt_file(name)}
    keys = [folder.split("/")[1:] for folder in attempts]
    types = {"run_id": "VARCHAR", "attempt": "VARCHAR"}
    with (
        given(connection, "paths", {"path": "VARCHAR"}, [(path,) for path in paths]),
        given(connection, "keys", types, keys),
    ):
        connection.execute(statements("forget"))


def _read_in(
    connection: duckdb.DuckDBPyConnection, root: Path, paths: list[str], found: dict[str, Stamp]
) -> None:
    # fetchall also where there is one row: DuckDB refuses other work while a result is half fetched
    rows = connection.execute("SELECT coalesce(max(evaluation_id), 0) FROM evaluations").fetchall()
    next_id = 1 + rows[0][0]
    for part in _whole_attempts(paths):
        batch = read_files(root, part, found, next_id)
        next_id += len(batch.evaluations)
        for path in batch.unread:
            found[path] = UNREAD
        for name in ("facts", "evaluations", "refused"):
            insert_rows(connection, name, getattr(batch, name))
        insert(connection, "metrics", batch.metrics)
        insert_rows(connection, "files", [(path, *found[path]) for path in part])


def _with_siblings(paths: list[str], found: dict[str, Stamp]) -> list[str]:
    """`paths` that are there, sorted, together with the files that make one row with them.

    An attempt's record, status and spec are one row: one of them changed, all are read.
    """
    folders = {name.rpartition("/")[0] for name in paths if is_attempt_file(name)}
    siblings = {f"{folder}/{name}" for folder in folders for name in ATTEMPT_FILES}
    return sorted(name for name in siblings.union(paths) if name in found)


def _whole_attempts(paths: list[str]) -> Iterator[list[str]]:
    """`paths` in parts of about `FILES_AT_ONCE` that never divide an attempt's folder."""
    part: list[str] = []
    folder = ""
    for path in paths:
        here = "/".join(path.split("/", 3)[:3])
        if len(part) >= FILES_AT_ONCE and here != folder:
            yield part
            part = []
        part.append(path)
        folder = here
    if part:
        yield part
