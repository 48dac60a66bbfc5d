"""Long-tailed training sets in memory, by name: data set, profile, imbalance ratio, subset convention."""

from __future__ import annotations

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
        name: `cifar10`, `cifar100`, `fashion-mnist`, or `digits` (embedded, of one fixed profile).
        profile: `exp` or `step`.
        ratio: n_max / n_min.
        convention: which images of a class are taken: `first` in file order, or `shuffled`.
    """

    name: str
    profile: str = "exp"
    ratio: int = 100
    convention: str = "first"

    def config(self) -> dict[str, Any]:
        """As keyword arguments, for a config."""
        return asdict(self)

    @property
    def classes(self) -> tuple[str, ...]:
        return _CLASSES[self.name]

    @property
    def edge(self) -> int:
        """Pixels along a side."""
        return {"digits": 8, "fashion-mnist": 28}.get(self.name, 32)

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images per class."""
        if self.name == "digits":
            return digits.COUNTS
        n_max = _N_MAX[self.name]
        return profiles.class_counts(self.profile, n_max, len(self.classes), self.ratio)

    @property
    def split(self) -> str:
        """The manifest's name and digest: which image of which class trains."""
        if self.name == "digits":
            return f"digits-lt@{digits.SHA256[:12]}"
        digest = _READERS[self.name].split_digest(
            self.name, self.profile, self.ratio, self.convention
        )
        return f"{self.name}-{self.profile}-ir{self.ratio}-{self.convention}@{digest}"


@lru_cache(maxsize=4)
def load(source: Source, path: Path) -> LongTailed:
    """The arrays. Raises DataError: damaged, or a profile that this copy cannot give.

    Read once a process: a worker carries out many runs, and facts, training and test set of each ask for
    the same arrays, so that the digests are of the very images that train.
    """
    if source.name == "digits":
        return digits.load()
    loaded: LongTailed = _READERS[source.name].load(
        source.name, path, source.profile, source.ratio, source.convention
    )
    return loaded


_READERS: dict[str, Any] = {"cifar10": cifar, "cifar100": cifar, "fashion-mnist": fashion}
_N_MAX = {"cifar10": 5000, "cifar100": 500, "fashion-mnist": 6000}
_CLASSES: dict[str, tuple[str, ...]] = {
    "cifar10": cifar.CLASSES["cifar10"],
    "cifar100": cifar.CLASSES["cifar100"],
    "fashion-mnist": fashion.CLASSES,
    "digits": digits.CLASSES,
}
