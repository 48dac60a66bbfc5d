"""CIFAR-10-C and CIFAR-100-C: one array a corruption, severity after severity.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019:
`<corruption>.npy` uint8 (50000, 32, 32, 3), five blocks of the 10,000 test images in their order, and `labels.npy` (50000,).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.robust_auc.data.constants import TABLES
from tasks.robust_auc.data.npy import open_images, open_labels
from tasks.robust_auc.data.release import COMMON, HELD_OUT, CleanTest, Release, take
from tasks.vision.data.npy import PICKLES

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_LABELS = "labels.npy"
_SAMPLE = 200
_TOLERANCE = 0.03


@dataclass(frozen=True, kw_only=True)
class CifarC(Release):
    def differs(self, path: Path, deep: bool) -> str:
        """Whether `contrast.npy` was made with CIFAR-10-C's constants: most copies that were not downloaded have
        ImageNet-C's, two to four times as strong. Raises DataError for arrays that cannot be read."""
        if not deep:
            return ""
        published = TABLES["32x32"]["contrast"]
        found = self._contrasts(Path(path))
        if all(
            abs(f - c / published[0]) < _TOLERANCE for f, c in zip(found, published, strict=True)
        ):
            return ""
        return "contrast.npy was made with other constants than the published ones"

    def _contrasts(self, path: Path) -> list[float]:
        """Standard deviation of the images at each severity, as a share of that at the first."""
        import numpy as np

        images = self._images(path, "contrast")
        places = np.linspace(0, self.count - 1, min(self.count, _SAMPLE)).astype(np.int64)
        spreads = [
            float(np.asarray(images)[block * self.count + places].std(axis=(1, 2)).sum())
            for block in range(len(self.severities))
        ]
        return [spread / max(spreads[0], 1e-12) for spread in spreads]

    def _lacking(self, place: Path) -> list[str] | None:
        # not by labels.npy, which many data sets have
        if not any(_files(place, corruption) for corruption in (*self.corruptions, *self.further)):
            return None
        problems = [] if (place / _LABELS).is_file() else [f"{_LABELS} is missing"]
        for corruption in self.corruptions:
            files = _files(place, corruption)
            if not files:
                problems.append(f"{corruption}.npy is missing")
            elif files[0] != f"{corruption}.npy":
                problems.append(
                    f"{corruption}.npy is missing, and {files[0]}, a pickle, is not read"
                )
        return problems

    def _faults(self, path: Path, deep: bool) -> Iterator[str]:
        import numpy as np

        try:
            labels = self._labels(path)
            for severity, block in zip(self.severities, labels, strict=True):
                wrong = np.flatnonzero(block != labels[0])
                if wrong.size:
                    yield (
                        f"{path / _LABELS}: {wrong.size:,} labels of severity {severity} are not those of severity "
                        f"{self.severities[0]}; copy it again"
                    )
        except DataError as error:
            yield str(error)
        for corruption in (*self.corruptions, *self.further):
            if corruption in self.further and not (path / f"{corruption}.npy").is_file():
                continue
            try:
                images = self._images(path, corruption)
            except DataError as error:
                yield str(error)
                continue
            if deep:
                yield from self._blank(path / f"{corruption}.npy", images)

    def _blank(self, file: Path, images: Array) -> Iterator[str]:
        """What an interrupted copy leaves: a file of full length, the rest of it zero."""
        for block, severity in enumerate(self.severities):
            part = images[block * self.count : (block + 1) * self.count]
            blank = int((part == part[:, :1, :1, :1]).all(axis=(1, 2, 3)).sum())
            if 2 * blank > self.count:
                yield (
                    f"{file}: {blank:,} of {self.count:,} images of severity {severity} are blank; copy it again"
                )

    def _require_labels(self, path: Path, test: CleanTest) -> None:
        for labels in self._labels(path):
            self._agree(labels, test, path / _LABELS)

    def _read(self, path: Path, corruption: str, severity: int | None, test: CleanTest) -> Array:
        assert severity is not None
        block = self.severities.index(severity)
        self._agree(self._labels(path)[block], test, path / _LABELS)
        return take(self._images(path, corruption), block * self.count + test.places)

    def _labels(self, path: Path) -> Array:
        """int64 (severities, count)."""
        blocks = len(self.severities)
        labels = open_labels(path / _LABELS, blocks * self.count, self.classes)
        return labels.reshape(blocks, self.count)

    def _images(self, path: Path, corruption: str) -> Array:
        return open_images(path / f"{corruption}.npy", self.count, self.shape, self.severities)


def _files(place: Path, corruption: str) -> list[str]:
    """What there is of a corruption: its array, and pickles of that name."""
    names = [f"{corruption}{suffix}" for suffix in (".npy", *PICKLES)]
    return [name for name in names if (place / name).is_file()]


def _release(classes: int) -> CifarC:
    return CifarC(
        name=f"cifar{classes}-c",
        title=f"CIFAR-{classes}-C",
        folders=(f"CIFAR-{classes}-C", f"cifar{classes}-c"),
        layout=f"CIFAR-{classes}-C/ with <corruption>.npy of {len(COMMON)} corruptions (50000, 32, 32, 3) and {_LABELS}",
        clean=f"cifar{classes}",
        count=10_000,
        shape=(32, 32, 3),
        classes=classes,
        corruptions=COMMON,
        further=HELD_OUT,
    )


CIFAR10_C, CIFAR100_C = _release(10), _release(100)
