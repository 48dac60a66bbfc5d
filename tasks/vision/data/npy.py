"""`.npy` files, memory-mapped: nothing is unpickled, and no size that a header states is believed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from suite.base.bounded import open_regular
from suite.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

PICKLES = (".pkl", ".pickle", ".p", ".pt", ".pth")
_MAGIC = b"\x93NUMPY"
_REMEDY = "nothing of others is unpickled: save it as plain numbers with numpy.save, or copy the original again"


def open_npy(path: Path) -> Array:
    """The array, mapped read-only: pages are read when they are asked for.

    Raises DataError naming the file: missing, no npy file, a pickle (with or without a header of numpy's), no numbers,
    empty, or longer or shorter than its header says.
    """
    try:
        with open_regular(path) as file:
            begin = file.read(len(_MAGIC))
            # every pickle since protocol 2 begins so
            if begin[:1] == b"\x80":
                raise DataError(f"{path} is a pickle; {_REMEDY}")
            if begin != _MAGIC:
                raise DataError(f"{path} is no npy file; copy it again")
            return mapped(file, path, file.seek(0, 2))
    except FileNotFoundError:
        pickled = [path.with_suffix(s).name for s in PICKLES if path.with_suffix(s).is_file()]
        instead = f", and {pickled[0]} is a pickle; {_REMEDY}" if pickled else ""
        raise DataError(f"{path} is missing{instead}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None


def mapped(file: BinaryIO, path: Path | str, size: int, begin: int = 0) -> Array:
    """The array that lies in `file` from byte `begin` on, `size` bytes with its header, mapped read-only.

    `path` is what messages call it. Raises DataError as `open_npy`.
    """
    import numpy as np

    file.seek(begin)
    shape, fortran, dtype = _header(file, path)
    wanted = math.prod(shape) * dtype.itemsize
    offset = file.tell()
    found = begin + size - offset
    if found != wanted:
        raise DataError(
            f"{path} is damaged: {found:,} bytes of data, its header says {wanted:,}; copy it again"
        )
    if not wanted:
        raise DataError(f"{path} holds nothing: its shape is {shape}")
    return np.memmap(
        file, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
    )


def _header(file: Any, path: Path | str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    import numpy as np

    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"npy version {version}")
        read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, fortran, dtype = read(file)
        if any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"shape {shape}")
    except Exception as error:  # whatever a damaged header brings about
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} has a damaged header ({text}); copy it again") from None
    if dtype.hasobject:
        raise DataError(f"{path} holds pickled Python objects; {_REMEDY}")
    if dtype.kind not in "biuf" or dtype.subdtype:
        raise DataError(f"{path} holds {str(dtype)[:60]}, not plain numbers; copy it again")
    return shape, fortran, dtype
