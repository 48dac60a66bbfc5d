"""Binary data sets made of multi-class ones: some classes are positive and rare, which of their images train is fixed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.canonical import short_hash
from suite.base.errors import DataError, UserError, did_you_mean
from suite.define.protocol import DataSet
from tasks.robust_auc.data import elpv, small_pools, tiny_imagenet
from tasks.robust_auc.data.pools import Places, Pool
from tasks.robust_auc.data.release import CleanTest
from tasks.vision.groups import CONVENTIONS, order_in_class

if TYPE_CHECKING:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays

    Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = ("negative", "positive")
POOLS: dict[str, Pool] = {
    pool.name: pool
    for pool in (
        small_pools.DIGITS,
        small_pools.CIFAR10,
        small_pools.CIFAR100,
        small_pools.FASHION_MNIST,
        small_pools.MNIST,
        tiny_imagenet.pool(),
        elpv.POOL,
    )
}
"""By name. A task adds its own where it is imported, and names that module in its config's imports."""


@dataclass(frozen=True)
class BinarySource:
    """Which images train and test, and which of them are positive.

    Of every negative class the first `negatives` training images train, of the positive classes as many in all as
    make the share `prior`, in equal shares: a class has at most one more than another, the first ones have it. The
    released code takes them from one shuffled list, so that the classes' shares vary with the seed.

    Attributes:
        name: of `POOLS`.
        positives: ids of the positive classes; all others that are not `left_out` are negative.
        prior: p in (0, .5], the positives' share of the training images; None for all the training images they have.
        negatives: training images of each negative class; None for all.
        test: test images of each class; None for all.
        left_out: ids of classes that neither train nor test.
        convention: which images of a class are taken: `first` in file order, or `shuffled` (once and for all, by
            `tasks.vision.groups.order_in_class`).

    Raises UserError for what no data set can be made of.
    """

    name: str
    positives: tuple[int, ...]
    prior: float | None = 0.1
    negatives: int | None = None
    test: int | None = None
    left_out: tuple[int, ...] = ()
    convention: str = "first"

    def __post_init__(self) -> None:
        # a config's lists; and sources of the same images are equal
        object.__setattr__(self, "positives", tuple(sorted(self.positives)))
        object.__setattr__(self, "left_out", tuple(sorted(self.left_out)))
        if self.name not in POOLS:
            raise UserError(
                f"no binary data set is made of {self.name!r}{did_you_mean(self.name, POOLS)}"
            )
        if self.convention not in CONVENTIONS:
            raise UserError(
                f"unknown convention {self.convention!r}{did_you_mean(self.convention, CONVENTIONS)}"
            )
        self._require_classes()
        self._require_images("negatives", "training", self.negative_classes, self.pool.train_sizes)
        self._require_images("test", "test", self._classes, self.pool.test_sizes)
        if self.prior is not None and not 0 < self.prior <= 0.5:
            raise UserError(
                f"{self.name}: the share of positives is {self.prior:g}; positives are the rare class, so give one "
                "above 0 and not above .5"
            )
        self._require_positives()

    def config(self) -> dict[str, Any]:
        """As keyword arguments, for a config."""
        made = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in made.items()}

    @property
    def pool(self) -> Pool:
        return POOLS[self.name]

    @property
    def edge(self) -> int:
        """Pixels along a side."""
        return self.pool.edge

    @property
    def channels(self) -> int:
        return len(self.pool.mean)

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel, of pixels in [0, 1]."""
        return self.pool.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Of each channel, of pixels in [0, 1]."""
        return self.pool.std

    @property
    def negative_classes(self) -> tuple[int, ...]:
        """Ids of the negative classes."""
        apart = {*self.positives, *self.left_out}
        return tuple(c for c in range(len(self.pool.classes)) if c not in apart)

    @property
    def counts(self) -> tuple[int, int]:
        """Training images: (n_N, n_P)."""
        return _of_both(self.class_counts, self.negative_classes, self.positives)

    @property
    def test_counts(self) -> tuple[int, int]:
        """Test images: negative, positive."""
        each = [len(places) for places in self.test_places]
        return _of_both(each, self.negative_classes, self.positives)

    @cached_property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of each class of the multi-class data set."""
        sizes = self.pool.train_sizes
        counts = [0] * len(sizes)
        for c in self.negative_classes:
            counts[c] = sizes[c] if self.negatives is None else self.negatives
        if self.prior is None:
            for c in self.positives:
                counts[c] = sizes[c]
            return tuple(counts)
        # of the decimal number as it is written: in floating point .06/.94 of 47 is less than 3
        share = Fraction(str(float(self.prior)))
        wanted = int(share / (1 - share) * sum(counts))
        each, more = divmod(wanted, len(self.positives))
        for k, c in enumerate(self.positives):
            counts[c] = each + (k < more)
        return tuple(counts)

    @property
    def train_places(self) -> Places:
        """The training images of each class: ascending places in the class, in file order. The same for every seed."""
        sizes, counts = self.pool.train_sizes, self.class_counts
        if self.convention == "first":
            return [range(n) for n in counts]
        return [sorted(o.tolist()) for o in order_in_class(sizes, counts, self.convention)]

    @property
    def test_places(self) -> Places:
        """The test images of each class: the first in file order."""
        sizes = self.pool.test_sizes
        apart = set(self.left_out)
        return [
            range(0 if c in apart else size if self.test is None else self.test)
            for c, size in enumerate(sizes)
        ]

    @property
    def split(self) -> str:
        """`NAME@DIGEST`: which images of which class train and test, by their place in the class, and which classes are
        positive. Needs no data."""
        identity: dict[str, Any] = {
            "data": self.name,
            "positives": self.positives,
            "train": [_runs(places) for places in self.train_places],
            "test": [_runs(places) for places in self.test_places],
        }
        if self.pool.rule:
            identity["rule"] = self.pool.rule
        share = "natural" if self.prior is None else f"p{self.prior:g}"
        return f"{self.name}-{share}@{short_hash(identity)}"

    @property
    def text(self) -> str:
        """In words, one line."""
        negative, positive = self.counts
        names = [self.pool.classes[c] for c in self.positives]
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        return (
            f"{shown} positive; {positive:,} positives to {negative:,} negatives in training "
            f"(p {positive / (positive + negative):.2g})"
        )

    def cannot_give(self, path: Path) -> str | None:
        """Why the copy at `path` cannot give this set, one line; None if it can."""
        held = self.pool.held(path)
        if held is None:
            return None
        if self.convention != "first":
            return (
                f"{path} holds only the first images of each class, not {self.convention} ones; "
                f"{self.pool.scarce}"
            )
        for c, (count, there) in enumerate(zip(self.class_counts, held, strict=True)):
            if count > there:
                return (
                    f"{path} holds {there:,} training images of {self.pool.classes[c]}, {count:,} are asked for; "
                    f"{self.pool.scarce}"
                )
        return None

    @property
    def _classes(self) -> tuple[int, ...]:
        return tuple(sorted((*self.negative_classes, *self.positives)))

    def _require_classes(self) -> None:
        every = range(len(self.pool.classes))
        for what, ids in (("positive", self.positives), ("left out", self.left_out)):
            for c in ids:
                if isinstance(c, bool) or not isinstance(c, int) or c not in every:
                    raise UserError(
                        f"{self.name} has no class {c!r}, which is to be {what}: ids run from 0 to {every[-1]}; "
                        "of names `class_ids` makes them"
                    )
            if len(set(ids)) != len(ids):
                raise UserError(
                    f"{self.name}: {what} classes {list(ids)} name one twice; name each once"
                )
        both = sorted({*self.positives} & {*self.left_out})
        if both:
            raise UserError(
                f"{self.name}: class {both[0]} is positive and left out; it can be one of them"
            )
        if not self.positives:
            raise UserError(f"{self.name}: no class is positive; name one or more")
        if not self.negative_classes:
            raise UserError(
                f"{self.name}: no class is negative; leave one or more out of the positives"
            )

    def _require_images(
        self, name: str, what: str, classes: Iterable[int], sizes: Sequence[int]
    ) -> None:
        """Raises UserError where one of `classes` has not the images that the attribute `name` asks for."""
        count = getattr(self, name)
        if count is None:
            return
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UserError(
                f"{self.name}: {name} is {count!r}; give a whole number from 1 on, or None for all {what} images"
            )
        least = min(classes, key=lambda c: sizes[c])
        if count > sizes[least]:
            raise UserError(
                f"{self.name}: {count:,} {what} images of each class are asked for, but "
                f"{self.pool.classes[least]} has {sizes[least]:,}; ask for no more, or None for all"
            )

    def _require_positives(self) -> None:
        negative, positive = self.counts
        if positive < 1:
            raise UserError(
                f"{self.name}: a share of {self.prior:g} positives leaves none beside {negative:,} negatives; "
                f"the smallest that leaves one is {_at_least(1 / (negative + 1)):g}"
            )
        for c in self.positives:
            count, there = self.class_counts[c], self.pool.train_sizes[c]
            if count > there:
                raise UserError(
                    f"{self.name}: a share of {self.prior:g} positives asks for {count:,} training images of "
                    f"{self.pool.classes[c]}, which has {there:,}; take a smaller share or fewer negatives"
                )
        if positive > negative:
            raise UserError(
                f"{self.name}: {positive:,} positives to {negative:,} negatives; positives are the rare class: give a "
                "share up to .5, or make the other classes positive"
            )


def _at_least(share: float) -> float:
    """To three digits, and not below: what a message names is to be taken."""
    scale = 10.0 ** (2 - math.floor(math.log10(share)))
    return math.ceil(share * scale) / scale


def class_ids(name: str, classes: Iterable[str]) -> tuple[int, ...]:
    """Ids of classes of a pool by their names. Raises UserError, with the nearest names, for an unknown one."""
    if name not in POOLS:
        raise UserError(f"no binary data set is made of {name!r}{did_you_mean(name, POOLS)}")
    known = POOLS[name].classes
    wanted = list(classes)
    for one in wanted:
        if one not in known:
            raise UserError(f"{name} has no class {one!r}{did_you_mean(one, known)}")
    return tuple(sorted(known.index(one) for one in wanted))


@dataclass(frozen=True, kw_only=True, eq=False)
class BinarySets:
    """A binary training set and its test set.

    Attributes:
        train, test: labels 0 and 1 (positive). Training images lie class after class, test images in the order of
            the copy's test set.
        train_classes, test_classes: int64 (N,), (M,): each image's class in the multi-class data set.
        test_places: int64 (M,), where the test images lie in the copy's whole test set; ascending.
        released_labels: int64 (T,), classes of that whole test set in its order.
        released_files: `CLASS/NAME`, T names of its image files; () where it is none of files.
        observed: digests of this copy, name -> hex.
        variant: whether the images are others than the split names.
    """

    train: ImageArrays
    test: ImageArrays
    train_classes: Array
    test_classes: Array
    test_places: Array
    released_labels: Array
    released_files: tuple[str, ...]
    observed: Mapping[str, str]
    variant: bool

    @property
    def clean(self) -> CleanTest:
        """The test images as an official corrupted set takes them (`release.Release.read`), to give them in this order."""
        return CleanTest(
            labels=self.released_labels, places=self.test_places, files=self.released_files
        )


@lru_cache(maxsize=4)
def load(source: BinarySource, path: Path) -> BinarySets:
    """The sets, to be left as they are. Raises DataError: damaged, or images that this copy has not.

    Read once a process: facts, training and test set of a run ask for the same arrays.
    """
    from tasks.vision.data.arrays import ImageArrays

    path = Path(path)
    problem = source.cannot_give(path)
    if problem:
        raise DataError(problem)
    taken = source.pool.read(path, source.train_places, source.test_places)

    def binary(arrays: ImageArrays) -> ImageArrays:
        return ImageArrays(arrays.images, _positive(arrays.labels, source.positives))

    return BinarySets(
        train=binary(taken.train),
        test=binary(taken.test),
        train_classes=taken.train.labels,
        test_classes=taken.test.labels,
        test_places=taken.test_places,
        released_labels=taken.released_labels,
        released_files=taken.released_files,
        observed=taken.observed,
        variant=taken.variant,
    )


def dataset(source: BinarySource) -> DataSet:
    """The data set as a protocol declares it; `find` says what the copy cannot give.

    Sources of one pool share its name, so the summary is of the pool alone: which classes are positive is the
    protocol's to say (`BinarySource.text`).
    """
    pool = source.pool

    def find(root: Path) -> Path:
        path = pool.find(root)
        problem = source.cannot_give(path)
        if problem:
            raise DataError(problem)
        return path

    return DataSet(
        name=pool.name,
        summary=f"{pool.summary}; made binary, with rare positives",
        layout=pool.layout,
        classes=CLASSES,
        groups={},
        group_rule="",
        find=find,
        check=pool.check,
        differs=pool.differs,
        embedded=pool.embedded,
    )


def _positive(labels: Array, positives: tuple[int, ...]) -> Array:
    """int64 (N,): 1 where the class is positive, else 0."""
    import numpy as np

    return np.isin(labels, positives).astype(np.int64)


def _of_both(
    counts: Sequence[int], negatives: Iterable[int], positives: Iterable[int]
) -> tuple[int, int]:
    return sum(counts[c] for c in negatives), sum(counts[c] for c in positives)


def _runs(places: Sequence[int]) -> list[list[int]]:
    """Ascending places as runs [first, behind the last]: short, and the same however they were written down."""
    if isinstance(places, range):
        return [[places.start, places.stop]] if places else []
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([place, place + 1])
    return runs
