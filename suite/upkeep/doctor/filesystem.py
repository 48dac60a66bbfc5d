"""The results root as a place: writable, with locks, a working fsync and room."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from suite.base import settings
from suite.upkeep.doctor.finding import Finding, Place, root_of, typed

LOW_BYTES, FULL_BYTES = 10 << 30, 1 << 30
SLOW_FSYNC_SECONDS = 0.25
SMALL_SHM_BYTES = 256 << 20


def check_root(place: Place) -> Iterator[Finding]:
    """Results root: where from, writable, with locks and a working fsync."""
    root = root_of(place)
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
        return f"its file system has no locks ({error.strerror})"
    finally:
        os.close(other)
    return "two processes get the same lock"


def check_disk(place: Place) -> Iterator[Finding]:
    """Free space and files where results go, and the shared memory of data workers."""
    root = root_of(place)
    above = next(path for path in (root, *root.parents) if path.exists())
    usage, files = shutil.disk_usage(above), os.statvfs(above)
    words = f"{_gib(usage.free)} of {_gib(usage.total)} free for {root}"
    if usage.free < FULL_BYTES:
        yield Finding("disk", "problem", words, typed(place, "prune", "--all", "--dry-run"))
    elif usage.free < LOW_BYTES:
        yield Finding("disk", "warning", words, typed(place, "prune", "--dry-run"))
    elif files.f_files and files.f_favail < 10_000:
        words = f"{files.f_favail:,} more files fit on the file system of {root}"
        yield Finding("disk", "warning", words, typed(place, "prune", "--superseded", "--dry-run"))
    else:
        yield Finding("disk", "ok", words)
    shm = Path("/dev/shm")
    if shm.is_dir() and (size := shutil.disk_usage(shm).total) < SMALL_SHM_BYTES:
        words = f"{shm} has {size >> 20} MiB: data workers may die of it"
        yield Finding("disk", "warning", words, "docker run --shm-size=2g, or fewer data workers")


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
