"""Randomness of the data path, derived from (seed, position) alone.

The n-th sample drawn in a training gets its own seed. So augmentation does not depend on the number
of data workers, and a resumed run continues with exactly the samples an undisturbed one would see.
Data held in memory are made a batch at a time, under the seed of the batch's first sample.
"""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS
from torch.utils.data import Dataset, Sampler


@DATA_SAMPLERS.register_module()
class PositionSampler(Sampler):
    """Wraps a sampler: yields (position, index), position counting samples over all ranks.

    Args:
        sampler: config of the wrapped sampler.
        dataset, seed: handed on to it.
    """

    def __init__(self, sampler: dict[str, Any], dataset: Any, seed: int | None) -> None:
        self.inner = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self._start = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rank, world = get_dist_info()
        indices = iter(self.inner)
        if not hasattr(self.inner, "skip"):
            indices = itertools.islice(indices, self._start, None)
        for position, index in enumerate(indices, start=self._start):
            yield position * world + rank, index

    def skip(self, num_samples: int) -> None:
        """Start at the absolute position `num_samples` (mmengine's contract for resuming)."""
        self._start = num_samples
        if hasattr(self.inner, "skip"):
            self.inner.skip(num_samples)

    def __len__(self) -> int:
        return len(self.inner)

    def __getattr__(self, name: str) -> Any:
        # state_dict, set_epoch, feedback of a method's own sampler
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Wraps a data set: sample (position, index) is made under a seed of (seed, position).

    The global generators of python, numpy and torch are left as they were. A data set with a method
    `batch(indices, generator)` gives whole batches, from a generator of its own that was seeded so; its
    loader needs `collate_fn=dict(type="whole_batch")`.
    """

    def __init__(self, dataset: dict[str, Any], seed: int) -> None:
        self.inner = DATASETS.build(dataset)
        self.seed = seed
        self._generator = torch.Generator()

    def __getitem__(self, key: tuple[int, int]) -> Any:
        position, index = key
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        mixed = mixed_seed(self.seed, position)
        random.seed(mixed)
        np.random.seed(mixed & 0xFFFFFFFF)
        torch.default_generator.manual_seed(mixed)
        try:
            return self.inner[index]
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])

    def __getitems__(self, keys: list[tuple[int, int]]) -> Any:
        # what torch's loader asks for first: all samples of a batch
        if not hasattr(self.inner, "batch"):
            return [self[key] for key in keys]
        self._generator.manual_seed(mixed_seed(self.seed, keys[0][0]))
        return self.inner.batch([index for _, index in keys], self._generator)

    def __len__(self) -> int:
        return len(self.inner)

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


@FUNCTIONS.register_module()
def whole_batch(batch: Any) -> Any:
    """Collate function of data sets that give whole batches: nothing is left to do."""
    return batch


def mixed_seed(seed: int, position: int) -> int:
    """A 63-bit seed from two numbers (splitmix64's finaliser, Steele et al. 2014)."""
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1
