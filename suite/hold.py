"""Who may work on a run: one process at a time, on whatever machine, until it is told to stop.

`flock` decides between processes that share a machine or a file system whose locks reach across
machines. Not every shared file system has those: so a run whose status beats on another machine is
left alone too (a lease), and a worker that finds its run taken over stops without writing.
"""

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from suite.jsonio import write_atomic
from suite.record import Status, alive, read_regular


class TakenOver(Exception):
    """Another process has taken up the run; this one must write nothing more."""


@contextlib.contextmanager
def run_lock(root: Path, run_id: str) -> Iterator[bool]:
    """Hold the run's lock for the block; yields False if another process holds it."""
    folder = root / "runs" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def held_elsewhere(status: Status | None) -> bool:
    """Whether a process on another machine worked on the run less than a minute ago.

    On this machine the lock has the say: a status that was left by a killed process holds nobody up.
    """
    return status is not None and status.host != platform.node() and alive(status)


class Cancel(msgspec.Struct, frozen=True):
    """A request to leave a run: `asked` in Unix seconds, by the clock of the machine where it was
    made; `note` says who cancelled it where it was not the verb `cancel`."""

    asked: float
    note: str = ""


def _cancel_path(root: Path | str, run_id: str) -> str:
    return f"{root}/runs/{run_id}/cancel.json"


def cancel(root: Path, run_id: str, note: str = "") -> None:
    """Ask whoever works on the run, or is going to for a command given before now, to leave it."""
    path = Path(_cancel_path(root, run_id))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, msgspec.json.encode(Cancel(time.time(), note)))


def cancelled(root: Path | str, run_id: str, wanted: float) -> Cancel | None:
    """The request made after the command that wanted the run was given (Unix seconds), if any.

    A later command does not see it, so nothing has to be cleared away.
    """
    path = _cancel_path(root, run_id)
    if not os.path.exists(path):
        return None
    try:
        found = msgspec.json.decode(read_regular(path), type=Cancel)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.asked > wanted else None
