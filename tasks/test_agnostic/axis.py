"""Class shares on an axis from forward (frequent classes frequent) over uniform to backward (rare classes
frequent).

A place on it is the signed natural logarithm of the imbalance ratio, below 0 forward. Around a place, shares
may be drawn from a Dirichlet distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MOST = 50.0
"""Imbalance ratio at either end of the axis: the largest of LADE's and SADE's test sets."""
RATIOS = (1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12.5, 15, 20, 25, 30, 40, 50)
"""Ratios to choose from: about equal steps on the axis, the published ones (2, 5, 10, 25, 50) among them."""
STEPS = 20
"""Positions of the axis on either side of uniform."""


def class_order(class_counts: Sequence[int]) -> Array:
    """Class ids by falling training count, ties by id: int64 (C,)."""
    import numpy as np

    return np.argsort(-np.asarray(class_counts, dtype=np.int64), kind="stable")


def falling(classes: int, ratio: float) -> list[float]:
    """Weight of each rank, ratio^(-rank / (C - 1)), from 1 down to 1 / ratio; `ratio` is at least 1.

    LADE's protocol (Hong et al., CVPR 2021), which SADE took over.
    """
    steps = max(classes - 1, 1)
    # not of numpy: its powers may differ in the last place, and test sets truncate to whole images
    return [(1 / ratio) ** (rank / steps) for rank in range(classes)]


def shares(order: Array, place: float, present: Array | None = None) -> Array:
    """Class shares (C,) at a place of the axis, float64 that sum to 1.

    `order` are class ids by falling training count. Classes that are not `present` (bool (C,)) keep their
    rank and get nothing.
    """
    import numpy as np

    made = np.zeros(len(order))
    made[order[::-1] if place > 0 else order] = falling(len(order), math.exp(abs(place)))
    if present is not None:
        made[~present] = 0
    total = made.sum()
    return made / total if total else made


def place_of(prior: str) -> float:
    """Place of `uniform`, `forward-R` or `backward-R`."""
    kind, _, ratio = prior.partition("-")
    return 0.0 if kind == "uniform" else math.log(float(ratio)) * (-1 if kind == "forward" else 1)


def priors() -> list[str]:
    """What to choose from, from forward to backward, named as the test sets are."""
    forward = [f"forward-{ratio:g}" for ratio in reversed(RATIOS)]
    return [*forward, "uniform", *(f"backward-{ratio:g}" for ratio in RATIOS)]


def places() -> tuple[float, ...]:
    """Places in equal steps from forward-50 over uniform (exactly 0) to backward-50."""
    return tuple(math.log(MOST) * step / STEPS for step in range(-STEPS, STEPS + 1))


def spoken(place: float) -> str:
    """A place in words: `forward 24.9`, `uniform`."""
    if abs(place) < 1e-9:
        return "uniform"
    return f"{'forward' if place < 0 else 'backward'} {math.exp(abs(place)):.3g}"


def drawn_shares(mean: Array, alpha: float, draws: int, seed: int = 0) -> Array:
    """Draws (draws, C) from Dir(alpha C mean), C the classes with a share.

    `alpha` is the concentration of each class where `mean` is uniform: there it is the symmetric
    Dir(alpha, ..., alpha). The same seed draws the same.
    """
    import numpy as np

    made = np.zeros((draws, len(mean)))
    there = np.flatnonzero(mean)
    if len(there):
        parameters = alpha * len(there) * mean[there]
        made[:, there] = np.random.default_rng(seed).dirichlet(parameters, draws)
    return made
