"""Data sets of several modalities by name: what a protocol has to know of them, how they are read, and long-tailed profiles of
their training samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.canonical import short_hash
from suite.base.errors import DataError, UserError
from suite.define.protocol import DataSet
from tasks.vision import groups as profiles
from tasks.vision.data.arrays import digest

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

RATIOS = (10, 50)
"""Imbalance ratios of the long-tailed variants, `:ir10` and `:ir50`."""
RESERVED = frozenset(
    [
        "apply",
        "bfloat16",
        "buffers",
        "children",
        "clear",
        "compile",
        "cpu",
        "cuda",
        "double",
        "eval",
        "float",
        "forward",
        "half",
        "ipu",
        "items",
        "keys",
        "modules",
        "mtia",
        "parameters",
        "pop",
        "to",
        "train",
        "training",
        "type",
        "update",
        "values",
        "xpu",
    ]
)
"""What no modality can be called: encoders lie in torch's `ModuleDict`, which has these attributes."""
_NAME = re.compile(r"[a-z0-9]+", re.ASCII)


@dataclass(frozen=True)
class ModalitySource:
    """Which samples train.

    Attributes:
        name: of the data set, of `SETS`.
        ratio: n_max / n_min of the exponential profile of the training samples; None for all of them.
    """

    name: str
    ratio: int | None = None

    def config(self) -> dict[str, Any]:
        """As keyword arguments, for a config."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Modalities:
    """N samples, each of several modalities. Raises DataError for modalities of different lengths, and for none.

    Attributes:
        inputs: modality -> its part of M samples: an array (M, ...) in memory or mapped, or a tuple, of paths for instance.
        labels: class ids int64 (N,).
        places: which of the M each of the N samples is, int64 (N,), where arrays are mapped and so must not be copied; None
            where N is M.
        absent: modality -> bool (N,), the samples that come without it; only modalities that some sample lacks. In
            `inputs` the mean of the training samples that have it stands for them: zero once it is standardised.
    """

    inputs: Mapping[str, Any]
    labels: Array
    places: Array | None = None
    absent: Mapping[str, Array] | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or self.labels.dtype != "int64":
            raise DataError(
                f"labels are {self.labels.dtype} {self.labels.shape}, expected int64 (N,)"
            )
        if not len(self.labels):
            raise DataError("there is no sample")
        if len(self.inputs) < 2:
            raise DataError(
                f"there is one modality only ({', '.join(self.inputs) or 'none'}); multimodal training compares two or more"
            )
        lengths = {name: len(values) for name, values in self.inputs.items()}
        if self.places is None:
            lengths["labels"] = len(self.labels)
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} {count:,}" for name, count in lengths.items())
            raise DataError(f"modalities have different numbers of samples: {told}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def in_files(self) -> bool:
        """Whether inputs are no arrays."""
        return any(isinstance(values, tuple) for values in self.inputs.values())

    def lacking(self, name: str) -> Array:
        """(N,) bool: the samples that come without this modality."""
        import numpy as np

        return (self.absent or {}).get(name, np.zeros(len(self), bool))

    def take(self, places: Array) -> Modalities:
        """The samples at these places, (K,) integers or (N,) bool. Mapped arrays are not copied."""
        import numpy as np

        chosen = np.arange(len(self))[places]
        labels = self.labels[chosen]
        absent = {name: lost[chosen] for name, lost in (self.absent or {}).items()}
        absent = {name: lost for name, lost in absent.items() if lost.any()}
        if self.places is not None:
            return Modalities(self.inputs, labels, self.places[chosen], absent)
        taken = {
            name: tuple(values[i] for i in chosen) if isinstance(values, tuple) else values[chosen]
            for name, values in self.inputs.items()
        }
        return Modalities(taken, labels, None, absent)

    def rows(self, name: str, places: Array) -> Array:
        """The inputs (K, ...) of one modality, an array, at places (K,) of the N samples; a copy."""
        import numpy as np

        chosen = places if self.places is None else self.places[places]
        return np.asarray(self.inputs[name][chosen])


@dataclass(frozen=True, kw_only=True, eq=False)
class ModalitySets:
    """A training set and its test set.

    Attributes:
        class_counts: training samples per class.
        observed: digests of this copy, name -> hex.
        variant: whether it differs from what was published.
        notes: what whoever trains on it has to know, a line each: runs log them as warnings.
    """

    train: Modalities
    test: Modalities
    class_counts: tuple[int, ...]
    observed: Mapping[str, str]
    variant: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModalitySet:
    """A data set as its module declares it, without data.

    Attributes:
        dataset: as users bring it; without groups.
        modalities: names in order.
        split: `NAME@DIGEST` of which samples train and which test.
        counts: training samples of each class, as published; () where only a copy tells, and then there are no long-tailed
            variants.
        load: place as `DataSet.find` gave it -> the sets, with all their training samples. Raises DataError.
    """

    dataset: DataSet
    modalities: tuple[str, ...]
    split: str
    counts: tuple[int, ...]
    load: Callable[[Path], ModalitySets]

    def __post_init__(self) -> None:
        if len(self.modalities) < 2 or not all(map(_NAME.fullmatch, self.modalities)):
            raise ValueError(f"modalities {self.modalities}: two or more names of [a-z0-9]+")
        taken = RESERVED.intersection(self.modalities)
        if taken:
            raise ValueError(f"modality {min(taken)!r}: a torch module has that attribute")


SETS: dict[str, ModalitySet] = {}
"""By name. A module that declares a data set adds it where it is imported (`register`), and a protocol on it names that
module in its config's imports."""


def register(declared: ModalitySet) -> ModalitySet:
    """Make a data set known by its name. Raises ValueError where another has that name."""
    if SETS.setdefault(declared.dataset.name, declared) is not declared:
        raise ValueError(f"two data sets of modalities are called {declared.dataset.name!r}")
    return declared


def profile(counts: Sequence[int], ratio: float) -> tuple[int, ...]:
    """Training samples of each class in a long-tailed variant, of `counts` there are: the exponential profile
    (`vision.groups.class_counts`) in label order whose largest class is as large as every class allows.

    Raises UserError where the rarest class would have no sample.
    """
    for largest in range(counts[0], 0, -1):
        made = profiles.class_counts("exp", largest, len(counts), ratio)
        if all(wanted <= there for wanted, there in zip(made, counts, strict=True)):
            return made
    raise UserError(f"class 0 has no training sample: there is no profile of ratio {ratio:g}")


def allows(counts: Sequence[int], ratio: float) -> bool:
    """Whether `profile` leaves the rarest class a sample."""
    try:
        return bool(counts) and min(profile(counts, ratio)) > 0
    except UserError:
        return False


def thresholds(counts: Sequence[int]) -> tuple[int, int, str]:
    """(head above, tail below) in training samples, and the rule in one line.

    A class is head above 20 % and tail below 4 % of the largest class, as on Fashion-MNIST, whose thresholds are
    CIFAR-10's; where that leaves a group empty (at ratio 10 no class is so rare), the largest third of the classes are
    head and the smallest third tail.
    """
    largest = max(counts)
    high, low = round(0.2 * largest), round(0.04 * largest)
    why = "20 % and 4 % of the largest class"
    if not all(profiles.groups(counts, high, low).values()):
        third = max(1, round(len(counts) / 3))
        ordered = sorted(counts, reverse=True)
        high, low = ordered[third], ordered[-third - 1]
        why = "thirds of the classes"
    return high, low, f"{profiles.group_rule(high, low, 'samples')} ({why})"


def dataset(source: ModalitySource, counts: Sequence[int]) -> DataSet:
    """The data set with the groups of its variant, whose training samples are `counts` of each class; without groups where
    it is no long-tailed one."""
    declared = SETS[source.name].dataset
    if source.ratio is None:
        return declared
    high, low, rule = thresholds(counts)
    return replace(
        declared,
        groups=profiles.groups(counts, high, low),
        group_rule=rule,
        group_thresholds=(high, low),
    )


def class_counts(source: ModalitySource) -> tuple[int, ...]:
    """Training samples of each class, without data; () where only a copy tells."""
    counts = SETS[source.name].counts
    return counts if source.ratio is None else profile(counts, source.ratio)


def split(source: ModalitySource) -> str:
    """`NAME@DIGEST`: which samples train and test, without data."""
    whole = SETS[source.name].split
    if source.ratio is None:
        return whole
    about = {"whole": whole, "train": class_counts(source), "of": "each class, the first"}
    return f"{source.name}-exp-ir{source.ratio}-first@{short_hash(about)}"


@lru_cache(maxsize=4)
def load(source: ModalitySource, path: Path) -> ModalitySets:
    """The sets. Of a long-tailed variant the first samples of each class train, in their order.

    Read once a process: facts, training and test set of a run ask for the same arrays. Raises DataError: a damaged copy,
    or one with fewer samples of a class than the profile asks for.
    """
    import numpy as np

    whole = SETS[source.name].load(path)
    if source.ratio is None:
        return whole
    counts = class_counts(source)
    short = [c for c, (n, m) in enumerate(zip(counts, whole.class_counts, strict=True)) if n > m]
    if short:
        c = short[0]
        raise DataError(
            f"{path}: class {c} has {whole.class_counts[c]} training samples, imbalance ratio {source.ratio} of "
            f"{source.name!r} asks for {counts[c]}; bring the published copy"
        )
    kept = np.sort(profiles.select(whole.train.labels, counts, "first"))
    train = whole.train.take(kept)
    return replace(
        whole,
        train=train,
        class_counts=counts,
        observed={**whole.observed, f"train-ir{source.ratio}-places": digest(kept)},
    )
