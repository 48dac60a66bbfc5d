"""Softmax equalization loss: rare classes are mostly spared as negatives."""

CARD = {
    "title": "Equalization loss",
    "paper": "Equalization Loss for Long-Tailed Object Recognition",
    "venue": "CVPR 2020",
    "arxiv": "2003.05176",
    "cite": "tan2020equalization",
    "tasks": ["longtail-cls"],
    "names": {"seql": {"summary": "softmax CE whose denominator drops rare negatives at random"}},
    "params": {
        "rare": {
            "default": 0.3,
            "low": 0.0,
            "help": "classes below this multiple of an equal share of the images are rare",
        },
        "gamma": {
            "default": 0.9,
            "low": 0.0,
            "high": 1.0,
            "help": "probability with which a rare negative is dropped",
        },
    },
    "notes": "The paper's threshold is a share of the images, tuned per data set; here it is relative to "
    "1/C, so that one value serves data sets of any number of classes.",
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss
from baselines.parts.staged import counts_of


@MODELS.register_module()
class SoftmaxEqualizationLoss(nn.Module):
    """-log( e^{z_y} / sum_k w_k e^{z_k} ), w_k = 1 - b_k [k is rare] [k != y], b_k ~ Bernoulli(gamma)
    for every sample and class.

    Args:
        class_counts: training samples per class, (C,).
        rare: classes with n_c < rare * mean(n) are rare.
        gamma: in [0, 1]; 0 is plain CE.
    """

    dropped: Tensor

    def __init__(self, class_counts: Sequence[float], rare: float, gamma: float) -> None:
        super().__init__()
        counts = torch.tensor(list(class_counts), dtype=torch.float64)
        # Derived from the data, so not part of the weights.
        self.register_buffer("dropped", counts < rare * counts.mean(), persistent=False)
        self.gamma = gamma

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits (B, C), ids (B,) and optional weights (B,)."""
        # drawn on the CPU: the same on every device, and its generator is part of checkpoints
        drawn = torch.rand(scores.shape) < self.gamma
        out = drawn.to(scores.device, non_blocking=True) & self.dropped
        out = out & (F.one_hot(label, scores.shape[1]) == 0)
        loss = F.cross_entropy(scores.masked_fill(out, -torch.inf), label, reduction="none")
        return labelled_mean(loss, label, weight, -100)


def configure(cfg: Any, facts: Any, *, rare: float, gamma: float) -> Any:
    """Softmax equalization loss throughout."""
    loss = {"type": "SoftmaxEqualizationLoss", "class_counts": counts_of(facts)}
    return set_loss(cfg, {**loss, "rare": rare, "gamma": gamma})
