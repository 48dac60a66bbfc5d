"""Released `.npy` files of images and of their labels, memory-mapped (`tasks.vision.data.npy`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision.data.npy import open_npy

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def open_images(path: Path, count: int, shape: tuple[int, ...], blocks: tuple[int, ...]) -> Array:
    """Images uint8 (B count, *shape): a block of `count` for each of `blocks`, one after the other. Raises DataError."""
    images = open_npy(path)
    if images.dtype != "uint8" or images.shape[1:] != shape:
        raise DataError(
            f"{path} is {images.dtype} {images.shape}, expected uint8 {(len(blocks) * count, *shape)}"
        )
    if len(images) == len(blocks) * count:
        return images
    there, rest = divmod(len(images), count)
    why = f"expected {len(blocks) * count:,}"
    if not rest and there < len(blocks):
        lost = ", ".join(map(str, blocks[there:]))
        why += f": severity {lost} {'is' if there == len(blocks) - 1 else 'are'} missing"
    raise DataError(f"{path} holds {len(images):,} images, {why}; copy it again")


def open_labels(path: Path, count: int, classes: int) -> Array:
    """Labels, int64 (count,) in 0..classes-1, of a file of any integer type. Raises DataError."""
    import numpy as np

    labels = open_npy(path)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise DataError(
            f"{path} is {labels.dtype} {labels.shape}, expected integers {(count,)}; copy it again"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"{path}: labels lie in {low}..{high}, expected 0..{classes - 1}")
    return np.array(labels, np.int64)
