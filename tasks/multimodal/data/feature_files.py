"""Arrays of a feature set: an npz file, or a folder of npy files. Nothing is unpickled, and no size that a file states is
believed.

What fits into memory is read; what does not (features of whole video sets have hundreds of gigabytes) is mapped, and rows are
read when they are asked for. In an npz file that takes members which are not compressed.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from suite.base.bounded import open_regular, parse_pack
from suite.base.errors import DataError, RecordError
from tasks.vision.data.npy import mapped, open_npy

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MEMORY = 1 << 30
"""Bytes of all arrays together up to which they are read whole."""
PICKLED = "nothing of others is unpickled: save every array as plain numbers, with numpy.savez or, one file each, numpy.save"
_DIRECTORY = 1 << 22
_LOCAL = struct.Struct("<4s22xHH")


class Opened(NamedTuple):
    """`arrays` by name, and whether they are mapped."""

    arrays: Mapping[str, Array]
    in_files: bool


def open_arrays(path: Path, wanted: Sequence[str], optional: Sequence[str] = ()) -> Opened:
    """The arrays of these names, of the npz file or the folder `path`; `optional` ones where they are there.

    Raises DataError naming file and array: missing, damaged, no plain numbers, an object array; too large for memory, but
    compressed.
    """
    return _folder(path, wanted, optional) if path.is_dir() else _npz(path, wanted, optional)


def names(path: Path) -> list[str]:
    """Names of the arrays of the npz file or folder, from its table of contents. Raises DataError."""
    if path.is_dir():
        return sorted(file.stem for file in path.glob("*.npy"))
    with _zip(path) as (_, entries):
        return list(entries)


def _folder(path: Path, wanted: Sequence[str], optional: Sequence[str]) -> Opened:
    import numpy as np

    there = [name for name in optional if (path / f"{name}.npy").exists()]
    arrays = {name: open_npy(path / f"{name}.npy") for name in (*wanted, *there)}
    if sum(array.nbytes for array in arrays.values()) > MEMORY:
        return Opened(arrays, True)
    return Opened({name: np.array(array) for name, array in arrays.items()}, False)


def _npz(path: Path, wanted: Sequence[str], optional: Sequence[str]) -> Opened:
    with _zip(path) as (file, entries):
        absent = [name for name in wanted if name not in entries]
        if absent:
            found = ", ".join(list(entries)[:8]) or "nothing"
            raise DataError(
                f"{path} has no array {absent[0]!r}, it holds {found}; copy it again, or add the array"
            )
        size = os.fstat(file.fileno()).st_size
        if max(size, sum(entry.file_size for entry in entries.values())) > MEMORY:
            chosen = [*wanted, *(name for name in optional if name in entries)]
            return Opened({n: _member(file, path, entries[n], size) for n in chosen}, True)
        file.seek(0)
        content = file.read(size + 1)
    try:
        return Opened(parse_pack(content, path, MEMORY), False)
    except RecordError as error:
        raise DataError(
            f"{error}; {PICKLED if 'not plain' in str(error) else 'copy it again'}"
        ) from None


class _Bounded(io.BufferedReader):
    """A file of which no single read may ask for more than `limit` bytes: zipfile reads a table of contents at once,
    whatever size it claims."""

    limit: int | None = _DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is not None:
            here = self.tell()
            rest = self.seek(0, os.SEEK_END) - here
            self.seek(here)
            size = rest if size is None or size < 0 else min(size, rest)
            if size > self.limit:
                raise zipfile.BadZipFile("its table of contents is too large")
        return super().read(size)


@contextmanager
def _zip(path: Path) -> Iterator[tuple[BinaryIO, dict[str, zipfile.ZipInfo]]]:
    """The open file, and its members by the name of their array."""
    try:
        opened = cast("io.BufferedReader", open_regular(path))
    except FileNotFoundError:
        raise DataError(f"{path} is missing; copy it there") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None
    with _Bounded(opened.detach()) as file:
        if file.read(1) == b"\x80":
            raise DataError(f"{path} is a pickle; {PICKLED}")
        try:
            found = zipfile.ZipFile(file).infolist()
        except (
            Exception
        ) as error:  # zip and encodings each have their own way to say that it is damaged
            text = " ".join(str(error).split())[:100] or type(error).__name__
            raise DataError(f"{path} is no npz file, or damaged ({text}); copy it again") from None
        file.limit = None
        yield (
            cast("BinaryIO", file),
            {e.filename.removesuffix(".npy"): e for e in found if e.filename.endswith(".npy")},
        )


def _member(file: BinaryIO, path: Path, entry: zipfile.ZipInfo, size: int) -> Array:
    """The member, mapped."""
    if entry.flag_bits & 0x1 or entry.compress_type != zipfile.ZIP_STORED:
        raise DataError(
            f"{path} is too large for memory ({entry.file_size:,} bytes of {entry.filename}) and compressed, so that rows "
            "cannot be read by themselves; save it with numpy.savez instead of savez_compressed, or every array as an npy "
            "file of its own in one folder"
        )
    file.seek(entry.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise DataError(f"{path}: member {entry.filename} is damaged; copy it again")
    _, name, extra = _LOCAL.unpack(header)
    begin = entry.header_offset + _LOCAL.size + name + extra
    if begin + entry.file_size > size:
        raise DataError(f"{path}: member {entry.filename} ends early; copy it again")
    return mapped(file, f"{path}: {entry.filename}", entry.file_size, begin)
