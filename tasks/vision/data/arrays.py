"""Labelled images in memory, checked where they enter, and their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """`images` uint8 (N, C, H, W) and `labels` int64 (N,). Raises DataError for anything else."""

    images: Array
    labels: Array

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != "uint8":
            raise DataError(
                f"images are {self.images.dtype} {self.images.shape}, expected uint8 (N, C, H, W)"
            )
        if self.labels.dtype != "int64" or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels are {self.labels.dtype} {self.labels.shape}, expected int64 "
                f"({len(self.images)},)"
            )

    def take(self, places: Array) -> ImageArrays:
        """The images at these places, (M,) integers or (N,) bool."""
        return ImageArrays(self.images[places], self.labels[places])


@dataclass(frozen=True, kw_only=True, eq=False)
class LongTailed:
    """A long-tailed training set and its test set.

    Attributes:
        class_counts: training images per class.
        observed: digests of this copy, name -> hex.
        variant: whether the images are others than the split names.
    """

    train: ImageArrays
    test: ImageArrays
    class_counts: tuple[int, ...]
    observed: Mapping[str, str]
    variant: bool = False


def check_labels(labels: Array, classes: int, where: object, training: bool = False) -> None:
    """Raise DataError for labels outside 0..classes-1 and, in training, for a class without image."""
    import numpy as np

    if labels.size == 0:
        raise DataError(f"{where} holds no image")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"{where}: labels lie in {low}..{high}, expected 0..{classes - 1}")
    absent = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if training and absent.size:
        more = f" (nor have {absent.size - 1} more classes)" if absent.size > 1 else ""
        raise DataError(f"{where}: class {absent[0]} has no training image{more}")


def check_counts(labels: Array, wanted: Sequence[int], where: object, what: str) -> None:
    """Raise DataError where a class has not exactly `wanted[c]` of the labels (0..C-1).

    A copy that lacks images would give other subsets than the splits name, without any other sign.
    """
    import numpy as np

    found = np.bincount(labels, minlength=len(wanted))
    wrong = np.flatnonzero(found != np.asarray(wanted))
    if wrong.size:
        c = wrong[0]
        more = f" (and {wrong.size - 1} more classes differ)" if wrong.size > 1 else ""
        raise DataError(
            f"{where}: class {c} has {found[c]} {what} images, expected {wanted[c]}{more}; copy it again"
        )


def digest(array: Array) -> str:
    """SHA-256 over dtype, shape and bytes, hex."""
    import numpy as np

    header = f"{array.dtype.str} {' '.join(map(str, array.shape))}\n"
    made = hashlib.sha256(header.encode())
    made.update(np.ascontiguousarray(array).data)
    return made.hexdigest()


def set_digest(arrays: ImageArrays) -> str:
    """SHA-256 (hex) over labelled images whatever their order: over the sorted SHA-256 of each one's
    shape and label (text) and bytes."""
    import numpy as np

    images = np.ascontiguousarray(arrays.images)
    shape = " ".join(map(str, images.shape[1:]))
    each = sorted(
        hashlib.sha256(f"{shape} {label}\n".encode() + image.tobytes()).digest()
        for image, label in zip(images, arrays.labels.tolist(), strict=True)
    )
    return hashlib.sha256(b"".join(each)).hexdigest()


def observed(train: ImageArrays, test: ImageArrays) -> dict[str, str]:
    """Digests of images and labels of both sets, in their order."""
    return {
        "train-images": digest(train.images),
        "train-labels": digest(train.labels),
        "test-images": digest(test.images),
        "test-labels": digest(test.labels),
    }
