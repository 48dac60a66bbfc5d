"""Arrays of a feature set: an npz file, or a folder of npy files. Nothing is unpickled, and no size that a file states is
believed.

What fits into memory is read; what does not (features of whole video sets have hundreds of gigabytes) is mapped, and rows are
read when they are asked for. In an npz file that takes arrays which are not compressed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.base.bounded import open_regular, parse_pack
from suite.base.errors import DataError, RecordError
from tasks.multimodal.data.stored_arrays import array_names, open_npz
from tasks.vision.data.npy import open_npy

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MEMORY = 1 << 30
"""Bytes of all arrays together up to which they are read whole."""
PLAIN = "save every array as plain numbers, with numpy.savez or, one file each, numpy.save: nothing of others is unpickled"


class Opened(NamedTuple):
    """`arrays` by name, and whether they are mapped."""

    arrays: Mapping[str, Array]
    in_files: bool


def open_arrays(path: Path, wanted: Sequence[str], optional: Sequence[str] = ()) -> Opened:
    """The arrays of these names, of the npz file or the folder `path`; `optional` ones where they are there.

    Raises DataError naming file and array: missing, damaged, no plain numbers, an object array; too large for memory, but
    compressed.
    """
    import numpy as np

    there = names(path)
    chosen = [*wanted, *(name for name in optional if name in there)]
    if path.is_dir():
        arrays = {name: open_npy(path / f"{name}.npy") for name in chosen}
        if sum(array.nbytes for array in arrays.values()) > MEMORY:
            return Opened(arrays, True)
        return Opened({name: np.array(array) for name, array in arrays.items()}, False)
    absent = [name for name in wanted if name not in there]
    if absent:
        some = ", ".join(there[:8]) + ", ..." * (len(there) > 8)
        raise DataError(
            f"{path} has no array {absent[0]!r}, it holds {some}; copy it again, or add it"
        )
    with open_regular(path) as file:
        # a large file is not read to find that out
        large = os.fstat(file.fileno()).st_size > MEMORY
        content = b"" if large else file.read(MEMORY + 1)
    if large or len(content) > MEMORY:
        return Opened(open_npz(path, chosen, PLAIN), True)
    try:
        arrays = parse_pack(content, path, MEMORY)
    except RecordError as error:
        if "unpacks to" in str(error):
            raise DataError(
                f"{error} that are read into memory, and compressed rows cannot be read by themselves; save it with "
                "numpy.savez instead of savez_compressed, or each array as an npy file in one folder"
            ) from None
        raise DataError(f"{error}; {PLAIN}, or copy it again") from None
    return Opened({name: arrays[name] for name in chosen}, False)


def names(path: Path) -> list[str]:
    """Names of the arrays of the npz file or folder, none of which is read. Raises DataError."""
    if path.is_dir():
        return sorted(file.stem for file in path.glob("*.npy"))
    return array_names(path, PLAIN)
