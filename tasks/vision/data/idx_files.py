"""Four idx files, plain or gzipped: the layout of MNIST, which Fashion-MNIST shares. Images are 28x28, grey."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing

if TYPE_CHECKING:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays

    Array = np.ndarray[Any, np.dtype[Any]]

LAYOUT = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, each plain or .gz"
)
SIDE = 28
_STEMS = {"train": "train", "test": "t10k"}
_WHICH = [(split, kind) for split in _STEMS for kind in ("images", "labels")]

Stamp = tuple[tuple[int, int], ...]


def find(name: str, folders: Iterable[str], root: Path) -> Path:
    """The folder of the four files: `root`, or one of `folders` below it. Raises DataError, see `find.find`."""

    def lacking(place: Path) -> list[str] | None:
        return missing([f"{_name(*which)}[.gz]" for which in _WHICH], absent(place))

    return find_in(name, root, folders, LAYOUT, lacking)


def absent(folder: Path) -> list[str]:
    """Names of the files that are not there."""
    return [f"{_name(*which)}[.gz]" for which in _WHICH if _file(folder, *which) is None]


def stamp(folder: Path) -> Stamp:
    """Sizes and times of change of the files that are there: for a cache that has to miss once one has changed."""
    found = [path.stat() for which in _WHICH if (path := _file(folder, *which))]
    return tuple((file.st_size, file.st_mtime_ns) for file in found)


def read(
    title: str, folder: Path, train_counts: Sequence[int], test_counts: Sequence[int]
) -> tuple[ImageArrays, ImageArrays]:
    """(train, test), whole: images uint8 (N, 1, 28, 28).

    `train_counts` and `test_counts` are the images of each class. Raises DataError for a file that is missing, damaged
    or no idx file of 28x28 images, and for other counts: copies that lack images, and other data in the same files.
    """
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays, check_counts, check_labels

    parts = []
    for split, counts in (("train", train_counts), ("test", test_counts)):
        arrays = []
        for kind, shape in (("images", (SIDE, SIDE)), ("labels", ())):
            path = _file(folder, split, kind)
            if path is None:
                raise DataError(f"{folder}: {_name(split, kind)}[.gz] is missing")
            arrays.append(_read_idx(title, path, shape))
        images, labels = arrays
        if len(images) != len(labels):
            raise DataError(f"{folder}: {len(images)} {split} images, but {len(labels)} labels")
        training = split == "train"
        check_labels(labels, len(counts), folder, training)
        check_counts(labels, counts, folder, "training" if training else "test")
        parts.append(ImageArrays(images[:, None], labels.astype(np.int64)))
    return parts[0], parts[1]


def _name(split: str, kind: str) -> str:
    return f"{_STEMS[split]}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"


def _file(folder: Path, split: str, kind: str) -> Path | None:
    for suffix in ("", ".gz"):
        path = folder / (_name(split, kind) + suffix)
        if path.is_file():
            return path
    return None


def _read_idx(title: str, path: Path, shape: tuple[int, ...]) -> Array:
    """uint8 (N, *shape) from an idx file. Raises DataError for any other content."""
    import numpy as np

    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); copy it again") from None
    header = 4 * (2 + len(shape))
    if len(raw) < header:
        raise DataError(f"{path} is no idx file: it ends after {len(raw)} bytes")
    magic, count, *sizes = struct.unpack(f">{2 + len(shape)}I", raw[:header])
    if magic != 0x800 + 1 + len(shape) or tuple(sizes) != shape:
        raise DataError(
            f"{path} is no idx file of {title}: magic {magic:#x}, sizes {tuple(sizes)}, expected "
            f"{0x800 + 1 + len(shape):#x} and {shape}"
        )
    wanted = count * int(np.prod(shape, dtype=np.int64))
    if len(raw) - header != wanted:
        raise DataError(
            f"{path} is damaged: {len(raw) - header} bytes of data, its header says {wanted}; copy it "
            "again"
        )
    # a copy, because torch warns of arrays that cannot be written
    return np.frombuffer(raw, np.uint8, offset=header).reshape(count, *shape).copy()
