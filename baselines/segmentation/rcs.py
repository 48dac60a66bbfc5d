"""Rare-class sampling of images: a class is drawn, rare ones more often, then an image that shows it."""

CARD = {
    "title": "Rare-class sampling",
    "paper": "DAFormer: Improving Network Architectures and Training Strategies for Domain-Adaptive "
    "Semantic Segmentation",
    "venue": "CVPR 2022",
    "arxiv": "2111.14887",
    "cite": "hoyer2022daformer",
    "tasks": ["longtail-seg"],
    "names": {
        "rcs": {"summary": "CE; a class by exp((1 - its share of pixels) / T), then its image"}
    },
    "params": {
        "temperature": {
            "default": 0.01,
            "low": 0.0001,
            "help": "T: the smaller, the more the rarest classes; large: every class equally often",
        },
    },
    "notes": "T is the paper's. Augmentation is the protocol's: the paper's second crop, where the first "
    "shows too little of the class, is left out.",
    "needs": {"passes": 1},
}

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from baselines.parts.sampling import draws


def class_shares(class_counts: Sequence[float], temperature: float) -> np.ndarray:
    """P(c) ~ exp((1 - f_c) / T), f_c the class's share of the training pixels, (C,) with sum 1; 0 for a
    class without any."""
    counts = np.asarray(class_counts, dtype=np.float64)
    logits = np.where(counts > 0, -counts / counts.sum() / temperature, -np.inf)
    raw = np.exp(logits - logits.max())
    shares: np.ndarray = raw / raw.sum()
    return shares


@DATA_SAMPLERS.register_module()
class RareClassSampler(Sampler):
    """Draws a class with `class_shares`, then uniformly one of the images that show it, for ever.

    What is drawn n-th follows from the seed and n.

    Args:
        dataset: has `class_presence()`, bool (N, C).
        seed: of the stream; each process of a distributed training takes every world-size-th draw.
        class_counts: training pixels per class, (C,).
        temperature: T > 0.
    """

    def __init__(
        self,
        dataset: Any,
        seed: int | None,
        class_counts: Sequence[float],
        temperature: float = 0.01,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}, expected > 0")
        present = np.asarray(dataset.class_presence(), dtype=bool)
        images = present.sum(axis=0)
        shares = np.where(images > 0, class_shares(class_counts, temperature), 0.0)
        # class and image in one draw: which class it was drawn for does not matter afterwards
        self.probabilities = present @ (shares / shares.sum() / np.maximum(images, 1))
        self._seed = seed or 0

    def __iter__(self) -> Iterator[int]:
        return draws(self.probabilities, self._seed)

    def __len__(self) -> int:
        return len(self.probabilities)


def configure(cfg: Any, facts: Any, *, temperature: float) -> Any:
    """The recipe's cross entropy on re-sampled images."""
    cfg.train_dataloader.sampler = {
        "type": "RareClassSampler",
        "class_counts": list(facts.class_counts),
        "temperature": temperature,
    }
    return cfg
