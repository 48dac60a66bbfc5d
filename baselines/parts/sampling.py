"""Drawing training images with unequal probabilities."""

from collections.abc import Iterator

import numpy as np
from mmengine.dist import get_dist_info

_BLOCK = 4096


def draws(probabilities: np.ndarray, seed: int) -> Iterator[int]:
    """Indices drawn with `probabilities` (N,), for ever; what is drawn n-th follows from the seed and n.

    Each process of a distributed training takes every world-size-th draw.
    """
    rank, world = get_dist_info()
    generator = np.random.default_rng(seed)
    bounds = np.cumsum(probabilities)
    bounds /= bounds[-1]
    while True:
        drawn = np.searchsorted(bounds, generator.random(_BLOCK * world), side="right")
        yield from drawn[rank::world].tolist()
