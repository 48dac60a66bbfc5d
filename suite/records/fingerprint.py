"""Checksums of stored predictions: whether two runs put out the very same arrays."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
from suite.base.bounded import open_regular

Fingerprint = dict[str, tuple[int, int]]
"""`<set>/<array>.npy` -> CRC-32 and size of its content in npy form."""


def fingerprint(sets: Mapping[str, Mapping[str, Array]]) -> Fingerprint:
    """What `stored_fingerprint` says of a file that holds these arrays."""
    import numpy as np

    found = {}
    for name, arrays in sets.items():
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            content = buffer.getbuffer()
            found[f"{name}/{key}.npy"] = zlib.crc32(content), len(content)
    return found


def stored_fingerprint(path: Path) -> Fingerprint | None:
    """Of one of our own files, from its table of contents: no array is read. None: missing, damaged."""
    try:
        with open_regular(path) as source, zipfile.ZipFile(source) as file:
            return {entry.filename: (entry.CRC, entry.file_size) for entry in file.infolist()}
    except (OSError, zipfile.BadZipFile, ValueError):
        return None
