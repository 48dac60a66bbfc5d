"""MNIST-C: a folder a corruption, each of one strength.

Mu and Gilmer, "MNIST-C: A Robustness Benchmark for Computer Vision", arXiv 1906.02337: `<corruption>/test_images.npy` uint8
(10000, 28, 28, 1) and `test_labels.npy` (10000,). The folder `identity` is the clean test set: it is no corruption, and in
no mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.robust_auc.data.npy import open_images, open_labels
from tasks.robust_auc.data.release import CleanTest, Release, take

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_IMAGES, _LABELS = "test_images.npy", "test_labels.npy"


@dataclass(frozen=True, kw_only=True)
class MnistC(Release):
    def _lacking(self, place: Path) -> list[str] | None:
        if not any((place / c / _IMAGES).is_file() for c in self.corruptions):
            return None
        names = [f"{c}/{file}" for c in self.corruptions for file in (_IMAGES, _LABELS)]
        return [f"{name} is missing" for name in names if not (place / name).is_file()]

    def _faults(self, path: Path, deep: bool) -> Iterator[str]:
        import numpy as np

        first: Array | None = None
        for corruption in self.corruptions:
            folder = path / corruption
            try:
                images, labels = self._open(folder)
            except DataError as error:
                yield str(error)
                continue
            first = labels if first is None else first
            if not np.array_equal(labels, first):
                yield f"{folder / _LABELS} has other labels than {self.corruptions[0]}; copy it again"
            if deep:
                blank = int((images == images[:, :1, :1]).all(axis=(1, 2, 3)).sum())
                if 2 * blank > self.count:
                    yield f"{folder / _IMAGES}: {blank:,} of {self.count:,} images are blank; copy it again"

    def _require_labels(self, path: Path, test: CleanTest) -> None:
        for corruption in self.corruptions:
            _, labels = self._open(path / corruption)
            self._agree(labels, test, path / corruption / _LABELS)

    def _read(self, path: Path, corruption: str, severity: int | None, test: CleanTest) -> Array:
        images, labels = self._open(path / corruption)
        self._agree(labels, test, path / corruption / _LABELS)
        return take(images, test.places)

    def _open(self, folder: Path) -> tuple[Array, Array]:
        labels = open_labels(folder / _LABELS, self.count, self.classes)
        return open_images(folder / _IMAGES, self.count, self.shape, (1,)), labels


MNIST_C = MnistC(
    name="mnist-c",
    title="MNIST-C",
    folders=("MNIST-C", "mnist_c", "mnist-c"),
    layout="MNIST-C/<corruption>/test_images.npy (10000, 28, 28, 1) and test_labels.npy of 15 corruptions",
    clean="mnist",
    count=10_000,
    shape=(28, 28, 1),
    classes=10,
    corruptions=(
        "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate",
        "brightness", "translate", "stripe", "fog", "spatter", "dotted_line", "zigzag", "canny_edges",
    ),
    severities=(),
)  # fmt: skip
