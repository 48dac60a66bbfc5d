"""Fashion-MNIST, long-tailed: four idx files, plain or gzipped.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", 2017: 60,000 training and 10,000 test images, 28x28 grey, of 10 classes. Debian's package
`dataset-fashion-mnist` installs the files below /usr/share/datasets/.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision import groups as profiles
from tasks.vision.data import idx_files

if TYPE_CHECKING:
    from tasks.vision.data.arrays import ImageArrays, LongTailed

NAME = "fashion-mnist"
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
N_MAX = 6000
"""Training images of every class of the complete data set."""
N_TEST = 1000
"""Test images of every class."""
LAYOUT = idx_files.LAYOUT
_FOLDERS = ("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fashion_mnist")
_MANIFEST = Path(__file__).parent / "manifests" / "fashion-mnist.json"


def find(name: str, root: Path) -> Path:
    """The folder of the four files: `root`, or one of the usual names below it. Raises DataError."""
    return idx_files.find(name, _FOLDERS, root)


def cannot_give(
    path: Path, profile: str, ratio: float, convention: str, n_max: int | None = None
) -> str | None:
    """None: a complete copy gives every profile."""
    return None


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: missing files.

    `deep` also reads it. Other images than those of the manifest are no problem here: see `differs`.
    """
    path = Path(path)
    absent = idx_files.absent(path)
    if absent or not deep:
        return [f"{path / file} is missing" for file in absent]
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


def load(
    name: str, path: Path, profile: str, ratio: float, convention: str, n_max: int | None = None
) -> LongTailed:
    """Long-tailed (or balanced) training set, class after class, and the whole test set: images (N, 1, 28, 28).

    Raises DataError: a damaged or foreign file; UserError: no such profile.
    """
    from tasks.vision.data.arrays import LongTailed, observed

    counts = profiles.class_counts(
        profile, profiles.largest(n_max, N_MAX, NAME), len(CLASSES), ratio
    )
    full, test = read_whole(name, path)
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


def read_whole(name: str, path: Path) -> tuple[ImageArrays, ImageArrays]:
    """All training and all test images in file order, to be left as they are. Raises DataError."""
    return _read(Path(path), idx_files.stamp(Path(path)))


def split_digest(
    name: str, profile: str, ratio: float, convention: str, n_max: int | None = None
) -> str:
    """12 hex digits over which images of each class train, by their place in the class.

    Needs no data: the manifest's, and computed only where it has none. Raises UserError for another
    profile, ratio or convention.
    """
    tracked: str | None = manifest()["train"].get(f"{profile}-{ratio:g}-{convention}")
    if tracked is None or n_max is not None:
        return compute_split_digest(profile, ratio, convention, n_max)
    return tracked


def compute_split_digest(
    profile: str, ratio: float, convention: str, n_max: int | None = None
) -> str:
    """What `split_digest` reads from the manifest."""
    most = profiles.largest(n_max, N_MAX, NAME)
    counts = profiles.class_counts(profile, most, len(CLASSES), ratio)
    return profiles.split_digest(NAME, N_MAX, counts, convention)


@cache
def manifest() -> dict[str, Any]:
    """The tracked manifest: {"train": {split: 12 hex}, "observed": digests of the complete set}."""
    read: dict[str, Any] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    return read


@lru_cache(maxsize=1)
def _read(folder: Path, stamp: idx_files.Stamp) -> tuple[ImageArrays, ImageArrays]:
    """(train, test), whole. `stamp` is there to miss the cache once a file has changed."""
    classes = len(CLASSES)
    return idx_files.read("Fashion-MNIST", folder, (N_MAX,) * classes, (N_TEST,) * classes)
