"""Repeat-factor sampling of images: those with a class of few images come more than once an epoch."""

CARD = {
    "title": "Repeat-factor sampling",
    "paper": "LVIS: A Dataset for Large Vocabulary Instance Segmentation",
    "venue": "CVPR 2019",
    "arxiv": "1908.03195",
    "cite": "gupta2019lvis",
    "tasks": ["longtail-seg"],
    "names": {
        "rfs": {"summary": "CE; images repeated by max(1, sqrt(t / f)) of their rarest class"}
    },
    "params": {
        "threshold": {
            "default": None,
            "low": 0.0,
            "high": 1.0,
            "help": "t: classes in a smaller share of the images are repeated; None: the smallest share "
            "of a head class",
        },
    },
    "notes": "The paper's t is 0.001, for LVIS and its 1,203 classes, where frequent classes begin near "
    "it. Every class of the digit scenes and of CamVid is in far more of the images: nothing would be "
    "repeated. So t is by default where the head classes begin. An image's repeats are rounded at random, "
    "anew in every epoch.",
    "needs": {"passes": 1},
}

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


def repeat_factors(
    present: np.ndarray, threshold: float | None, head: Sequence[int] = ()
) -> np.ndarray:
    """r_i = max over the classes of image i of max(1, sqrt(t / f_c)), f_c the share of the images that
    show the class; (N,), from bool (N, C). t is `threshold`, or the smallest f_c of the head classes.

    An image without any class has 1.
    """
    share = present.mean(axis=0)
    if threshold is None:
        shown = [share[c] for c in head if share[c] > 0]
        if not shown:
            raise ValueError("no head class to take the threshold from: set one")
        threshold = float(min(shown))
    # a class that no image shows is in no image's maximum
    factor = np.maximum(1.0, np.sqrt(threshold / np.where(share > 0, share, 1.0)))
    repeats: np.ndarray = np.where(present, factor, 1.0).max(axis=1)
    return repeats


@DATA_SAMPLERS.register_module()
class RepeatFactorSampler(Sampler):
    """Epoch after epoch, for ever: image i floor(r_i) times, once more with probability r_i - floor(r_i),
    all shuffled. With every r_i = 1 that is shuffling.

    What is drawn n-th follows from the seed and n.

    Args:
        dataset: has `class_presence()`, bool (N, C).
        seed: of the stream; each process of a distributed training takes every world-size-th draw.
        threshold, head: see `repeat_factors`.
    """

    def __init__(
        self,
        dataset: Any,
        seed: int | None,
        threshold: float | None = None,
        head: Sequence[int] = (),
    ) -> None:
        present = np.asarray(dataset.class_presence(), dtype=bool)
        self.repeats = repeat_factors(present, threshold, head)
        self._seed = seed or 0

    def __iter__(self) -> Iterator[int]:
        rank, world = get_dist_info()
        return itertools.islice(self._draws(), rank, None, world)

    def _draws(self) -> Iterator[int]:
        generator = np.random.default_rng(self._seed)
        whole = np.floor(self.repeats).astype(np.int64)
        while True:
            times = whole + (generator.random(len(whole)) < self.repeats - whole)
            yield from generator.permutation(np.repeat(np.arange(len(whole)), times)).tolist()

    def __len__(self) -> int:
        return len(self.repeats)


def configure(cfg: Any, facts: Any, *, threshold: float | None) -> Any:
    """The recipe's cross entropy on re-sampled images."""
    cfg.train_dataloader.sampler = {
        "type": "RepeatFactorSampler",
        "threshold": threshold,
        "head": list(facts.groups.get("head", ())),
    }
    return cfg
