"""Fashion-MNIST, long-tailed: four idx files, plain or gzipped.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", 2017: 60,000 training and 10,000 test images, 28x28 grey, of 10 classes. Debian's package
`dataset-fashion-mnist` installs the files below /usr/share/datasets/.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision import groups as profiles
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing

if TYPE_CHECKING:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays, LongTailed

    Array = np.ndarray[Any, np.dtype[Any]]

NAME = "fashion-mnist"
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
N_MAX = 6000
"""Training images of every class of the complete data set."""
N_TEST = 1000
"""Test images of every class."""
LAYOUT = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, each plain or .gz"
)
_FOLDERS = ("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fashion_mnist")
_STEMS = {"train": "train", "test": "t10k"}
_SIDE = 28
_MANIFEST = Path(__file__).parent / "manifests" / "fashion-mnist.json"


def find(name: str, root: Path) -> Path:
    """The folder of the four files: `root`, or one of the usual names below it. Raises DataError."""

    def lacking(place: Path) -> list[str] | None:
        files = [f"{_name(*which)}[.gz]" for which in _WHICH]
        there = [_file(place, *which) for which in _WHICH]
        return missing(files, [file for file, at in zip(files, there, strict=True) if at is None])

    return find_in(name, root, _FOLDERS, LAYOUT, lacking)


def cannot_give(path: Path, profile: str, ratio: float, convention: str) -> str | None:
    """None: a complete copy gives every profile."""
    return None


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: missing files.

    `deep` also reads it. Other images than those of the manifest are no problem here: see `differs`.
    """
    path = Path(path)
    absent = [_name(*which) for which in _WHICH if _file(path, *which) is None]
    if absent or not deep:
        return [f"{path / file}[.gz] is missing" for file in absent]
    try:
        load(name, path, "exp", 1, "first")
    except DataError as error:
        return [str(error)]
    return []


def differs(name: str, path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for files that cannot be read."""
    if not deep or not load(name, path, "exp", 1, "first").variant:
        return ""
    return "its images are not those of the tracked manifest"


def load(name: str, path: Path, profile: str, ratio: float, convention: str) -> LongTailed:
    """Long-tailed training set, class after class, and the whole test set: images (N, 1, 28, 28).

    Raises DataError: a damaged or foreign file; UserError: no such profile.
    """
    from tasks.vision.data.arrays import LongTailed, observed

    counts = profiles.class_counts(profile, N_MAX, len(CLASSES), ratio)
    full, test = _read(Path(path), _stamp(Path(path)))
    train = full.take(profiles.select(full.labels, counts, convention))
    # the copy is complete: its own digests say all there is to say of any subset
    whole = observed(full, test)
    return LongTailed(
        train=train,
        test=test,
        class_counts=counts,
        observed=whole,
        variant=whole != manifest()["observed"],
    )


def split_digest(name: str, profile: str, ratio: float, convention: str) -> str:
    """12 hex digits over which images of each class train, by their place in the class.

    Needs no data: the manifest's, and computed only where it has none. Raises UserError for another
    profile, ratio or convention.
    """
    tracked: str | None = manifest()["train"].get(f"{profile}-{ratio:g}-{convention}")
    return tracked or compute_split_digest(profile, ratio, convention)


def compute_split_digest(profile: str, ratio: float, convention: str) -> str:
    """What `split_digest` reads from the manifest."""
    counts = profiles.class_counts(profile, N_MAX, len(CLASSES), ratio)
    return profiles.split_digest(NAME, N_MAX, counts, convention)


@cache
def manifest() -> dict[str, Any]:
    """The tracked manifest: {"train": {split: 12 hex}, "observed": digests of the complete set}."""
    read: dict[str, Any] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    return read


_WHICH = [(split, kind) for split in _STEMS for kind in ("images", "labels")]


def _name(split: str, kind: str) -> str:
    return f"{_STEMS[split]}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"


def _file(folder: Path, split: str, kind: str) -> Path | None:
    for suffix in ("", ".gz"):
        path = folder / (_name(split, kind) + suffix)
        if path.is_file():
            return path
    return None


def _stamp(folder: Path) -> tuple[tuple[int, int], ...]:
    found = [path.stat() for which in _WHICH if (path := _file(folder, *which))]
    return tuple((file.st_size, file.st_mtime_ns) for file in found)


@lru_cache(maxsize=1)
def _read(folder: Path, stamp: tuple[tuple[int, int], ...]) -> tuple[ImageArrays, ImageArrays]:
    """(train, test), whole. `stamp` is there to miss the cache once a file has changed."""
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays, check_counts, check_labels

    parts = []
    for split in _STEMS:
        arrays = []
        for kind, shape in (("images", (_SIDE, _SIDE)), ("labels", ())):
            path = _file(folder, split, kind)
            if path is None:
                raise DataError(f"{folder}: {_name(split, kind)}[.gz] is missing")
            arrays.append(_read_idx(path, shape))
        images, labels = arrays
        if len(images) != len(labels):
            raise DataError(f"{folder}: {len(images)} {split} images, but {len(labels)} labels")
        training = split == "train"
        check_labels(labels, len(CLASSES), folder, training)
        wanted = (N_MAX if training else N_TEST,) * len(CLASSES)
        check_counts(labels, wanted, folder, "training" if training else "test")
        parts.append(ImageArrays(images[:, None], labels.astype(np.int64)))
    return parts[0], parts[1]


def _read_idx(path: Path, shape: tuple[int, ...]) -> Array:
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
            f"{path} is no idx file of Fashion-MNIST: magic {magic:#x}, sizes {tuple(sizes)}, expected "
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
