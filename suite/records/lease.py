"""Who may work on a run: one process at a time, on whatever machine, until it is told to stop.

`flock` decides between processes that share a machine or a file system whose locks reach across
machines. Not every shared file system has those: so a run whose status is being rewritten by another
process is left alone too (a lease), and a worker that finds its run taken over stops without writing.
"""

import contextlib
import errno
import fcntl
import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from suite.base.bounded import read_regular
from suite.base.files import write_atomic
from suite.define.spec import RunSpec
from suite.records.files import Status, alive

MAY_NOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)


class LeaseLost(Exception):
    """Another process has taken the run over; this one must write nothing more."""


def lock_file(file: IO[Any] | int, *, wait: bool) -> bool:
    """`flock` the file for this process; False if another one holds it (never with `wait`).

    A file system without locks locks nothing, and says True: leases are then all there is. There are as many
    ways to say so as there are such file systems (ENOSYS, EOPNOTSUPP, ENOLCK, EINVAL, EIO, ...).
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def open_lock(path: Path | str) -> int:
    """A descriptor of a lock's file, made if it is not there. One that another user made, and that this one
    may only read, can be locked all the same. Raises OSError."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in MAY_NOT_WRITE or not os.path.exists(path):
            raise
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def run_lock(root: Path, run_id: str) -> Iterator[bool]:
    """Hold the run's lock for the block; yields False if another process holds it."""
    folder = root / "runs" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = open_lock(folder / "lock")
    try:
        yield lock_file(descriptor, wait=False)
    finally:
        os.close(descriptor)


def is_leased(status: Status | None) -> bool:
    """Whether a process has the run, by its status: it was rewritten less than a minute ago, on another
    machine, or by a process of this one that is still there."""
    if status is None or not alive(status):
        return False
    if status.host != platform.node():
        return True
    try:
        os.kill(status.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def is_leased_by_another(status: Status | None) -> bool:
    """The same, this process left out."""
    here = platform.node(), os.getpid()
    return status is not None and (status.host, status.pid) != here and is_leased(status)


class CancelRequest(msgspec.Struct, frozen=True):
    """A request to leave runs alone: `asked` in Unix seconds, by the clock of the machine where it was
    made; `note` says who cancelled where it was not the verb `cancel`."""

    asked: float
    note: str = ""


_decode = msgspec.json.Decoder(CancelRequest).decode


def cancel(root: Path, run_id: str, note: str = "") -> None:
    """Ask whoever works on the run, or is going to for a command given before now, to leave it."""
    _write(root / "runs" / run_id / "cancel.json", note)


def cancel_all(root: Path, protocols: Iterable[str] | None = None) -> None:
    """The same for every run, or for those under protocols with these hashes: also for those that only
    a dispatch on some machine knows of."""
    for name in ["all"] if protocols is None else protocols:
        _write(root / "runs" / f"cancel-{name}.json", "")


def _write(path: Path, note: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, msgspec.json.encode(CancelRequest(time.time(), note)))


def cancel_request(root: Path | str, spec: RunSpec, wanted: float) -> CancelRequest | None:
    """The request that was made after the command that wanted the run (Unix seconds), if any.

    A later command does not see it, so nothing has to be cleared away.
    """
    for name in (f"{spec.run_id}/cancel", f"cancel-{spec.protocol_hash}", "cancel-all"):
        path = f"{root}/runs/{name}.json"
        if not os.path.exists(path):
            continue
        try:
            found = _decode(read_regular(path))
        except (OSError, ValueError, RecursionError):
            continue  # damaged: it asks for nothing
        if found.asked > wanted:
            return found
    return None
