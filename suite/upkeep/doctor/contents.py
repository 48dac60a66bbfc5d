"""What lies in the results root: leftovers, runs, the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from suite.base.errors import UserError
from suite.upkeep.doctor.finding import Finding, Place, root_of, typed


def check_leftovers(place: Place) -> Iterator[Finding]:
    """What killed processes left behind: temporary files, checkpoints of finished runs."""
    from suite.upkeep.prune.survey import survey

    leftovers = [item for item in survey(root_of(place), {"temporary", "checkpoint"}) if item.goes]
    if leftovers:
        words = f"{len(leftovers)} left by killed processes, {sum(item.size for item in leftovers) / 2**20:,.1f} MiB"
        yield Finding("leftovers", "warning", words, typed(place, "prune", "--checkpoints"))
    else:
        yield Finding("leftovers", "ok", "none")


def check_runs(place: Place) -> Iterator[Finding]:
    """Runs that claim to run while nobody is at them; runs whose files cannot be read."""
    from suite.records.lease import is_leased
    from suite.records.lookup import all_attempts, find_spec

    root = root_of(place)
    newest = {attempt.run_id: attempt for attempt in all_attempts(root)}
    orphans: list[str] = []
    in_jobs: list[str] = []
    nameless: list[str] = []
    running = 0
    for run_id, attempt in newest.items():
        if attempt.finished:
            continue
        status = attempt.status()
        if is_leased(status):
            running += 1
        elif status is not None and status.state == "running":
            (in_jobs if status.job else orphans).append(run_id)
        elif find_spec(root, run_id) is None:
            nameless.append(run_id)
    if orphans:
        words = f"{len(orphans)} say that they run, and nobody is at them: {_some(orphans)}"
        yield Finding("runs", "warning", words, typed(place, "retry"))
    if in_jobs:
        words = (
            f"{len(in_jobs)} in cluster jobs have not been heard of for a minute: {_some(in_jobs)}"
        )
        yield Finding("runs", "warning", words, typed(place, "status"))
    if nameless:
        words = f"{len(nameless)} have no readable spec.json: {_some(nameless)}"
        yield Finding("runs", "warning", words, f"look into {root / 'runs' / nameless[0]}")
    if not (orphans or in_jobs or nameless):
        yield Finding("runs", "ok", f"{len(newest)} with a folder, {running} of them running")


def check_store(place: Place) -> Iterator[Finding]:
    """The store: there, of this version, whole, and made from the files as they are now."""
    from suite.base.text import clipped
    from suite.store.connection import STORE_SCHEMA, connect, store_path
    from suite.store.scan import scan

    root = root_of(place)
    path, files = store_path(root), scan(root)
    if not path.exists():
        if files:
            words = f"none yet for {len(files)} record files"
            yield Finding("store", "warning", words, typed(place, "ingest"))
        else:
            yield Finding("store", "ok", "none yet, and nothing to put into it")
        return
    import duckdb

    try:
        with connect(root) as store:
            known = store.execute("SELECT path, mtime_ns, size FROM files").fetchall()
            refused = store.execute("SELECT path, reason FROM refused ORDER BY path").fetchall()
            # reads every column's blocks of the largest tables
            store.execute("SELECT count(DISTINCT run_id), max(heartbeat) FROM facts").fetchall()
            store.execute("SELECT count(DISTINCT metric), sum(value) FROM metrics").fetchall()
    except UserError as error:
        words = str(error).partition("; type")[0]
        yield Finding("store", "problem", words, typed(place, "ingest", "--rebuild"))
        return
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        words = f"{path}: damaged ({first})"
        yield Finding("store", "problem", words, typed(place, "ingest", "--rebuild"))
        return
    stamps = {name: (mtime, size) for name, mtime, size in known}
    changed = [name for name, stamp in files.items() if stamps.get(name) != stamp]
    changed += [name for name in stamps if name not in files]
    # heartbeats change all the time while runs go on
    behind = sum(not name.endswith("/status.json") for name in changed)
    words = f"{path}, version {STORE_SCHEMA}"
    if behind:
        yield Finding(
            "store",
            "warning",
            f"{words}: {behind} file(s) have changed since",
            typed(place, "ingest"),
        )
    else:
        yield Finding("store", "ok", f"{words}, up to date with {len(files)} file(s)")
    if refused:
        name, reason = refused[0]
        words = clipped(f"{len(refused)} file(s) refused, such as {name}: {reason}", 300)
        yield Finding("store", "warning", words, typed(place, "ingest"))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
