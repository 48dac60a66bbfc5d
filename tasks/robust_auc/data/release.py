"""What the official corrupted test sets have in common: a clean test set's images once more under each corruption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError, UserError, did_you_mean
from tasks.robust_auc.data.constants import SEVERITIES
from tasks.vision.data.find import find as find_in

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

COMMON = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
"""The 15 corruptions of the benchmark (Hendrycks and Dietterich, ICLR 2019)."""
HELD_OUT = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Four more of the same release, for validation: in no mean unless a protocol names them."""
_SHOWN = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class CleanTest:
    """The clean test set that a corrupted one repeats. Raises DataError for anything else.

    Attributes:
        labels: int64 (N,), of all images of the release in its order, in its own classes.
        places: int64 (M,), of the images that test, in their order.
        files: `CLASS/NAME`, N paths of image files, where the corrupted set is one of files; else ().
    """

    labels: Array
    places: Array
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, array in (("labels", self.labels), ("places", self.places)):
            if array.ndim != 1 or array.dtype != "int64" or not len(array):
                raise DataError(
                    f"{what} of the clean test set are {array.dtype} {array.shape}, expected int64 (N,)"
                )
        count = len(self.labels)
        low, high = int(self.places.min()), int(self.places.max())
        if low < 0 or high >= count:
            raise DataError(f"places of test images lie in {low}..{high}, of {count:,} images")
        if self.files and len(self.files) != count:
            raise DataError(f"{len(self.files):,} names for {count:,} test images")


@dataclass(frozen=True, kw_only=True)
class Release(ABC):
    """An official corrupted test set.

    Attributes:
        name: such as `cifar10-c`.
        title: such as `CIFAR-10-C`.
        folders: usual names below a data root.
        layout: what is expected, one line.
        clean: name of the clean data set.
        count: images of the clean test set.
        shape: of an image, as stored.
        classes: number of classes.
        corruptions: that count.
        further: corruptions that a copy may have beside, and that may be asked for by name.
        severities: of each corruption; () where each has one strength.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    layout: str
    clean: str
    count: int
    shape: tuple[int, ...]
    classes: int
    corruptions: tuple[str, ...]
    further: tuple[str, ...] = ()
    severities: tuple[int, ...] = SEVERITIES

    @property
    def conditions(self) -> tuple[tuple[str, int | None], ...]:
        """(corruption, severity) of all that count; severity None where there is one strength."""
        strengths: tuple[int | None, ...] = self.severities or (None,)
        return tuple((c, s) for c in self.corruptions for s in strengths)

    def find(self, root: Path) -> Path:
        """The folder: `root` itself or one of `folders` below it. Raises DataError, see `find.find`."""
        return find_in(self.title, root, self.folders, self.layout, self._lacking)

    def check(self, path: Path, deep: bool = False) -> list[str]:
        """What is wrong with the copy in `path`, one line each: missing files, and arrays of another type or length.

        `deep` also looks into them: labels that differ between corruptions, images that are blank or cannot be decoded.
        """
        path = Path(path)
        problems = self._lacking(path)
        if problems is None:
            return [f"{path} holds nothing of {self.title}; expected {self.layout}"]
        if not problems:
            try:
                problems = []
                problems.extend(self._faults(path, deep))
            except DataError as error:
                problems.append(str(error))
        more = [f"{len(problems) - _SHOWN:,} more problems"] * (len(problems) > _SHOWN)
        return problems[:_SHOWN] + more

    def differs(self, path: Path, deep: bool) -> str:
        """See `DataSet.differs`. Nothing can be told of a release whose digests are not tracked, unless said below."""
        return ""

    def read(self, path: Path, corruption: str, severity: int | None, test: CleanTest) -> Array:
        """The images of `test.places` under a corruption, in that order: uint8 (M, C, H, W).

        Raises UserError: an unknown corruption (with the nearest) or severity; DataError: a file that is missing, damaged
        or of another shape, and labels that disagree with the clean test set's.
        """
        self.require(corruption, severity)
        self._require_count(test)
        return self._read(Path(path), corruption, severity, test)

    def require_whole(self, path: Path, test: CleanTest) -> None:
        """Raises DataError where some condition could not be read for want of a file, of another shape, or of other
        labels than the clean test set's: what a training should know before it begins, by headers, labels and names."""
        path = Path(path)
        self._require_count(test)
        problems = self.check(path)
        if problems:
            more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
            raise DataError(f"{self.title}: {problems[0]}{more}")
        self._require_labels(path, test)

    def require(self, corruption: str, severity: int | None) -> None:
        """Raises UserError for a condition that the release has not."""
        known = (*self.corruptions, *self.further)
        if corruption == "identity":
            raise UserError(f"{self.title}: identity is the clean test set, and no corruption")
        if corruption not in known:
            near = did_you_mean(corruption, known)
            raise UserError(f"{self.title} has no corruption {corruption!r}{near}")
        if not self.severities and severity is not None:
            raise UserError(
                f"{self.title}: {corruption} has one strength; leave severity {severity} out"
            )
        if self.severities and (type(severity) is not int or severity not in self.severities):
            most = f"{self.severities[0]} to {self.severities[-1]}"
            raise UserError(
                f"{self.title}: {corruption} has no severity {severity}; there are {most}"
            )

    def _require_count(self, test: CleanTest) -> None:
        """Raises DataError for a clean test set of another size."""
        if len(test.labels) != self.count:
            raise DataError(
                f"{self.title} repeats {self.count:,} test images of {self.clean}, "
                f"but the clean test set has {len(test.labels):,}"
            )

    def _agree(self, found: Array, test: CleanTest, where: Path) -> None:
        """Raises DataError where labels (N,) are not the clean test set's."""
        wrong = (found != test.labels).nonzero()[0]
        if wrong.size:
            i = int(wrong[0])
            raise DataError(
                f"{where} disagrees with the clean test set of {self.clean}: image {i} is of class {found[i]} there and "
                f"{test.labels[i]} here ({wrong.size:,} of {self.count:,} differ); {self.title} follows the order of the "
                "release, which a pack has not: put the released files beside it"
            )

    @abstractmethod
    def _lacking(self, place: Path) -> list[str] | None:
        """By names: what `find.find` asks of a place."""

    @abstractmethod
    def _faults(self, path: Path, deep: bool) -> Iterator[str]:
        """What is wrong with files that are all there."""

    @abstractmethod
    def _require_labels(self, path: Path, test: CleanTest) -> None:
        """Raises DataError where a copy without faults repeats another clean test set."""

    @abstractmethod
    def _read(
        self, path: Path, corruption: str, severity: int | None, test: CleanTest
    ) -> Array: ...


def take(images: Array, places: Array) -> Array:
    """uint8 (M, C, H, W) of mapped images (N, H, W, C): of the file nothing else is read."""
    import numpy as np

    return np.ascontiguousarray(np.asarray(images)[places].transpose(0, 3, 1, 2))
