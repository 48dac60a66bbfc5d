"""Arrays of an npz file, memory-mapped where they lie in it: nothing is unpickled, and files may be larger than memory."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from suite.base.bounded import open_regular
from suite.base.errors import DataError
from tasks.vision.data.npy import mapped

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_MEMBERS = 1024
_MAX_DIRECTORY = 1 << 20
_LOCAL = struct.Struct("<4s22xHH")
"""Of a member's local header: signature, length of its name, length of what else stands before its bytes."""


def open_npz(path: Path, wanted: Sequence[str], convert: str) -> dict[str, Array]:
    """The arrays of these names, mapped read-only, as `numpy.savez` stores them. Others in the file are not looked at.

    `convert` says what to do about what is unpickled elsewhere. Raises DataError naming file and array: missing, a pickle or
    no npz file, an array that is missing, of Python objects (pickled within), compressed, no plain numbers, or damaged.
    """
    with _opened(path, convert) as file:
        return {
            name: _member(file, path, entry, name, convert)
            for name, entry in _members(file, path, wanted)
        }


def array_names(path: Path, convert: str) -> list[str]:
    """Names of the arrays of an npz file, from its table of contents. Raises DataError as `open_npz`."""
    with _opened(path, convert) as file:
        names = _entries(file, path)
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


@contextmanager
def _opened(path: Path, convert: str) -> Iterator[BinaryIO]:
    try:
        with open_regular(path) as file:
            begin = file.read(4)
            # every pickle since protocol 2 begins so
            if begin[:1] == b"\x80":
                raise DataError(f"{path} is a pickle, whatever its name says; {convert}")
            if begin != b"PK\x03\x04":
                raise DataError(f"{path} is no npz file; {convert}")
            yield file
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {convert}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None


class _Guarded:
    """A file of which no single read may ask for more than a directory has: zipfile reads and parses a table of contents as
    long as the file says."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_DIRECTORY:
            raise zipfile.BadZipFile("its table of contents is too large")
        return self._file.read(_MAX_DIRECTORY if size < 0 else size)

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def _entries(file: BinaryIO, path: Path) -> dict[str, zipfile.ZipInfo]:
    try:
        file.seek(0)
        entries = zipfile.ZipFile(_Guarded(file)).infolist()  # type: ignore[arg-type]
    except (
        Exception
    ) as error:  # zip and its parser each have their own way to say that it is damaged
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} is a damaged npz file ({reason}); make it again") from None
    names = [entry.filename for entry in entries]
    if len(names) > MAX_MEMBERS or len(set(names)) < len(names):
        raise DataError(
            f"{path} holds {len(names):,} arrays, {len(set(names)):,} of different names; make it again"
        )
    return dict(zip(names, entries, strict=True))


def _members(
    file: BinaryIO, path: Path, wanted: Sequence[str]
) -> list[tuple[str, zipfile.ZipInfo]]:
    there = _entries(file, path)
    absent = [name for name in wanted if f"{name}.npy" not in there]
    if absent:
        found = sorted(name.removesuffix(".npy")[:40] for name in there)
        some = ", ".join(found[:8]) + ", ..." * (len(found) > 8)
        raise DataError(
            f"{path} lacks the array{'s' * (len(absent) > 1)} {', '.join(absent)}; it holds {some or 'none'}"
        )
    return [(name, there[f"{name}.npy"]) for name in wanted]


def _member(file: BinaryIO, path: Path, entry: zipfile.ZipInfo, name: str, convert: str) -> Array:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise DataError(
            f"{path}: {name} is compressed, so it cannot be mapped; save the arrays with numpy.savez, not savez_compressed"
        )
    if entry.flag_bits & 1:
        raise DataError(f"{path}: {name} is encrypted; save the arrays with numpy.savez")
    file.seek(entry.header_offset)
    local = file.read(_LOCAL.size)
    if len(local) < _LOCAL.size or not local.startswith(b"PK\x03\x04"):
        raise DataError(f"{path}: {name} is not where the file says; make it again")
    _, title, extra = _LOCAL.unpack(local)
    begin = entry.header_offset + _LOCAL.size + title + extra
    if begin + entry.file_size > file.seek(0, 2):
        raise DataError(f"{path} is cut off: {name} goes on after its end; make it again")
    file.seek(begin)
    if b"'descr': '|O'" in file.read(256):
        raise DataError(f"{path}: {name} is an array of Python objects, pickled within; {convert}")
    return mapped(file, f"{path}, array {name}", entry.file_size, begin)
