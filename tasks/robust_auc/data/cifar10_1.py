"""CIFAR-10.1: 2,000 new test images of CIFAR-10's classes.

Recht, Roelofs, Schmidt and Shankar, "Do CIFAR-10 Classifiers Generalize to CIFAR-10?", arXiv 1806.00451: version 6,
`cifar10.1_v6_data.npy` uint8 (2000, 32, 32, 3) and `cifar10.1_v6_labels.npy`, 200 images a class; copies may call them
`data.npy` and `label.npy`. A natural shift, set `shift=cifar10.1`: none of its images is one of the clean test set.
"""

from __future__ import annotations

from pathlib import Path

from suite.base.errors import DataError
from tasks.robust_auc.data.npy import open_images, open_labels
from tasks.robust_auc.data.release import take
from tasks.vision.data.arrays import ImageArrays, check_counts
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing

NAME = "cifar10.1"
SET_NAME = "shift=cifar10.1"
COUNT, CLASSES = 2000, 10
SHAPE = (32, 32, 3)
LAYOUT = (
    "cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy (2,000 images), or data.npy and label.npy"
)
FOLDERS = ("CIFAR-10.1", "cifar10.1", "CIFAR-10.1/datasets")
_NAMES = (("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy"), ("data.npy", "label.npy"))


def find(root: Path) -> Path:
    """The folder of the two files: `root`, or one of `FOLDERS` below it. Raises DataError, see `find.find`."""

    def lacking(place: Path) -> list[str] | None:
        for names in _NAMES:
            lost = missing(names, [name for name in names if not (place / name).is_file()])
            # a data.npy alone may be anybody's
            if lost is not None and (names == _NAMES[0] or not lost):
                return lost
        return None

    return find_in("CIFAR-10.1", root, FOLDERS, LAYOUT, lacking)


def check(path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: 6 MB, which are read whole in any case."""
    try:
        load(path)
    except DataError as error:
        return [str(error)]
    return []


def differs(path: Path, deep: bool) -> str:
    """See `DataSet.differs`: its digests are not tracked, so nothing can be told of a sound copy."""
    return ""


def load(path: Path) -> ImageArrays:
    """Images uint8 (2000, 3, 32, 32) and CIFAR-10's labels. Raises DataError for a damaged or foreign copy."""
    import numpy as np

    path = Path(path)
    pairs = [names for names in _NAMES if all((path / name).is_file() for name in names)]
    data, label = pairs[0] if pairs else _NAMES[0]
    images = open_images(path / data, COUNT, SHAPE, (1,))
    labels = open_labels(path / label, COUNT, CLASSES)
    check_counts(labels, (COUNT // CLASSES,) * CLASSES, path / label, "test")
    return ImageArrays(take(images, np.arange(COUNT)), labels)
