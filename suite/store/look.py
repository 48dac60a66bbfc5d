"""What the last look at all files of a large root found, and whether it still holds.

A reader of a root of more than `LOOKED_AT_ABOVE` files takes the store as up to date if it is the one of
the last look, less than `LOOK_SECONDS` ago, and since then neither a run was added nor the suite has written
a status, record or evaluation. (Files copied into existing runs by other means are seen at the next look.)
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from suite.base.canonical import short_hash
from suite.base.files import write_atomic
from suite.records.attempt import change_mark, mark_changed
from suite.store.connection import store_path

LOOK_FILE = "store.look.json"
LOOKED_AT_ABOVE, LOOK_SECONDS = 50_000, 300.0


class Look(msgspec.Struct, frozen=True):
    """What a look at all files found: kept beside the store of a large root."""

    at: float
    stamps: list[int]
    settings: str
    counts: tuple[int, int, int]
    refused: list[tuple[str, str]]


def stamps(root: Path) -> list[int]:
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


def last_look(root: Path, settings: Mapping[str, str]) -> Look | None:
    """The last look, where it still holds. `settings`: what the store depends on besides files."""
    try:
        path = store_path(root).with_name(LOOK_FILE)
        look = msgspec.json.decode(path.read_bytes(), type=Look)
    except (OSError, msgspec.DecodeError):
        return None
    same = look.stamps == stamps(root) and look.settings == short_hash(dict(settings))
    return look if same and 0 <= time.time() - look.at < LOOK_SECONDS else None


def keep_look(
    root: Path,
    begun: float,
    before: list[int],
    settings: Mapping[str, str],
    files: int,
    counts: tuple[int, int, int],
    refused: list[tuple[str, str]],
) -> None:
    """Remember a look at so many files that began at `begun` (Unix seconds), when the stamps were `before`."""
    path = store_path(root).with_name(LOOK_FILE)
    if files <= LOOKED_AT_ABOVE:
        # of results that may only be read, not even a file that is not there is removed
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return
    if not change_mark(root).exists():
        mark_changed(root)
        return
    # the clock of files has ticks: a change in the same one as the look's beginning would not show
    if not before or before[-1] > (begun - 1) * 1e9:
        return
    after = stamps(root)
    if after[2:] != before[2:]:
        return
    look = Look(begun, after, short_hash(dict(settings)), counts, refused)
    with contextlib.suppress(OSError):
        write_atomic(path, msgspec.json.encode(look), durable=False)
