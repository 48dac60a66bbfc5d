"""What works here and what to type where it does not: environment, folders, store, cluster.

Every check is a function `Place -> findings` in `CHECKS`. Each runs in a thread of its own with a time
limit, so a dead network file system or a cluster that does not answer costs a line, not the rest. Checks
change nothing but for a probe file in the results root, which goes at once.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from suite.base.errors import UserError

if TYPE_CHECKING:
    from suite.define.catalog import Catalog

State = Literal["ok", "warning", "problem"]

CHECK_SECONDS = 15.0
"""A check that is not through by then is given up."""
COMMAND_SECONDS = 4.0
"""A command of the cluster that has not answered by then is given up."""
DISTRIBUTION = "longtail-suite"
OPTIONAL = frozenset({"streamlit", "submitit"})
"""Needed by one part alone (dashboard, cluster): their absence stops no training."""
IMPORTED = ("torch", "mmengine", "mmcv", "mmseg")
"""What a training imports; an installed package need not work (another torch, a missing library)."""
LOW_BYTES, FULL_BYTES = 10 << 30, 1 << 30
SLOW_FSYNC_SECONDS = 0.25
SMALL_SHM_BYTES = 256 << 20


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, in words; `todo` is what to type or do next."""

    check: str
    state: State
    text: str
    todo: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Place:
    """What the command was given: folders as typed (None: not), and where the root came from."""

    root: Path | None = None
    root_from: str = "--root"
    data_root: Path | None = None
    plugins: Sequence[Path] = field(default_factory=tuple)


Check = Callable[[Place], Iterable[Finding]]


def examine(
    place: Place,
    checks: Mapping[str, Check] | None = None,
    seconds: float = CHECK_SECONDS,
) -> list[Finding]:
    """Findings of all checks in their order. Never raises, and is through after `seconds` or little more:
    a check that breaks or hangs is a finding of its own."""
    checks = CHECKS if checks is None else checks
    deadline = time.monotonic() + seconds
    started = [(name, *_start(name, check, place)) for name, check in checks.items()]
    found: list[Finding] = []
    for name, thread, results in started:
        thread.join(max(0.0, deadline - time.monotonic()))
        # a copy: a check given up on may still add to the list
        found += list(results)
        if thread.is_alive():
            text = f"has not answered for {seconds:g} s"
            found.append(Finding(name, "problem", text, "look whether its file system is there"))
    return found


def _start(name: str, check: Check, place: Place) -> tuple[threading.Thread, list[Finding]]:
    results: list[Finding] = []

    def work() -> None:
        try:
            # one by one: what was found before a hang is kept
            for finding in check(place):
                results.append(finding)
        except UserError as error:
            results.append(Finding(name, "problem", str(error)))
        except BaseException as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            results.append(Finding(name, "problem", f"cannot be looked at ({text})"))

    # daemon: a thread that hangs in a dead file system must not keep the process
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, results


# -- environment
def check_python(place: Place) -> Iterator[Finding]:
    """Version against the package's own bounds, and which interpreter it is."""
    version = platform.python_version()
    where = f"Python {version} in {sys.prefix}"
    try:
        bounds = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            "python", "problem", f"{where}; {DISTRIBUTION} is not installed", "pip install -e ."
        )
        return
    if _within(version, bounds):
        yield Finding("python", "ok", where)
    else:
        todo = f"make an environment with a Python {bounds}"
        yield Finding("python", "problem", f"{where}, but {DISTRIBUTION} needs {bounds}", todo)


def check_packages(place: Place) -> Iterator[Finding]:
    """Every declared dependency: there, and of a version that is allowed."""
    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return  # said by the check before
    present = []
    for text in declared:
        if ";" in text:
            continue  # an extra, or another platform's
        name, bounds = _requirement(text)
        state: State = "warning" if name in OPTIONAL else "problem"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("packages", state, f"{name} is missing", f"pip install '{text}'")
            continue
        present.append(f"{name} {version}")
        if not _within(version, bounds):
            words = f"{name} {version} is not {bounds}: not tested together"
            yield Finding("packages", "warning", words, f"pip install '{text}'")
    yield Finding("packages", "ok", ", ".join(present))


def _requirement(text: str) -> tuple[str, str]:
    """Name and bounds of a requirement such as `torch<2.14,>=2.6`."""
    end = next((i for i, c in enumerate(text) if not (c.isalnum() or c in "-_.")), len(text))
    return text[:end], text[end:].strip(" ()")


def _within(version: str, bounds: str) -> bool:
    """Whether a version lies within bounds; True where nobody can say."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(bounds).contains(version, prereleases=True)


_IMPORT = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        found[name] = {"version": str(getattr(module, "__version__", "?"))}
    except BaseException as error:
        found[name] = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
if "version" in found.get("torch", {}):
    import torch
    found["torch"].update(threads=torch.get_num_threads(), built_for=torch.version.cuda, gpus=[])
    try:
        if torch.cuda.is_available():
            for i in range(torch.cuda.device_count()):
                found["torch"]["gpus"].append(torch.cuda.get_device_name(i))
    except BaseException as error:
        found["torch"]["cuda_error"] = " ".join(str(error).split())[:300]
print("\\n" + json.dumps(found))
"""


def check_imports(place: Place) -> Iterator[Finding]:
    """Import what a training imports, in a process of its own: it may crash, hang, or take a GPU."""
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT, *IMPORTED]
    code, output, words = _call(command, CHECK_SECONDS - 1)
    try:
        found = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        reason = words or f"exit code {code}"
        todo = f'python -c "import {", ".join(IMPORTED)}"'
        yield Finding("imports", "problem", f"importing the engine fails: {reason}", todo)
        return
    working = []
    for name, entry in found.items():
        if "error" in entry:
            words, todo = f"import {name}: {entry['error']}", f'python -c "import {name}"'
            yield Finding("imports", "problem", words, todo)
        else:
            working.append(f"{name} {entry['version']}")
    yield Finding("imports", "ok", ", ".join(working) or "none")
    if "version" in found.get("torch", {}):
        yield from _torch(found["torch"])


def _torch(torch: Mapping[str, Any]) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    threads = f"{cores} core(s), torch uses {torch['threads']} thread(s)"
    if torch["threads"] > cores:
        todo = f"export OMP_NUM_THREADS={cores}"
        yield Finding("threads", "warning", f"{threads}: more than there are", todo)
    else:
        yield Finding("threads", "ok", f"{threads}; a run sets its own number by its protocol")
    if torch["gpus"]:
        yield Finding("gpu", "ok", f"CUDA {torch['built_for']}: {', '.join(torch['gpus'])}")
        return
    reason = torch.get("cuda_error") or (
        f"torch is built for CUDA {torch['built_for']} and finds none"
        if torch["built_for"]
        else "torch is built for the CPU"
    )
    seen = _call(["nvidia-smi", "-L"], COMMAND_SECONDS)[1].strip().splitlines()
    if seen and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        words = f"{len(seen)} GPU(s) by nvidia-smi, none for torch: {reason}"
        yield Finding("gpu", "warning", words, "install a torch for your CUDA: pytorch.org")
    else:
        yield Finding("gpu", "ok", f"none ({reason}): runs here train on the CPU")


def check_catalog(place: Place) -> Iterator[Finding]:
    """The installed tasks and methods, and the plug-ins, can be read."""
    catalog = _catalog(place)
    tasks, methods = catalog.tasks(), catalog.methods()
    words = f"{len(tasks)} task(s), {len(methods)} method(s)"
    if tasks and methods:
        yield Finding("catalog", "ok", words)
    else:
        yield Finding("catalog", "problem", f"{words} found", "pip install -e .")


# -- folders
def check_config(place: Place) -> Iterator[Finding]:
    """The config file, which need not be there."""
    from suite.base import settings

    path = settings.config_path()
    keys = settings.config()
    words = f"sets {', '.join(keys)}" if keys else "sets nothing" if path.exists() else "not there"
    yield Finding("config", "ok", f"{path}: {words}")


def check_data(place: Place) -> Iterator[Finding]:
    """Which data root is set and from where, and which data sets are there."""
    from suite.base import settings

    root = settings.data_root(place.data_root)
    source = (
        "--data-root"
        if place.data_root
        else "$LONGTAIL_DATA"
        if os.environ.get("LONGTAIL_DATA")
        else str(settings.config_path())
    )
    todo = f"--data-root DIR, $LONGTAIL_DATA, or data_root in {settings.config_path()}"
    if root is None:
        yield Finding("data root", "warning", "none is set: embedded data sets alone", todo)
    elif not root.is_dir():
        yield Finding("data root", "problem", f"{root} (from {source}): no such folder", todo)
    elif not os.access(root, os.R_OK | os.X_OK):
        yield Finding("data root", "problem", f"{root} (from {source}): cannot be read", todo)
    else:
        yield Finding("data root", "ok", f"{root} (from {source})")
    there, missing = [], []
    for name, dataset in _catalog(place).datasets().items():
        try:
            if dataset.embedded:
                there.append(f"{name} (embedded)")
            elif root is not None and root.is_dir():
                there.append(f"{name} ({dataset.find(root)})")
            else:
                missing.append(name)
        except UserError as error:
            absent = not (root and (root / name).exists())
            if absent:
                missing.append(name)
            else:
                # something is there, and not as it has to be
                yield Finding(
                    "data set", "warning", str(error), _type(place, f"data check {name}", data=True)
                )
        except OSError as error:
            yield Finding(
                "data set",
                "warning",
                f"{name}: {error.strerror}",
                _type(place, f"data check {name}", data=True),
            )
    if there:
        yield Finding("data sets", "ok", f"here: {', '.join(there)}")
    if missing:
        # a user of one data set lacks the others: no reason for a warning each
        words = f"not here: {', '.join(missing)}"
        yield Finding(
            "data sets", "ok" if there else "warning", words, _type(place, "data list", data=True)
        )


def check_root(place: Place) -> Iterator[Finding]:
    """Results root: where from, writable, with locks and a working fsync."""
    from suite.base import settings

    root = _root(place)
    source = (
        place.root_from
        if place.root
        else str(settings.config_path())
        if settings.config().get("root")
        else "default"
    )
    where = f"{root} (from {source})"
    if not root.exists():
        above = next(path for path in root.parents if path.exists())
        if os.access(above, os.W_OK | os.X_OK):
            yield Finding("root", "ok", f"{where}: not there yet, can be made")
        else:
            words = f"{where}: not there, and {above} cannot be written"
            yield Finding("root", "problem", words, "give --root DIR")
        return
    yield from _probe(root, where)


def _probe(root: Path, where: str) -> Iterator[Finding]:
    """Write, lock, fsync and rename as a run does, in a file that goes at once."""
    # such a name that `prune` takes it for a leftover if this process is killed now
    probe = root / f".doctor.{os.uname().nodename}.{os.getpid()}.tmp"
    beside = root / f".doctor-2.{os.uname().nodename}.{os.getpid()}.tmp"
    try:
        with open(probe, "wb") as file:
            file.write(b"x" * 4096)
            start = time.perf_counter()
            os.fsync(file.fileno())
            took = time.perf_counter() - start
            locks = _locks(file.fileno(), probe)
        beside.write_bytes(b"")
        os.replace(beside, probe)
    except OSError as error:
        words = f"{where}: cannot be written ({error.strerror or error})"
        yield Finding("root", "problem", words, "give --root DIR, or free space")
        return
    finally:
        for path in (probe, beside):
            with suppress(OSError):
                path.unlink(missing_ok=True)
    yield Finding("root", "ok", f"{where}: can be written")
    if locks:
        todo = "start a run from one machine at a time; leases keep the others off"
        yield Finding("locks", "warning", f"{root}: {locks}", todo)
    else:
        yield Finding("locks", "ok", "files can be locked")
    if took > SLOW_FSYNC_SECONDS:
        todo = "a --root on a local disk is faster; --checkpoint-seconds sets how often"
        yield Finding("fsync", "warning", f"takes {took:.2f} s on {root}", todo)
    else:
        yield Finding("fsync", "ok", f"{1000 * took:.1f} ms")


def _locks(descriptor: int, path: Path) -> str:
    """What is wrong with `flock` there; "" if nothing is. Two opens of a file exclude each other."""
    other = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ""
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            return "its file system has no locks"
        return f"locking fails ({error.strerror})"
    finally:
        os.close(other)
    return "two processes get the same lock"


def check_disk(place: Place) -> Iterator[Finding]:
    """Free space and files where results go, and the shared memory of data workers."""
    root = _root(place)
    above = next(path for path in (root, *root.parents) if path.exists())
    usage, files = shutil.disk_usage(above), os.statvfs(above)
    words = f"{_gib(usage.free)} of {_gib(usage.total)} free for {root}"
    if usage.free < FULL_BYTES:
        yield Finding("disk", "problem", words, _type(place, "prune --all --dry-run"))
    elif usage.free < LOW_BYTES:
        yield Finding("disk", "warning", words, _type(place, "prune --dry-run"))
    elif files.f_files and files.f_favail < 10_000:
        words = f"{files.f_favail:,} more files fit on the file system of {root}"
        yield Finding("disk", "warning", words, _type(place, "prune --superseded --dry-run"))
    else:
        yield Finding("disk", "ok", words)
    shm = Path("/dev/shm")
    if shm.is_dir() and (size := shutil.disk_usage(shm).total) < SMALL_SHM_BYTES:
        words = f"{shm} has {size >> 20} MiB: data workers may die of it"
        yield Finding("disk", "warning", words, "docker run --shm-size=2g, or fewer data workers")


# -- what lies in the root
def check_leftovers(place: Place) -> Iterator[Finding]:
    """What killed processes left behind: temporary files, checkpoints of finished runs."""
    from suite.upkeep.prune import survey

    found = [one for one in survey(_root(place), {"temporary", "checkpoint"}) if one.goes]
    if found:
        words = (
            f"{len(found)} left by killed processes, {sum(o.size for o in found) / 2**20:,.1f} MiB"
        )
        yield Finding("leftovers", "warning", words, _type(place, "prune --checkpoints"))
    else:
        yield Finding("leftovers", "ok", "none")


def check_runs(place: Place) -> Iterator[Finding]:
    """Runs that claim to run while nobody is at them; runs whose files cannot be read."""
    from suite.records.lease import worked_on
    from suite.records.lookup import all_attempts, find_spec

    root = _root(place)
    newest = {attempt.run_id: attempt for attempt in all_attempts(root)}
    orphans: list[str] = []
    in_jobs: list[str] = []
    nameless: list[str] = []
    running = 0
    for run_id, attempt in newest.items():
        if attempt.finished:
            continue
        status = attempt.status()
        if worked_on(status):
            running += 1
        elif status is not None and status.state == "running":
            (in_jobs if status.job else orphans).append(run_id)
        elif find_spec(root, run_id) is None:
            nameless.append(run_id)
    if orphans:
        words = f"{len(orphans)} say that they run, and nobody is at them: {_some(orphans)}"
        yield Finding("runs", "warning", words, _type(place, "retry"))
    if in_jobs:
        words = (
            f"{len(in_jobs)} in cluster jobs have not been heard of for a minute: {_some(in_jobs)}"
        )
        yield Finding("runs", "warning", words, _type(place, "status"))
    if nameless:
        words = f"{len(nameless)} have no readable spec.json: {_some(nameless)}"
        yield Finding("runs", "warning", words, f"look into {root / 'runs' / nameless[0]}")
    if not (orphans or in_jobs or nameless):
        yield Finding("runs", "ok", f"{len(newest)} with a folder, {running} of them running")


def check_store(place: Place) -> Iterator[Finding]:
    """The store: there, of this version, whole, and made from the files as they are now."""
    from suite.base.text import clipped
    from suite.store import read_files as intake
    from suite.store.connection import STORE_SCHEMA, connect, store_path

    root = _root(place)
    path, files = store_path(root), intake.scan(root)
    if not path.exists():
        if files:
            words = f"none yet for {len(files)} record files"
            yield Finding("store", "warning", words, _type(place, "ingest"))
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
        yield Finding("store", "problem", words, _type(place, "ingest --rebuild"))
        return
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        words = f"{path}: damaged ({first})"
        yield Finding("store", "problem", words, _type(place, "ingest --rebuild"))
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
            _type(place, "ingest"),
        )
    else:
        yield Finding("store", "ok", f"{words}, up to date with {len(files)} file(s)")
    if refused:
        name, reason = refused[0]
        words = clipped(f"{len(refused)} file(s) refused, such as {name}: {reason}", 300)
        yield Finding("store", "warning", words, _type(place, "ingest"))


# -- cluster
def check_slurm(place: Place) -> Iterator[Finding]:
    """SLURM's commands, whether the controller answers, its partitions and accounts."""
    from suite.dispatch import request as sites
    from suite.dispatch.batch import jobs_folder

    lacking = [name for name in ("sbatch", "squeue", "sinfo") if shutil.which(name) is None]
    wanted = sites.sites_path().exists() or jobs_folder(_root(place)).is_dir()
    bad: State = "problem" if wanted else "warning"
    if lacking:
        if len(lacking) == 3 and not wanted:
            yield Finding("slurm", "ok", "none on this machine: runs go here, with --on local")
        else:
            words = f"no {', '.join(lacking)} on PATH"
            yield Finding("slurm", bad, words, "type this on a login node, or module load slurm")
        return
    code, output, words = _call(["sinfo", "-h", "-o", "%R|%a|%D|%l"], COMMAND_SECONDS)
    if code:
        todo = "ask whoever runs the cluster; --on local works without"
        yield Finding("slurm", bad, f"it does not answer: {words}", todo)
        return
    rows = [line.split("|") for line in output.splitlines() if line.count("|") == 3]
    partitions = sorted({row[0] for row in rows})
    shown = ", ".join(f"{row[0]} ({row[1]}, {row[2]} node(s), {row[3]})" for row in rows[:8])
    yield Finding("slurm", "ok", f"answers; partitions: {shown or 'none'}")
    for name, site in sites.sites().items():
        unknown = set((site.partition or "").split(",")) - {"", *partitions}
        if unknown:
            words = f"[{name}] names partition {', '.join(sorted(unknown))}, which is not there"
            todo = f"partition of [{name}] in {sites.sites_path()}"
            yield Finding("slurm", "warning", words, todo)
    code, _, words = _call(["sacct", "-n", "-P", "-X", "-o", "JobID", "-S", "now"], COMMAND_SECONDS)
    if code:
        text = f"no accounts ({words}): how a job ended is known for some minutes only"
        yield Finding("slurm", "warning", text, _type(place, "status"))
    else:
        yield Finding("slurm", "ok", "accounts answer (sacct)")


def check_sites(place: Place) -> Iterator[Finding]:
    """The file of site profiles is valid."""
    from suite.dispatch import request as sites

    path = sites.sites_path()
    try:
        known = sites.sites()
    except UserError as error:
        yield Finding(
            "sites", "problem", str(error), f"edit {path}; {_type(place, 'sites')} lists the keys"
        )
        return
    if known:
        yield Finding("sites", "ok", f"{path}: {', '.join(known)}")
    else:
        yield Finding("sites", "ok", f"{path}: no profiles (for --on slurm --site NAME)")


CHECKS: dict[str, Check] = {
    "python": check_python,
    "packages": check_packages,
    "imports": check_imports,
    "catalog": check_catalog,
    "config": check_config,
    "data": check_data,
    "root": check_root,
    "disk": check_disk,
    "leftovers": check_leftovers,
    "runs": check_runs,
    "store": check_store,
    "slurm": check_slurm,
    "sites": check_sites,
}
"""Name -> check, in the order in which they are shown. All run at the same time."""


# -- helpers
_loading = threading.Lock()


def _catalog(place: Place) -> Catalog:
    from suite.define.catalog import Catalog

    # importing the same packages in two threads at once may show one of them half a module
    with _loading:
        return Catalog.load(list(place.plugins))


def _root(place: Place) -> Path:
    from suite.base import settings

    return settings.results_root(place.root)


def _type(place: Place, words: str, *, data: bool = False) -> str:
    """The command, with the folders that were given to this one."""
    if data and place.data_root:
        words += f" --data-root {shlex.quote(str(place.data_root))}"
    if not data and place.root and place.root_from == "--root" and not words.startswith("sites"):
        words += f" --root {shlex.quote(str(place.root))}"
    return f"python -m suite {words}"


def _call(command: Sequence[str], seconds: float) -> tuple[int, str, str]:
    """Exit code, output and reason of failure of a command; never raises, never takes longer."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"{command[0]} has not answered for {seconds:g} s"
    except OSError as error:
        return 127, "", f"{command[0]}: {error.strerror}"
    words = " ".join(done.stderr.split())[-300:]
    if done.returncode < 0:
        words = f"killed by signal {-done.returncode}" + (f": {words}" if words else "")
    return done.returncode, done.stdout, words or f"exit code {done.returncode}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
