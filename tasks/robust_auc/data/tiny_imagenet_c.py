"""Tiny-ImageNet-C: image files, `<corruption>/<severity>/<wnid>/*.JPEG`, named as the validation images of
tiny-imagenet-200 (Hendrycks and Dietterich, ICLR 2019)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.robust_auc.data.release import COMMON, HELD_OUT, CleanTest, Release
from tasks.vision.data.read_image import read_image

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class TinyImageNetC(Release):
    """`classes` folders a severity, of `count / classes` images each. A clean image's name holds its class, so that a copy
    with other labels has no such file."""

    def _lacking(self, place: Path) -> list[str] | None:
        if not any(
            (place / c / str(s)).is_dir() for c in self.corruptions for s in self.severities
        ):
            return None
        names = [f"{c}/{s}" for c in self.corruptions for s in self.severities]
        return [f"folder {name}/ is missing" for name in names if not (place / name).is_dir()]

    def _faults(self, path: Path, deep: bool) -> Iterator[str]:
        """By names the classes of every severity and the images of its first class; `deep` decodes all images (hours)."""
        each = self.count // self.classes
        for corruption in (*self.corruptions, *self.further):
            for severity in self.severities:
                folder = path / corruption / str(severity)
                if corruption in self.further and not folder.is_dir():
                    continue
                names = _names(folder)
                if len(names) != self.classes:
                    yield f"{folder} holds {len(names):,} folders of classes, expected {self.classes:,}"
                    continue
                for wnid in names if deep else names[:1]:
                    files = [f for f in _names(folder / wnid) if f.endswith(".JPEG")]
                    if len(files) != each:
                        yield f"{folder / wnid} holds {len(files):,} images, expected {each:,}"
                    for file in files if deep else []:
                        try:
                            self._decoded(folder / wnid / file)
                        except DataError as error:
                            yield str(error)

    def _require_labels(self, path: Path, test: CleanTest) -> None:
        """Of one condition all names: the other ones' folders are as many, and of as many images."""
        self._require_names(test)
        corruption, severity = self.conditions[0]
        folder = path / corruption / str(severity)
        for place in test.places.tolist():
            if not (folder / test.files[place]).is_file():
                raise DataError(
                    f"{folder / test.files[place]} is missing: {self.title} repeats the labelled validation images of "
                    f"{self.clean}, class by class; copy it again"
                )

    def _require_names(self, test: CleanTest) -> None:
        if not test.files:
            raise DataError(
                f"{self.title} is one of image files: the clean test set must name its own"
            )

    def _read(self, path: Path, corruption: str, severity: int | None, test: CleanTest) -> Array:
        import numpy as np

        self._require_names(test)
        height, width, channels = self.shape
        made = np.empty((len(test.places), channels, height, width), np.uint8)
        folder = path / corruption / str(severity)
        for row, place in enumerate(test.places.tolist()):
            made[row] = self._decoded(folder / test.files[place]).transpose(2, 0, 1)
        return made

    def _decoded(self, file: Path) -> Array:
        import numpy as np

        image = np.asarray(read_image(file))
        if image.shape != self.shape:
            found, wanted = image.shape[1::-1], self.shape[1::-1]
            raise DataError(
                f"{file} is {found[0]}x{found[1]}, expected {wanted[0]}x{wanted[1]}; copy it again"
            )
        return image


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None


TINY_IMAGENET_C = TinyImageNetC(
    name="tiny-imagenet-c",
    title="Tiny-ImageNet-C",
    folders=("Tiny-ImageNet-C", "tiny-imagenet-c"),
    layout=f"Tiny-ImageNet-C/<corruption>/<1..5>/<wnid>/*.JPEG of {len(COMMON)} corruptions, 10,000 images a severity",
    clean="tiny-imagenet-200",
    count=10_000,
    shape=(64, 64, 3),
    classes=200,
    corruptions=COMMON,
    further=HELD_OUT,
)
