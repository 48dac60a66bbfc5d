"""Class-weighted losses: inverse frequency, and the effective number of samples."""

CARD = {
    "title": "Class-balanced loss",
    "paper": "Class-Balanced Loss Based on Effective Number of Samples",
    "venue": "CVPR 2019",
    "arxiv": "1901.05555",
    "cite": "cui2019classbalanced",
    "tasks": ["longtail-cls"],
    "names": {
        "rw": {
            "summary": "CE weighted by 1 / training images of the class",
            "params": {"scheme": "inverse"},
        },
        "cb-ce": {
            "summary": "CE weighted by 1 / effective number of training images of the class",
            "params": {"scheme": "effective"},
        },
        "cb-focal": {
            "summary": "focal loss weighted by 1 / effective number of training images of the class",
            "params": {"scheme": "effective", "gamma": 2.0},
        },
    },
    "params": {
        "scheme": {
            "default": "inverse",
            "choices": ["inverse", "effective"],
            "help": "weights: 1/n, or (1 - beta)/(1 - beta^n)",
        },
        "beta": {
            "default": 0.9999,
            "low": 0.0,
            "high": 0.999999999,
            "help": "effective number only; classes beyond 1/(1 - beta) images count as equal",
        },
        "gamma": {"default": 0.0, "low": 0.0, "help": "focusing parameter; 0 is plain CE"},
    },
    "notes": "The paper's focal loss is a sum of sigmoid terms; this is the softmax form of `focal`.",
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.class_weights import class_weights, weighted_mean
from baselines.parts.losses import set_loss
from baselines.shared.focal import focal


@MODELS.register_module()
class WeightedFocalLoss(nn.Module):
    """sum(w_y (1 - p_y)^gamma CE) / sum(w_y) over the labelled samples of the batch.

    With gamma = 0 this is `F.cross_entropy(weight=w, reduction="mean")`. Dividing by the number of samples
    instead would shrink the loss, and SGD's steps with it, by the (small) weight of the head classes.

    Args:
        class_weight: (C,), >= 0; its scale is irrelevant.
        gamma: >= 0; 0 is weighted cross entropy.
    """

    class_weight: Tensor

    def __init__(
        self, class_weight: Sequence[float], gamma: float = 0.0, loss_name: str = "loss_weighted"
    ) -> None:
        super().__init__()
        # Derived from the data, so not part of the weights.
        self.register_buffer("class_weight", torch.tensor(list(class_weight)), persistent=False)
        self.gamma = gamma
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
        loss = focal(scores, label, self.gamma, ignore_index)
        return weighted_mean(loss, label, self.class_weight, weight, ignore_index)


def configure(cfg: Any, facts: Any, *, scheme: str, beta: float, gamma: float) -> Any:
    """Weights from the first iteration on."""
    weights = class_weights([float(n) for n in facts.class_counts], scheme, beta)
    loss = {"type": "WeightedFocalLoss", "class_weight": weights, "gamma": gamma}
    return set_loss(cfg, loss)
