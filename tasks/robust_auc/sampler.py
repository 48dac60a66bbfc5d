"""Batches with a fixed number of positives. This is a torch module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


@DATA_SAMPLERS.register_module()
class StratifiedSampler(Sampler[int]):
    """Draws without end; every `batch` consecutive draws hold exactly `positives` positives, at random places.

    The images of a class come in a random order, all of them before one comes again; what is drawn n-th follows from
    seed and n.

    Args:
        dataset: has `labels`, bool (N,).
        seed: of the stream; each process of a distributed training takes every world-size-th draw.
        batch: B.
        positives: of B, between 1 and B - 1.

    Raises ValueError where a class has no image, or for another number of positives.
    """

    def __init__(self, dataset: Any, seed: int | None, batch: int, positives: int) -> None:
        labels = np.asarray(dataset.labels, dtype=bool)
        if not 0 < positives < batch:
            raise ValueError(
                f"{positives} positives in a batch of {batch}: between 1 and {batch - 1}"
            )
        self._places = [np.flatnonzero(~labels), np.flatnonzero(labels)]
        if not all(len(places) for places in self._places):
            raise ValueError("a class has no training image")
        self._size, self._seed = len(labels), seed or 0
        self._counts = (batch - positives, positives)

    def __iter__(self) -> Iterator[int]:
        rank, world = get_dist_info()
        generator = np.random.default_rng(self._seed)
        left: list[list[int]] = [[], []]
        position = 0
        while True:
            chosen: list[int] = []
            for kind, count in enumerate(self._counts):
                while len(left[kind]) < count:
                    left[kind] += generator.permutation(self._places[kind]).tolist()
                chosen += left[kind][:count]
                del left[kind][:count]
            for place in generator.permutation(len(chosen)).tolist():
                if position % world == rank:
                    yield chosen[place]
                position += 1

    def __len__(self) -> int:
        return self._size
