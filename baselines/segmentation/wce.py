"""Class-weighted cross entropy: inverse frequency and effective number of samples."""

CARD = {
    "title": "Class-weighted cross entropy",
    "paper": "Class-Balanced Loss Based on Effective Number of Samples",
    "venue": "CVPR 2019",
    "arxiv": "1901.05555",
    "cite": "cui2019classbalanced",
    "tasks": ["longtail-seg"],
    "names": {
        "wce-inv": {
            "summary": "CE weighted by 1 / training pixels of the class",
            "params": {"scheme": "inverse"},
        },
        "wce-en": {
            "summary": "CE weighted by 1 / effective number of training pixels of the class",
            "params": {"scheme": "effective"},
        },
    },
    "params": {
        "scheme": "rw",
        "beta": {
            "default": 0.999999,
            "low": 0.0,
            "high": 0.999999999,
            "help": "effective number only; classes beyond 1/(1 - beta) pixels count as equal",
        },
    },
    "notes": "The paper counts images, with beta 0.9 to 0.9999. Pixels come in millions, where "
    "these give equal weights; hence larger values, set by the size of the training set.",
    "protocol_defaults": {"quick": {"beta": 0.99999}, "smoke": {"beta": 0.99999}},
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.class_weights import class_weights, weighted_mean
from baselines.parts.losses import set_loss


@MODELS.register_module()
class WeightedCrossEntropy(nn.Module):
    """Sum over valid pixels of w_y * CE, divided by the sum of their w_y.

    This is `F.cross_entropy(weight=w, reduction="mean")`. Dividing by the number of pixels instead
    would shrink the loss, and SGD's steps with it, by the (small) weight of the head classes.

    Args:
        class_weight: (C,), >= 0; its scale is irrelevant.
    """

    class_weight: Tensor

    def __init__(self, class_weight: Sequence[float], loss_name: str = "loss_wce") -> None:
        super().__init__()
        # Derived from the data, so not part of the weights.
        self.register_buffer("class_weight", torch.tensor(list(class_weight)), persistent=False)
        self.loss_name = loss_name

    def forward(
        self,
        scores: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        **_: Any,
    ) -> Tensor:
        """Scalar, from logits (B, C, ...), ids (B, ...) and optional weights (B, ...)."""
        loss = F.cross_entropy(scores, label, ignore_index=ignore_index, reduction="none")
        return weighted_mean(loss, label, self.class_weight, weight, ignore_index)


def configure(cfg: Any, facts: Any, *, scheme: str, beta: float) -> Any:
    """Replace the head's losses by weighted cross entropy."""
    weights = class_weights([float(n) for n in facts.class_counts], scheme, beta)
    return set_loss(cfg, {"type": "WeightedCrossEntropy", "class_weight": weights})
