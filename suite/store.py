"""The store: everything the record files say, in DuckDB, built by one ingester, always rebuildable.

DuckDB admits one writing process and shuts readers out meanwhile. So `<root>/store.duckdb` is never
written in place: the ingester (one at a time, by a lock on `<root>/store.lock`) works on a copy,
checkpoints it and renames it over the old one. A reader keeps the file it opened; whoever opens one
sees a whole state. Killed at any instant, an ingester leaves the old store and a working copy that
the next one removes.
"""

import gc
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec

from suite import intake
from suite.digest import Code
from suite.errors import UserError
from suite.hold import lock_file
from suite.intake import Refused, Stamp
from suite.jsonio import canonical, short_hash, write_atomic
from suite.record import SCHEMA, STALE_HEARTBEAT_SECONDS, change_mark, mark_changed
from suite.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

STORE_SCHEMA = 3
"""Version of the tables. A store of another version is rebuilt from the files."""

LOOK_FILE = "store.look.json"
LOOKED_AT_ABOVE, LOOK_SECONDS = 50_000, 300.0
"""See `refresh`: files, and seconds."""

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


MAX_LINEAGE = 64
"""Inputs of inputs are followed this far; beyond, an input's id stands in for it."""


def store_path(root: Path) -> Path:
    return root / "store.duckdb"


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """Read-only connection to the store as it is now; later ingests do not reach it.

    Raises UserError where there is no store, or one that is damaged or of another version.
    """
    path = store_path(root)
    if not path.exists():
        raise UserError(f"{path}: no store yet; type `python -m suite ingest` or `run` first")
    try:
        connection, problem = _attach(path)
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: damaged ({first}); type `python -m suite ingest`") from None
    if problem:
        connection.close()
        raise UserError(f"{path}: {problem}; type `python -m suite ingest`")
    return connection


def refresh(root: Path, tasks: Mapping[str, Task], today: Code) -> IngestReport:
    """`ingest` for who only reads: of a large root nothing is looked at where nothing can have changed.

    Above `LOOKED_AT_ABOVE` files the store is taken as up to date if it is the one of the last look, less
    than `LOOK_SECONDS` ago, and since then neither a run was added nor the suite has written a status, record
    or evaluation. (Files copied into existing runs by other means are seen at the next look.)
    """
    start = time.perf_counter()
    settings, _ = _settings(tasks, today)
    try:
        look = msgspec.json.decode((root / LOOK_FILE).read_bytes(), type=_Look)
    except (OSError, msgspec.DecodeError):
        return ingest(root, tasks, today)
    now = time.time()
    same = look.stamps == _stamps(root) and look.settings == short_hash(settings)
    if not (same and 0 <= now - look.at < LOOK_SECONDS):
        return ingest(root, tasks, today)
    counts, refused = look.counts, tuple(Refused(*one) for one in look.refused)
    known = _Known({}, {}, counts, refused)
    return _report(known, start, read=0, removed=0, changed=False, rebuilt=False)


class _Look(msgspec.Struct, frozen=True):
    """What a look at all files found: kept beside the store of a large root."""

    at: float
    stamps: list[int]
    settings: str
    counts: tuple[int, int, int]
    refused: list[tuple[str, str]]


def _stamps(root: Path) -> list[int]:
    """Of the store and of what tells that files have changed; empty where one is missing."""
    try:
        store = store_path(root).stat()
        return [
            store.st_ino,
            store.st_mtime_ns,
            (root / "runs").stat().st_mtime_ns,
            change_mark(root).stat().st_mtime_ns,
        ]
    except OSError:
        return []


def _keep_look(
    root: Path, begun: float, before: list[int], settings: Mapping[str, str], known: _Known
) -> None:
    """Remember a look that began at `begun` (Unix seconds), when the stamps were `before`."""
    path = root / LOOK_FILE
    if len(known.files) <= LOOKED_AT_ABOVE:
        path.unlink(missing_ok=True)
        return
    if not change_mark(root).exists():
        mark_changed(root)
        return
    # the clock of files has ticks: a change in the same one as the look's beginning would not show
    if not before or before[-1] > (begun - 1) * 1e9:
        return
    stamps = _stamps(root)
    if stamps[2:] != before[2:]:
        return
    look = _Look(
        begun,
        stamps,
        short_hash(dict(settings)),
        known.counts,
        [(one.path, one.reason) for one in known.refused],
    )
    write_atomic(path, msgspec.json.encode(look), durable=False)


def _settings(
    tasks: Mapping[str, Task], today: Code
) -> tuple[dict[str, str], dict[tuple[str, str], bool]]:
    """What a store depends on besides files, and the metric keys that are ranked."""
    wanted = _ranking().default_keys(tasks) if tasks else {}
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
    left out and named in the report. Raises UserError if `root` cannot be written.
    """
    start = time.perf_counter()
    settings, wanted = _settings(tasks, today)
    try:
        with _lock(root):
            begun, before = time.time(), _stamps(root)
            known = None if rebuild else _known(store_path(root))
            if known is not None and known.settings.get("records") != settings["records"]:
                # what was refused for its version may be read now
                known = None
            found = intake.scan(root)
            if known is not None and (known.files, known.settings) == (found, settings):
                _keep_look(root, begun, before, settings, known)
                return _report(known, start, read=0, removed=0, changed=False, rebuilt=False)
            try:
                return _update(root, known, found, settings, wanted, today, start)
            except duckdb.Error:
                if known is None:
                    raise
            # damage that opening the old store did not show
            return _update(root, None, found, settings, wanted, today, start)
    except OSError as error:
        raise UserError(f"{root}: the store cannot be written ({error.strerror})") from None
    except duckdb.IOException as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{root}: the store cannot be written ({first})") from None


def cost_by_method(
    connection: duckdb.DuckDBPyConnection, protocol_hash: str, gpu: bool | None = None
) -> dict[str, tuple[float, int]]:
    """Method -> (mean wall seconds, largest peak memory in bytes) of the counted runs under a
    protocol, over all parameters; `gpu`: only runs on a GPU, or only runs without."""
    query = statements("cost_by_method")
    rows = connection.execute(query, {"protocol_hash": protocol_hash, "gpu": gpu}).fetchall()
    return {method: (seconds, memory) for method, seconds, memory in rows}


@cache
def statements(name: str) -> str:
    """Text of `suite/sql/<name>.sql`."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _ranking() -> Any:
    from suite import ranking

    return ranking


def _config() -> dict[str, str | bool | int | float | list[str]]:
    # a store is local files only: DuckDB must never look for an extension on the network
    return {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "threads": str(min(4, os.cpu_count() or 1)),
    }


def _attach(path: Path) -> tuple[duckdb.DuckDBPyConnection, str | None]:
    """A connection that reads `path`, and what is wrong with its version. Raises duckdb.Error."""
    # Attached to a database of its own: `duckdb.connect(path)` hands every connection of a process
    # the file that the first one opened, so a long-lived reader would never see a newer snapshot.
    connection = duckdb.connect(":memory:", config=_config())
    try:
        connection.execute("ATTACH ? AS store (READ_ONLY)", [os.fspath(path.absolute())])
        connection.execute("USE store; SET enable_external_access = false")
        rows = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchall()
    except duckdb.Error:
        connection.close()
        raise
    version = rows[0][0] if rows else "unknown"
    if version == str(STORE_SCHEMA):
        return connection, None
    return connection, f"store version {version}, this suite reads {STORE_SCHEMA}"


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / "store.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
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
        connection, problem = _attach(path)
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
    root: Path,
    known: _Known | None,
    found: dict[str, Stamp],
    settings: dict[str, str],
    wanted: Mapping[tuple[str, str], bool],
    today: Code,
    start: float,
) -> IngestReport:
    path = store_path(root)
    work = path.with_name("store.duckdb.work")
    for leftover in (work, Path(f"{work}.wal")):
        leftover.unlink(missing_ok=True)
    if known is not None:
        shutil.copyfile(path, work)
    before = known.files if known else {}
    changed = [name for name, stamp in found.items() if before.get(name) != stamp]
    gone = [name for name in before if name not in found]
    connection = duckdb.connect(os.fspath(work), config=_config())
    try:
        connection.execute("SET python_enable_replacements = false")
        connection.execute("BEGIN")
        if known is None:
            connection.execute(statements("schema"))
        paths = _with_siblings(changed + gone, found)
        if known is not None:
            _forget(connection, paths + gone)
        with no_collection():
            _read_in(connection, root, paths, found)
        renewed = known is None or known.settings != settings
        touched = renewed or any(not name.endswith("/status.json") for name in changed + gone)
        _derive_attempts(connection, today)
        if touched:
            # a heartbeat alone changes no mean: spared, since boards are shown while runs go on
            _derive_statistics(connection, wanted)
        connection.execute("DELETE FROM meta")
        _insert_rows(connection, "meta", list(settings.items()))
        connection.execute("COMMIT")
        connection.execute("CHECKPOINT")
        state = _read_known(connection)
    finally:
        connection.close()
    _swap(work, path)
    done = {"read": len(changed), "removed": len(gone), "changed": True, "rebuilt": known is None}
    return _report(state, start, **done)


def _swap(work: Path, path: Path) -> None:
    _fsync(work)
    os.replace(work, path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@cache
def _columns(name: str) -> dict[str, str]:
    """Column -> type of a table in schema.sql, by DuckDB's own reading of it."""
    with duckdb.connect(":memory:", config=_config()) as connection:
        connection.execute(statements("schema"))
        rows = connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? "
            "ORDER BY column_index",
            [name],
        ).fetchall()
    return dict(rows)


def _insert(
    connection: duckdb.DuckDBPyConnection, name: str, columns: Iterable[Iterable[Any]]
) -> None:
    """Append to a table of schema.sql. `name` is ours; what the rows hold travels as Arrow data."""
    with _registered(connection, "incoming", intake.table(_columns(name), columns)):
        connection.execute(f"INSERT INTO {name} SELECT * FROM incoming")


def _insert_rows(
    connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    if rows:
        _insert(connection, name, zip(*rows, strict=True))


def _texts(names: Sequence[str], rows: Sequence[Sequence[str]]) -> "pa.Table":
    columns: Iterable[Any] = zip(*rows, strict=True) if rows else [()] * len(names)
    return intake.table(dict.fromkeys(names, "VARCHAR"), columns)


@contextmanager
def _registered(
    connection: duckdb.DuckDBPyConnection, name: str, content: "pa.Table"
) -> Iterator[None]:
    connection.register(name, content)
    # not in a `finally`: after an error the connection takes nothing more, and is closed anyway
    yield
    connection.unregister(name)


def _forget(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
    """Take out what the store has from `paths`."""
    attempts = {name.rpartition("/")[0] for name in paths if intake.is_attempt_file(name)}
    keys = [folder.split("/")[1:] for folder in attempts]
    with (
        _registered(connection, "paths", _texts(["path"], [(path,) for path in paths])),
        _registered(connection, "keys", _texts(["run_id", "attempt"], keys)),
    ):
        connection.execute(statements("forget"))


def _read_in(
    connection: duckdb.DuckDBPyConnection, root: Path, paths: list[str], found: dict[str, Stamp]
) -> None:
    # fetchall also where there is one row: DuckDB refuses other work while a result is half fetched
    rows = connection.execute("SELECT coalesce(max(evaluation_id), 0) FROM evaluations").fetchall()
    next_id = 1 + rows[0][0]
    for part in _whole_attempts(paths):
        batch = intake.read(root, part, found, next_id)
        next_id += len(batch.evaluations)
        for path in batch.unread:
            found[path] = intake.UNREAD
        for name in ("facts", "evaluations", "refused"):
            _insert_rows(connection, name, getattr(batch, name))
        _insert(connection, "metrics", batch.metrics)
        _insert_rows(connection, "files", [(path, *found[path]) for path in part])


def _with_siblings(paths: list[str], found: dict[str, Stamp]) -> list[str]:
    """`paths` that are there, sorted, together with the files that make one row with them.

    An attempt's record, status and spec are one row: one of them changed, all are read.
    """
    folders = {name.rpartition("/")[0] for name in paths if intake.is_attempt_file(name)}
    siblings = {f"{folder}/{name}" for folder in folders for name in intake.ATTEMPT_FILES}
    return sorted(name for name in siblings.union(paths) if name in found)


@contextmanager
def no_collection() -> Iterator[None]:
    """Without looking for cycles: rows by the hundred thousand hold none, and it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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


def _derive_attempts(connection: duckdb.DuckDBPyConnection, today: Code) -> None:
    lineages, digests = _related(connection, today)
    of_methods, of_runs = _renamed(connection, today, dict(digests))
    tables = {
        "today": _texts(["method", "digest"], list(today.digests.items())),
        "lineages": _texts(["run_id", "input_methods", "lineage"], lineages),
        "combined": _texts(["run_id", "digest"], digests),
        "earlier_of_methods": _texts(["method", "earlier", "digest"], of_methods),
        "earlier_of_runs": _texts(["run_id", "earlier", "digest"], of_runs),
    }
    with ExitStack() as stack:
        for name, content in tables.items():
            stack.enter_context(_registered(connection, name, content))
        # a view takes no parameters
        sql = statements("attempts").replace("{stale_seconds}", str(STALE_HEARTBEAT_SECONDS))
        connection.execute(sql)


def _renamed(
    connection: duckdb.DuckDBPyConnection, today: Code, combined: Mapping[str, str]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """(method, recorded digest, today's), and the same by run where other methods' code is part of it, of
    recorded digests that stand for today's code."""
    recorded = connection.execute(
        "SELECT DISTINCT method, digest FROM facts WHERE digest <> ''"
    ).fetchall()
    alone = today.alone
    of_methods = []
    for method, digest in recorded:
        now = alone.get(method)
        if now is not None and now != digest:
            today.digest(method, {}, {})
            if today.same(digest, now):
                of_methods.append((method, digest, now))
    # whatever could be among them is a digest that is not yet anybody's today
    others = {digest for _, digest in recorded} - set(combined.values())
    if not combined or not others:
        return of_methods, []
    runs = connection.execute(
        "SELECT DISTINCT run_id, digest FROM facts WHERE list_contains($others, digest)",
        {"others": sorted(others)},
    ).fetchall()
    of_runs = [
        (run, digest, combined[run])
        for run, digest in runs
        if run in combined and today.same(digest, combined[run])
    ]
    return of_methods, of_runs


def _related(
    connection: duckdb.DuckDBPyConnection, today: Code
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """(run, role -> method, lineage) of the runs that have inputs; and (run, digest of today) of those,
    and of the runs whose method is built on another.

    The lineage tells rows apart: role -> hash of the input's protocol, method, params and own
    lineage, its seed left out, so that replicates trained on replicates share one. An input run that
    is not in the store cannot be vouched for: its id stands in, and only runs that share it are
    pooled; and the newest digest counts as today's.
    """
    some = "inputs <> '{}' OR list_contains($linked, method)"
    facts = connection.execute(
        "SELECT run_id, any_value(protocol_hash), any_value(method), any_value(params), "
        "any_value(inputs), arg_max(digest, coalesce(finished, started, 0)) "
        f"FILTER (WHERE digest <> '') FROM facts WHERE {some} "
        f"OR (SELECT bool_or({some}) FROM facts) GROUP BY run_id",
        {"linked": list(today.links)},
    ).fetchall()
    runs = {run: rest for run, *rest in facts}
    inputs = {run: msgspec.json.decode(rest[3], type=dict[str, str]) for run, rest in runs.items()}
    known: dict[str, str] = {}
    digests: dict[str, str | None] = {}

    def identity(run: str, depth: int = 0) -> str:
        # honest chains are two or three long; a forged one must not exhaust the stack
        if depth > MAX_LINEAGE:
            return run
        if run not in known:
            # ids are hashes that cover the inputs' ids, so there are no cycles to run into
            above = {
                role: identity(source, depth + 1) for role, source in inputs.get(run, {}).items()
            }
            known[run] = short_hash([*runs[run][:3], above]) if run in runs else run
        return known[run]

    def digest(run: str, depth: int = 0) -> str | None:
        if run not in runs or depth > MAX_LINEAGE:
            return None
        if run not in digests:
            _, method, params, _, newest = runs[run]
            of = {role: digest(source, depth + 1) for role, source in inputs[run].items()}
            whole = {role: found for role, found in of.items() if found is not None}
            settings = msgspec.json.decode(params) if method in today.links else {}
            now = today.digest(method, settings, whole) if len(whole) == len(of) else None
            digests[run] = now or newest
        return digests[run]

    rows, combined = [], []
    for run, sources in inputs.items():
        if sources:
            methods = {role: runs[s][1] if s in runs else None for role, s in sources.items()}
            lineage = {role: identity(source) for role, source in sources.items()}
            rows.append((run, canonical(methods).decode(), canonical(lineage).decode()))
        if sources or runs[run][1] in today.links:
            combined.append((run, digest(run) or ""))
    return rows, combined


def _derive_statistics(
    connection: duckdb.DuckDBPyConnection, wanted: Mapping[tuple[str, str], bool]
) -> None:
    from suite import stats

    counts = connection.execute(
        "SELECT DISTINCT count(*) FROM attempt_rows WHERE counted GROUP BY row_id"
    ).fetchall()
    # a metric may be undefined in some runs: any smaller n can occur
    most = max((n for (n,) in counts), default=1)
    quantiles = stats.t_quantiles(range(2, most + 1))
    types = {"n": "BIGINT", "t": "DOUBLE"}
    content = intake.table(types, [list(quantiles), list(quantiles.values())])
    with _registered(connection, "quantiles", content):
        connection.execute(statements("summary"))
    connection.execute("DELETE FROM ranks")
    _insert_rows(connection, "ranks", list(_ranking().ranks(connection, wanted)))
