"""Influence-balanced loss: samples that shape the decision boundary most are weighted down."""

CARD = {
    "title": "Influence-balanced loss",
    "paper": "Influence-Balanced Loss for Imbalanced Visual Classification",
    "venue": "ICCV 2021",
    "arxiv": "2110.02444",
    "cite": "park2021influence",
    "tasks": ["longtail-cls"],
    "names": {"ib": {"summary": "CE; from half of the training divided by a sample's influence"}},
    "params": {
        "alpha": {"default": 1000.0, "low": 0.0, "help": "scale of the influence weights"},
        "switch": {
            "default": 0.5,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training with plain CE",
        },
        "lr_factor": {
            "default": 0.01,
            "low": 0.000001,
            "high": 1.0,
            "help": "of the learning rate from the switch on",
        },
    },
    "notes": "alpha, inverse-frequency class weights, the switch at epoch 100 of 200 and the learning "
    "rate's hundredth from there are those of the released code, which also differentiates the "
    "influence; here it is a weight.",
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.class_weights import class_weights
from baselines.parts.losses import labelled_mean, set_loss
from baselines.parts.staged import scale_from, stage_start

_EPS = 1e-3


@MODELS.register_module()
class InfluenceBalancedLoss(nn.Module):
    """mean of lambda_y CE alpha / (|p - onehot(y)|_1 |h|_1 + eps).

    Args:
        class_weight: lambda, (C,), mean 1.
        alpha: > 0.
    """

    class_weight: Tensor

    def __init__(self, class_weight: Sequence[float], alpha: float) -> None:
        super().__init__()
        # Derived from the data, so not part of the weights.
        self.register_buffer("class_weight", torch.tensor(list(class_weight)), persistent=False)
        self.alpha = alpha

    def forward(
        self,
        scores: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        features: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Scalar, from logits (B, C), ids (B,), features (B, D) and optional weights (B,)."""
        if features is None:
            raise ValueError("the influence of a sample needs its features")
        loss = F.cross_entropy(scores, label, reduction="none")
        # |p - onehot|_1 = 2 (1 - p_y)
        influence = 2 * -torch.expm1(-loss) * features.abs().sum(1)
        # a weight, not a term: it is not differentiated
        factor = self.alpha / (influence.detach() + _EPS) * self.class_weight[label]
        return labelled_mean(loss * factor, label, weight, -100)


def configure(cfg: Any, facts: Any, *, alpha: float, switch: float, lr_factor: float) -> Any:
    """CE, then the influence-balanced loss at a fraction of the learning rate."""
    scale_from(cfg, stage_start(facts.iterations, switch), "lr", lr_factor)
    weights = class_weights([float(n) for n in facts.class_counts], "inverse", 0.0)
    second = {"type": "InfluenceBalancedLoss", "class_weight": weights, "alpha": alpha}
    first = {"type": "CrossEntropy"}
    return set_loss(cfg, {"type": "StagedLoss", "first": first, "second": second, "switch": switch})
