"""Files and folders of exports: written whole or not at all, never over what export did not write."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from suite.base.errors import UserError
from suite.base.files import write_atomic

MARKER = ".longtail-export.json"
"""In a folder that export wrote: the files in it. Only these are ever removed."""


class _Marker(msgspec.Struct, frozen=True, kw_only=True):
    made_by: str
    schema: int = 1
    files: list[str]


def write_file(path: Path, content: bytes) -> None:
    """Write one file, and the folders above it. What a link leads to is written, not the link; a device or
    a pipe is written to. Raises UserError."""
    if path.is_dir():
        raise UserError(f"-o {path}: is a folder; name a file in it, or use --format html")
    with _writable(path):
        if is_stream(path):
            with open(path, "wb", buffering=0) as stream:
                _write_all(stream, content)
            return
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)


def is_stream(path: Path) -> bool:
    """Whether `path` is no place for a file: a device, a pipe, a socket, one of this process's own streams
    (`/dev/stdout`, `/dev/fd/3`), wherever that leads."""
    own = path.absolute().as_posix().startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return path.exists() and not path.is_dir() and (own or not path.is_file())


def _write_all(stream: io.FileIO, content: bytes) -> None:
    left = memoryview(content)
    with contextlib.suppress(BrokenPipeError):  # whoever reads has had enough
        while left:
            left = left[stream.write(left) :]


def check_folder(path: Path) -> None:
    """Raise UserError where a folder may not be written to `path`.

    Written may be: a new one, an empty one, one that holds nothing but what an export wrote.
    """
    if path.is_symlink():
        raise UserError(f"-o {path}: is a link; name the folder that it leads to")
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"-o {path}: is a file; html is a folder")
    with _writable(path):
        found = set(_inside(path))
    foreign = sorted(found - {MARKER} - _written(path))
    if foreign:
        some = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise UserError(
            f"-o {path}: holds {len(foreign)} file(s) that no export wrote ({some}); "
            "name a new folder"
        )


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Replace the folder `path` by what `fill` writes into the empty folder it is given.

    A reader sees the old folder or the new one. Raises UserError, as `check_folder`.
    """
    check_folder(path)
    # beside it: a rename does not cross file systems
    path = path.absolute()
    fresh = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")
    try:
        with _writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.mkdir()
            fill(fresh)
            marker = _Marker(made_by="longtail-suite", files=sorted(_inside(fresh)))
            (fresh / MARKER).write_bytes(msgspec.json.encode(marker))
            # again: somebody may have put a file there meanwhile
            check_folder(path)
            _swap(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _inside(path: Path) -> Iterator[str]:
    """Files and links below a folder, relative to it. Follows no link."""
    for folder, folders, names in os.walk(path):
        # what a link to a folder holds is not ours: the link itself counts
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(folder, name), path)


def _written(path: Path) -> set[str]:
    try:
        marker = msgspec.json.decode((path / MARKER).read_bytes(), type=_Marker)
    except (OSError, msgspec.DecodeError):
        return set()
    return set(marker.files) if marker.made_by == "longtail-suite" else set()


def _swap(fresh: Path, path: Path) -> None:
    """Put `fresh` in the place of `path`; what was there is then at `fresh`, or gone if empty."""
    try:
        # succeeds where nothing or an empty folder is there
        os.rename(fresh, path)
        return
    except OSError:
        if not path.is_dir():
            raise
    if not _exchange(fresh, path):
        # no such call on this system: for an instant there is no folder, but never half of one
        old = fresh.with_name(f"{fresh.name}.old")
        os.rename(path, old)
        os.rename(fresh, path)
        os.rename(old, fresh)


def _exchange(a: Path, b: Path) -> bool:
    """Linux's renameat2(RENAME_EXCHANGE); False where there is none."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    done = call(here, os.fsencode(a), here, os.fsencode(b), ctypes.c_uint(exchange))
    return bool(done == 0)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"-o {path}: cannot be written ({error.strerror or error})") from None
