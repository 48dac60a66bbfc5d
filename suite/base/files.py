"""Canonical JSON for identities, and files that are either whole or absent."""

import os
from pathlib import Path
from typing import Any


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write `content` so that a reader, or a crash at any instant, sees the old file or the new.

    Temporary file in the same folder, fsync, rename, fsync of the folder. `durable=False` leaves out
    the fsyncs: for heartbeats, whose loss in a power failure costs nothing. On any error (disk full
    among them) the temporary file is removed and the old file stands. Raises OSError.
    """
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(content)


class atomic_path:
    """Context manager: a temporary path beside `path` that becomes `path` when the block succeeds."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path, self.durable = path, durable
        # the name carries the process: two copies of one run may write the same file at once
        self.temporary = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self.temporary.unlink(missing_ok=True)
            return
        try:
            if self.durable:
                _fsync(self.temporary)
            os.replace(self.temporary, self.path)
            if self.durable:
                _fsync(self.path.parent)
        except OSError:
            self.temporary.unlink(missing_ok=True)
            raise


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
