"""The test sets of an evaluation's settings: which test images each of them takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tasks.test_agnostic.distributions import (
    Meta,
    check_prior,
    class_order,
    dirichlet_counts,
    draw_subset,
    prior_counts,
    shifted_counts,
    shifted_subset,
    symmetric_counts,
)

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

COMPONENTS = ("forward", "uniform", "backward")
"""Of DirMixE's meta-distribution."""


@dataclass(frozen=True)
class TestSet:
    """A subset of the test images.

    Attributes:
        prior: name of its distribution.
        kind: `shift` (forward-R, uniform, backward-R), `given` (by the user) or `drawn`, of which there are
            many of one name.
        images: places among the test images, (M,).
        shares: class shares of the distribution that it stands for, (C,).
        unlabelled: places of the images that scores may adapt to, (M',).
    """

    prior: str
    kind: str
    images: Array
    shares: Array
    unlabelled: Array


@lru_cache(maxsize=4)
def made_once(label: bytes, class_counts: tuple[int, ...], settings: str) -> tuple[TestSet, ...]:
    """`make_sets` of labels (int64 bytes) and settings (JSON): made once for all the runs of a protocol."""
    import numpy as np

    wanted = json.loads(settings)
    return tuple(make_sets(np.frombuffer(label, np.int64), class_counts, wanted))


def make_sets(
    label: Array, class_counts: Sequence[int], settings: Mapping[str, Any]
) -> Iterator[TestSet]:
    """The test sets of `settings`, from the labels (N,) of the test images, one after another.

    A set depends on labels, training counts and settings only: all runs of a protocol see the same.
    """
    import numpy as np

    classes = settings["classes"]
    sizes = tuple(np.bincount(label, minlength=classes).tolist())
    order = class_order(class_counts)

    def made(
        prior: str, kind: str, counts: Sequence[int], images: Array, seen: Array | None = None
    ) -> TestSet:
        shares = np.asarray(counts) / max(sum(counts), 1)
        return TestSet(prior, kind, images, shares, images if seen is None else seen)

    ratios = settings["ratios"]
    for backward in (False, True):
        for ratio in ratios if backward else reversed(ratios):
            counts = shifted_counts(sizes, order, ratio, backward)
            name = f"{'backward' if backward else 'forward'}-{ratio:g}"
            yield made(name, "shift", counts, shifted_subset(label, counts))
        if ratios and not backward:
            yield made("uniform", "shift", sizes, np.arange(len(label)))
    seed = settings["seed"]
    for place, (name, shares) in enumerate(settings.get("priors", {}).items()):
        check_prior(shares, classes, f"prior {name!r}")
        counts = prior_counts(sizes, shares)
        images = draw_subset(label, counts, np.random.default_rng([seed, 0, place]))
        yield TestSet(name, "given", images, np.asarray(shares), images)
    asked = settings["dirichlet"]
    if asked is None:
        return
    draw: Callable[[str, np.random.Generator], tuple[int, ...]]
    if "alpha" in asked:
        names: tuple[str, ...] = ("",)

        def draw(kind: str, rng: np.random.Generator) -> tuple[int, ...]:
            return symmetric_counts(sizes, asked["alpha"], rng)
    else:
        names, meta = COMPONENTS, Meta(**asked)

        def draw(kind: str, rng: np.random.Generator) -> tuple[int, ...]:
            return dirichlet_counts(sizes, order, meta, kind, rng)

    for place, kind in enumerate(names):
        for number in range(settings["draws"]):
            # a generator each: a draw does not depend on how many came before
            one, other = (np.random.default_rng([seed, 1 + place, number, i]) for i in range(2))
            counts = draw(kind, one)
            images = draw_subset(label, counts, one)
            seen = draw_subset(label, draw(kind, other), other) if settings["independent"] else None
            name = f"dirichlet-{kind}" if kind else "dirichlet"
            yield made(name, "drawn", counts, images, seen)
