"""Find the files that concern the store, and see which have changed, without opening any."""

import os
from pathlib import Path
from stat import S_ISREG

from suite.records.files import ATTEMPT, RUN_ID

Stamp = tuple[int, int]
"""(mtime in ns, size in bytes): an equal stamp means an unchanged file."""

ATTEMPT_FILES = ("record.json", "status.json", "spec.json")
"""They make one row of `facts` together."""

# not stamps of readable files: NOT_OURS is refused unread, UNREAD is tried again at every ingest
NOT_OURS: Stamp = (-1, -1)
UNREAD: Stamp = (-2, -2)
UNREADABLE: Stamp = (-3, -3)
"""A folder that this user may not look into."""


def scan(root: Path) -> dict[str, Stamp]:
    """Path below `root` -> stamp, for every file that concerns the store. Opens none of them.

    Names starting with `.` are temporary files of a writer and are passed over. What has no place
    in the layout of `suite.records.files` gets the stamp `NOT_OURS`, a folder that may not be looked into
    `UNREADABLE`. Raises OSError where the runs cannot be listed.
    """
    found: dict[str, Stamp] = {}
    top = os.fspath(root) + "/"
    for run in _folders(top + "runs"):
        here = f"runs/{run}/"
        if not RUN_ID.fullmatch(run):
            found[printable(here)] = NOT_OURS
            continue
        try:
            numbers = _folders(top + here)
        except OSError:
            found[here] = UNREADABLE
            continue
        for number in numbers:
            folder = f"{here}{number}/"
            if not ATTEMPT.fullmatch(number):
                found[printable(folder)] = NOT_OURS
                continue
            for name in ATTEMPT_FILES:
                try:
                    status = os.stat(top + folder + name)
                except PermissionError:
                    found[folder] = UNREADABLE
                    break
                except OSError:
                    continue
                found[folder + name] = _stamp(status)
                if name == "status.json" and folder + "record.json" in found:
                    break  # a record holds the spec
            try:
                entries = os.scandir(top + folder + "evaluations")
            except OSError:
                continue
            with entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    try:
                        stamp = _stamp(entry.stat())
                    except OSError:
                        continue
                    path = f"{folder}evaluations/{entry.name}"
                    name = printable(path)
                    found[name] = stamp if name == path else NOT_OURS
    return found


def is_attempt_file(path: str) -> bool:
    """Whether `path` is `runs/<run_id>/<k>/` and one of `ATTEMPT_FILES`."""
    return path.endswith(ATTEMPT_FILES) and path.count("/") == 3


def printable(path: str) -> str:
    """`path` with bytes that are no UTF-8 (surrogates, in Python) spelled out."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def _folders(path: str) -> list[str]:
    try:
        entries = os.scandir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    with entries:
        for entry in entries:
            try:
                folder = entry.is_dir()
            except OSError:  # a link that leads round in a circle
                folder = True
            if folder and not entry.name.startswith("."):
                found.append(entry.name)
    return found


def _stamp(status: os.stat_result) -> Stamp:
    return (status.st_mtime_ns, status.st_size) if S_ISREG(status.st_mode) else NOT_OURS
