"""Files that may be a stranger's, read within bounds: nothing is unpickled, and no size that a file states is
believed."""

from __future__ import annotations

import errno
import io
import math
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from suite.base.errors import RecordError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


MAX_JSON = 1 << 25
"""Bytes of a JSON file; a record of 100,000 classes and an evaluation of 300,000 rows stay below."""
MAX_FILE = 1 << 31
"""Bytes of `predictions.npz`."""
MAX_ARRAYS = 1 << 32
"""Bytes of all its arrays together, as their headers declare them."""
MAX_MEMBERS = 4096
"""Arrays in it."""
_MAX_DIRECTORY = 1 << 22
_MAX_DIMENSIONS = 8
_MAX_WORD = 1024
"""Characters of an entry of a text array."""
_CHUNK = 1 << 22
_MEMBER = re.compile(r"[\w.,=+-]{1,100}/[\w.+-]{1,100}\.npy", re.ASCII)
"""`<set>/<array>.npy`. Set names are such as `corruption=fog,severity=3`."""
_FLAT = re.compile(r"[\w.+-]{1,100}\.npy", re.ASCII)


def open_regular(path: Path, flags: int = 0) -> BinaryIO:
    """A regular file, open for reading. Raises OSError for anything else: opening a pipe would wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path | str) -> bytes:
    """Content of a regular file. Raises OSError for anything else: a pipe would never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read()


def read_file(path: Path, limit: int) -> bytes:
    """Content of a regular file of at most `limit` bytes. Raises RecordError naming it: a link, a pipe, a
    device, too large, or not readable; FileNotFoundError."""
    try:
        with open_regular(path, os.O_NOFOLLOW) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise RecordError(f"{path}: {size:,} bytes, more than {limit:,}")
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordError(f"{path}: cannot be read ({reason})") from None
    if len(content) > limit:
        raise RecordError(f"{path}: grew above {limit:,} bytes while it was read")
    return content


class _Guarded(io.BytesIO):
    """The bytes of a zip file, of which no single read may ask for more than `limit`: zipfile reads a
    whole table of contents at once, whatever size it claims, and parses it in Python."""

    limit: int | None = _MAX_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        rest = len(self.getbuffer()) - self.tell()
        wanted = rest if size is None or size < 0 else min(size, rest)
        if self.limit is not None and wanted > self.limit:
            raise zipfile.BadZipFile("its table of contents is too large")
        return super().read(size)


def parse_arrays(
    content: bytes, path: Path, limit: int = MAX_ARRAYS
) -> dict[str, dict[str, Array]]:
    """Set -> array name -> array, of the content of an npz file called `path`.

    Takes plain arrays of booleans, numbers and short texts, of at most `limit` bytes together as they
    declare themselves; no more than that is ever unpacked. Raises RecordError for anything else.
    """
    sets: dict[str, dict[str, Array]] = {}
    for name, array in _parsed(content, path, limit, _MEMBER, "<set>/<array>.npy"):
        set_name, _, key = name.partition("/")
        sets.setdefault(set_name, {})[key] = array
    return sets


def parse_pack(content: bytes, path: Path, limit: int = MAX_ARRAYS) -> dict[str, Array]:
    """Array name -> array, of an npz file as `numpy.savez` writes it; otherwise as `parse_arrays`."""
    return dict(_parsed(content, path, limit, _FLAT, "<array>.npy"))


def _parsed(
    content: bytes, path: Path, limit: int, member: re.Pattern[str], form: str
) -> list[tuple[str, Array]]:
    """(member without `.npy`, array) of all members, see `parse_arrays`."""
    try:
        found = list(_members(content, limit, member, form))
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None
    except Exception as error:
        # zip, zlib, numpy, the parser and memory each have their own way to say that it is damaged
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise RecordError(f"{path}: damaged or not plain arrays ({text})") from None
    return [(name.removesuffix(".npy"), array) for name, array in found]


def read_arrays(path: Path, limit: int = MAX_ARRAYS) -> dict[str, dict[str, Array]]:
    """The same of the file `path`. Raises RecordError, also where there is none."""
    try:
        content = read_file(path, MAX_FILE)
    except FileNotFoundError:
        raise RecordError(f"{path}: no stored predictions") from None
    return parse_arrays(content, path, limit)


def _members(
    content: bytes, limit: int, member: re.Pattern[str], form: str
) -> Iterator[tuple[str, Array]]:
    source = _Guarded(content)
    with zipfile.ZipFile(source) as file:
        entries = file.infolist()
        if len(entries) > MAX_MEMBERS:
            raise RecordError(f"{len(entries):,} members, more than {MAX_MEMBERS:,}")
        names = [entry.filename for entry in entries]
        odd = [name for name in names if not member.fullmatch(name) or ".." in name]
        if odd:
            raise RecordError(f"a member is called {odd[0][:80]!r}, not {form}")
        if len(set(names)) < len(names):
            raise RecordError("two members of one name")
        declared = sum(entry.file_size for entry in entries)
        if declared > limit:
            raise RecordError(f"unpacks to {declared:,} bytes, more than {limit:,}")
        if sum(entry.compress_size for entry in entries) > len(content):
            raise RecordError("members overlap: it would unpack the same bytes again and again")
        for entry in entries:
            if entry.flag_bits & 0x1:
                raise RecordError(f"{entry.filename} is encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise RecordError(f"{entry.filename} is compressed in an unusual way")
            source.limit = None
            with file.open(entry) as stream:
                yield entry.filename, _array(cast("io.BufferedIOBase", stream), entry)


def _array(stream: io.BufferedIOBase, entry: zipfile.ZipInfo) -> Array:
    import numpy as np

    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise RecordError(f"{entry.filename} is of npy version {version}")
    if dtype.kind not in "biufU" or dtype.hasobject or dtype.fields or dtype.subdtype:
        raise RecordError(f"{entry.filename} holds {str(dtype)[:60]}, not plain numbers or texts")
    if dtype.kind == "U" and not 0 < dtype.itemsize <= 4 * _MAX_WORD:
        raise RecordError(f"{entry.filename} holds texts of {dtype.itemsize // 4} characters")
    if len(shape) > _MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
        raise RecordError(f"{entry.filename} has the shape {str(shape)[:60]}")
    size = math.prod(shape) * dtype.itemsize
    if not size and max(shape, default=0) > MAX_MEMBERS:
        raise RecordError(f"{entry.filename} is empty, of the shape {str(shape)[:60]}")
    if stream.tell() + size != entry.file_size:
        raise RecordError(
            f"{entry.filename}: its header tells of {size:,} bytes, the file of others"
        )
    array = np.empty(shape, dtype, order="F" if fortran else "C")
    if size:
        # `reshape` of what is contiguous in its own order is a view: the bytes go into the array itself
        flat: Any = array.reshape(-1, order="F" if fortran else "C")
        view = memoryview(flat.view(np.uint8))
        read = 0
        while read < size:
            part = stream.read(min(_CHUNK, size - read))
            if not part:
                raise RecordError(f"{entry.filename} ends early")
            view[read : read + len(part)] = part
            read += len(part)
    if stream.read(1):  # also makes zipfile compare the checksum
        raise RecordError(f"{entry.filename} goes on after its end")
    if dtype.kind == "U":
        array.tolist()  # ValueError: not characters
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
