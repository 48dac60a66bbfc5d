"""Small files that may be a stranger's, read whole and within bounds.

Whatever is wrong with a file is a DataError of one line.
"""

from __future__ import annotations

import os
from pathlib import Path

from suite.base.bounded import open_regular
from suite.base.errors import DataError


def read_bytes(path: Path, limit: int, mend: str = "copy it again") -> bytes:
    """Content of a regular file of at most `limit` bytes, not empty; links are followed. Raises DataError for anything
    else: missing, a folder, a pipe, too large, not readable."""
    try:
        with open_regular(path) as file:
            # a read takes the memory that it asks for, however short the file is
            content = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {mend}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path} cannot be read: {reason}; {mend}") from None
    if not content:
        raise DataError(f"{path} is empty; {mend}")
    if len(content) > limit:
        raise DataError(f"{path} has more than {limit:,} bytes, so it is another file; {mend}")
    return content


def decode(content: bytes, path: Path, mend: str = "copy it again") -> str:
    """UTF-8, without a byte order mark, lines ending in `\\n`. Raises DataError for other encodings."""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{number}: not UTF-8; {mend}") from None


def read_text(path: Path, limit: int, mend: str = "copy it again") -> str:
    """`decode` of `read_bytes`."""
    return decode(read_bytes(path, limit, mend), path, mend)
