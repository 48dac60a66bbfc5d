"""Re-sampling: classes drawn with a power of their frequency."""

CARD = {
    "title": "Re-sampling",
    "paper": "Decoupling Representation and Classifier for Long-Tailed Recognition",
    "venue": "ICLR 2020",
    "arxiv": "1910.09217",
    "cite": "kang2020decoupling",
    "tasks": ["longtail-cls"],
    "names": {
        "rs": {"summary": "every class drawn equally often", "params": {"power": 0.0}},
        "rs-sqrt": {
            "summary": "classes drawn with the square root of their frequency",
            "params": {"power": 0.5},
        },
    },
    "params": {
        "power": {
            "default": 0.0,
            "low": 0.0,
            "high": 1.0,
            "help": "class c is drawn with n_c^power / sum; 1 is the data's own frequency",
        }
    },
    "needs": {"passes": 1},
}

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from baselines.parts.losses import set_loss
from baselines.parts.sampling import draws


@DATA_SAMPLERS.register_module()
class ClassPowerSampler(Sampler):
    """Draws a class with probability n_c^power / sum (equation (1) of the paper), then one of its images
    uniformly, for ever.

    Args:
        dataset: has `labels`, ids (N,).
        seed: of the stream; each process of a distributed training takes every world-size-th draw.
        power: 0 is class-balanced, 1/2 square-root sampling.
    """

    def __init__(self, dataset: Any, seed: int | None, power: float) -> None:
        labels = np.asarray(dataset.labels)
        counts = np.bincount(labels)
        share = np.where(counts > 0, np.maximum(counts, 1) ** power, 0.0)
        # of every image: its class's probability, spread over the class
        self._p = (share / share.sum() / np.maximum(counts, 1))[labels]
        self._seed, self._size = seed or 0, len(labels)

    def __iter__(self) -> Iterator[int]:
        return draws(self._p, self._seed)

    def __len__(self) -> int:
        return self._size


def configure(cfg: Any, facts: Any, *, power: float) -> Any:
    """Cross entropy on re-sampled batches."""
    cfg.train_dataloader.sampler = {"type": "ClassPowerSampler", "power": power}
    return set_loss(cfg, {"type": "CrossEntropy"})
