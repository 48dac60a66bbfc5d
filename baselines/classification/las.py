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
        "over": {
            "default": "all",
            "choices": ["all", "others"],
            "neutral": "others",
            "help": "eps is spread over all classes, as released, or over those other than the label",
        },
    },
    "protocol_defaults": {
        "*:cifar100,exp,ir100": {"head": 0.4, "tail": 0.1},
        "*:cifar100,exp,ir10": {"head": 0.2},
        "*:cifar10,exp,ir50": {"head": 0.2},
        "*:cifar10,exp,ir10": {"head": 0.1},
        "places-lt": {"head": 0.4, "tail": 0.1},
    },
    "notes": "MiSLAS uses it in its second stage, after mixup; here it is the loss of a whole training. "
    "Settings are those of the authors' configs for CIFAR-10 and -100 (ratios 10, 50 and 100), ImageNet-LT, "
    "Places-LT and iNaturalist; elsewhere those of most of them, 0.3 and 0. The paper's equation spreads "
    "eps over the other classes (over=others), its code over all: by default this is the code's.",
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
    """-(1 - eps_y) log p_y - eps_y (mean of log p_c over all classes, or over c != y).

    Args:
        epsilon: eps, (C,), in [0, 1).
        over: `all`, the released code's mean, or `others`, the paper's (its section 3.2).
    """

    epsilon: Tensor

    def __init__(self, epsilon: Sequence[float], over: str = "all") -> None:
        super().__init__()
        self.over = over
        # Derived from the data, so not part of the weights.
        self.register_buffer("epsilon", torch.tensor(list(epsilon)), persistent=False)

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits (B, C), ids (B,) and optional weights (B,)."""
        log_p = scores.log_softmax(1)
        true = log_p.gather(1, label[:, None]).squeeze(1)
        if self.over == "all":
            rest = log_p.mean(1)
        else:
            rest = (log_p.sum(1) - true) / (scores.shape[1] - 1)
        eps = self.epsilon[label]
        return labelled_mean(-(1 - eps) * true - eps * rest, label, weight, -100)


def configure(cfg: Any, facts: Any, *, head: float, tail: float, shape: str, over: str) -> Any:
    """Smoothed cross entropy throughout."""
    epsilon = smoothing(counts_of(facts), head, tail, shape)
    return set_loss(cfg, {"type": "LabelAwareSmoothingLoss", "epsilon": epsilon, "over": over})
