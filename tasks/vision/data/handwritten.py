"""scikit-learn's handwritten digits, read from its file: importing `sklearn.datasets` takes longer than a small training."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version_of
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

FILE = Path("datasets", "data", "digits.csv.gz")
"""Below the package: 64 grey levels and the digit in each line."""


def digits() -> tuple[Array, Array]:
    """Images float64 (1797, 8, 8), grey levels 0..16, and digits int64 (1797,), as `load_digits` gives them."""
    import numpy as np

    path = file()
    if path is None:
        from sklearn.datasets import load_digits

        bunch: Any = load_digits()
        return bunch.images, bunch.target
    table = np.loadtxt(path, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def file() -> Path | None:
    """The file of the installed scikit-learn; None where that keeps it elsewhere."""
    found = find_spec("sklearn")
    for place in (found.submodule_search_locations or ()) if found else ():
        if (path := Path(place) / FILE).is_file():
            return path
    return None


def version() -> str:
    """Of scikit-learn, for messages; "" where it is unknown."""
    try:
        return _version_of("scikit-learn")
    except PackageNotFoundError:
        return ""
