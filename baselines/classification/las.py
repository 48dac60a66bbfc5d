"""Label-aware smoothing: frequent classes are smoothed more."""

CARD = {
    "title": "Label-aware smoothing",
    "paper": "Improving Calibration for Long-Tailed Recognition",
    "venue": "CVPR 2021",
    "arxiv": "2104.00466",
    "cite": "zhong2021improving",
    "tasks": ["longtail-cls"],
    "names": {"las": {"summary": "CE with labels smoothed by eps_y, growing with n_y"}},
    "params": {
        "head": {"default": 0.3, "low": 0.0, "high": 0.99, "help": "eps of the largest class"},
        "tail": {"default": 0.0, "low": 0.0, "high": 0.99, "help": "eps of the smallest class"},
        "shape": {
            "default": "concave",
            "choices": ["concave", "linear", "convex"],
            "help": "how eps grows with n between the two",
        },
    },
    "notes": "MiSLAS uses it in its second stage, after mixup; here it is the loss of a whole training.",
    "needs": {"passes": 1},
}

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss
from baselines.parts.staged import counts_of


def smoothing(class_counts: Sequence[float], head: float, tail: float, shape: str) -> list[float]:
    """eps_c, (C,), from `tail` at the least to `head` at the largest count.

    With x = (n - n_min) / (n_max - n_min): concave sin(pi x / 2), linear x, convex 1 - cos(pi x / 2).
    """
    low, high = min(class_counts), max(class_counts)
    share = [(n - low) / (high - low) if high > low else 1.0 for n in class_counts]
    if shape == "concave":
        share = [math.sin(math.pi * x / 2) for x in share]
    elif shape == "convex":
        share = [1 - math.cos(math.pi * x / 2) for x in share]
    return [tail + (head - tail) * x for x in share]


@MODELS.register_module()
class LabelAwareSmoothingLoss(nn.Module):
    """-(1 - eps_y) log p_y - eps_y / (C - 1) sum over c != y of log p_c.

    Args:
        epsilon: eps, (C,), in [0, 1).
    """

    epsilon: Tensor

    def __init__(self, epsilon: Sequence[float]) -> None:
        super().__init__()
        # Derived from the data, so not part of the weights.
        self.register_buffer("epsilon", torch.tensor(list(epsilon)), persistent=False)

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits (B, C), ids (B,) and optional weights (B,)."""
        log_p = scores.log_softmax(1)
        true = log_p.gather(1, label[:, None]).squeeze(1)
        rest = (log_p.sum(1) - true) / (scores.shape[1] - 1)
        eps = self.epsilon[label]
        return labelled_mean(-(1 - eps) * true - eps * rest, label, weight, -100)


def configure(cfg: Any, facts: Any, *, head: float, tail: float, shape: str) -> Any:
    """Smoothed cross entropy throughout."""
    epsilon = smoothing(counts_of(facts), head, tail, shape)
    return set_loss(cfg, {"type": "LabelAwareSmoothingLoss", "epsilon": epsilon})
