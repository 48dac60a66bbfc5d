"""Small images in memory by name: which data sets there are, and which of their images train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.vision import groups as profiles
from tasks.vision.data import cifar, digits, fashion

if TYPE_CHECKING:
    from tasks.vision.data.arrays import LongTailed


@dataclass(frozen=True)
class Source:
    """Which images train.

    Attributes:
        name: of `IMAGES`: `cifar10`, `cifar100`, `fashion-mnist`, or one of a fixed profile, as `digits`.
        profile: `exp`, `step` or `balanced`.
        ratio: n_max / n_min; 1 where the profile is balanced.
        convention: which images of a class are taken: `first` in file order, or `shuffled`.
        n_max: training images of the largest class; None for all that the data set has of it.
    """

    name: str
    profile: str = "exp"
    ratio: int = 100
    convention: str = "first"
    n_max: int | None = None

    def config(self) -> dict[str, Any]:
        """As keyword arguments, for a config."""
        made = asdict(self)
        if self.n_max is None:
            # configs of sources without it are what they were before there was one
            del made["n_max"]
        return made

    @property
    def form(self) -> str:
        """Profile, ratio, number and convention, as in the names of splits: `exp-ir100-first`, `balanced-n500-first`."""
        ratio = "" if self.profile == profiles.BALANCED else f"-ir{self.ratio}"
        number = "" if self.n_max is None else f"-n{self.n_max}"
        return f"{self.profile}{ratio}{number}-{self.convention}"

    @property
    def images(self) -> Images:
        return IMAGES[self.name]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.images.classes

    @property
    def edge(self) -> int:
        """Pixels along a side."""
        return self.images.edge

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images per class."""
        return self.images.counts(self)

    @property
    def split(self) -> str:
        """The manifest's name and digest: which image of which class trains."""
        return self.images.split(self)


@dataclass(frozen=True, kw_only=True)
class Images:
    """A data set of small images that is read whole.

    Attributes:
        classes: names in label order.
        edge: pixels along a side.
        mean, std: per channel, in grey levels 0..255.
        counts: source -> training images per class.
        split: source -> `NAME@DIGEST` of which images train and test; needs no data.
        load: (source, place as `DataSet.find` gave it) -> the arrays.
    """

    classes: tuple[str, ...]
    edge: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    counts: Callable[[Source], tuple[int, ...]]
    split: Callable[[Source], str]
    load: Callable[[Source, Path], LongTailed]


@lru_cache(maxsize=4)
def load(source: Source, path: Path) -> LongTailed:
    """The arrays. Raises DataError: damaged, or a profile that this copy cannot give.

    Read once a process: a worker carries out many runs, and facts, training and test set of each ask for
    the same arrays, so that the digests are of the very images that train.
    """
    return source.images.load(source, path)


def _released(
    reader: Any,
    classes: tuple[str, ...],
    edge: int,
    n_max: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Images:
    """A public data set, made long-tailed by profile."""

    def split(of: Source) -> str:
        digest = reader.split_digest(of.name, of.profile, of.ratio, of.convention, of.n_max)
        return f"{of.name}-{of.form}@{digest}"

    def read(of: Source, path: Path) -> LongTailed:
        loaded: LongTailed = reader.load(
            of.name, path, of.profile, of.ratio, of.convention, of.n_max
        )
        return loaded

    def counts(of: Source) -> tuple[int, ...]:
        most = profiles.largest(of.n_max, n_max, of.name)
        return profiles.class_counts(of.profile, most, len(classes), of.ratio)

    return Images(
        classes=classes,
        edge=edge,
        mean=mean,
        std=std,
        counts=counts,
        split=split,
        load=read,
    )


_CIFAR_MEAN, _CIFAR_STD = (125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255)
IMAGES: dict[str, Images] = {
    "cifar10": _released(cifar, cifar.CLASSES["cifar10"], 32, 5000, _CIFAR_MEAN, _CIFAR_STD),
    "cifar100": _released(cifar, cifar.CLASSES["cifar100"], 32, 500, _CIFAR_MEAN, _CIFAR_STD),
    "fashion-mnist": _released(fashion, fashion.CLASSES, 28, 6000, (72.94,), (90.02,)),
    "digits": Images(
        classes=digits.CLASSES,
        edge=8,
        mean=(73.0,),
        std=(90.0,),
        counts=lambda of: digits.counts(of.profile, of.n_max),
        split=lambda of: digits.split(of.profile, of.n_max),
        load=lambda of, path: digits.load(of.profile, of.n_max),
    ),
}
"""By name. A task adds its own where it is imported, and names that module in its config's imports."""
