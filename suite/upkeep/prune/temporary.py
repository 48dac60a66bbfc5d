"""Temporary files and folders of `suite.base.files`, and whether their process is gone."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from suite.records.files import STALE_HEARTBEAT_SECONDS

FORGOTTEN_SECONDS = 86400.0
"""A temporary file that was not written to for so long has no writer, on whatever machine it was."""
_TEMPORARY = re.compile(r"\..+\.(?P<host>[^/]+?)\.(?P<pid>[0-9]+)\.tmp")


def temporaries(folder: Path, *, deep: bool) -> Iterator[Path]:
    """What dead processes left in a folder, and below it; links are not followed."""
    if folder.is_symlink():
        return
    for here, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            if _TEMPORARY.fullmatch(name) and is_dead(path := Path(here, name)):
                yield path
        folders[:] = [n for n in folders if deep and not _TEMPORARY.fullmatch(n)]


def is_dead(path: Path) -> bool:
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
