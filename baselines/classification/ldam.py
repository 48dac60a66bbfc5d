"""Label-distribution-aware margins on a cosine classifier, with deferred re-weighting or without."""

CARD = {
    "title": "LDAM",
    "paper": "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    "venue": "NeurIPS 2019",
    "arxiv": "1906.07413",
    "cite": "cao2019learning",
    "tasks": ["longtail-cls"],
    "names": {
        "ldam": {"summary": "margins ~ n_c^-1/4 on scaled cosines", "params": {"switch": 1.0}},
        "ldam-drw": {
            "summary": "LDAM, class-balanced weights for the last fifth of the training",
            "params": {"switch": 0.8},
        },
    },
    "params": {
        "margin": {"default": 0.5, "low": 0.0, "high": 2.0, "help": "of the rarest class"},
        "scale": {"default": 30.0, "low": 0.001, "help": "factor s of the cosines"},
        "switch": {
            "default": 1.0,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training before re-weighting (DRW) sets in; 1 is never",
        },
        "beta": {
            "default": 0.9999,
            "low": 0.0,
            "high": 0.999999999,
            "help": "DRW (a switch below 1): effective number of samples",
        },
        "weight_decay": {
            "default": None,
            "low": 0.0,
            "high": 1.0,
            "help": "the optimiser's; None is the protocol's",
        },
    },
    "protocol_defaults": {
        "r32-400-aa": {"weight_decay": 0.00005},
        "r32-400-aa:cifar100,exp,ir100": {"weight_decay": 0.0001},
        "r32-400-aa:cifar10,exp,ir10": {"weight_decay": 0.00001},
    },
    "notes": "The weight decay under r32-400-aa is that of the unified study's code, "
    "which tuned it with SAM.",
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.class_weights import class_weights, weighted_mean
from baselines.parts.losses import labelled_mean, set_loss
from baselines.parts.staged import counts_of, set_weight_decay


def margins(class_counts: Sequence[float], margin: float) -> Tensor:
    """m_c = margin (n_c / n_min)^(-1/4), float32 (C,) (the paper's n^(-1/4), scaled)."""
    counts = torch.tensor(list(class_counts), dtype=torch.float64).clamp(min=1)
    return (margin * (counts / counts.min()) ** -0.25).float()


@MODELS.register_module()
class LDAMLoss(nn.Module):
    """CE of s (cos_c - m_y [c = y]), averaged, or weighted by class.

    Args:
        class_counts: training samples per class, (C,).
        margin: m of the rarest class, in cosines.
        scale: s, with which the scores come multiplied already.
        class_weight: (C,), None for none; its scale is irrelevant.
    """

    gap: Tensor
    class_weight: Tensor | None

    def __init__(
        self,
        class_counts: Sequence[float],
        margin: float = 0.5,
        scale: float = 30.0,
        class_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        weight = None if class_weight is None else torch.tensor(list(class_weight))
        # Derived from the data, so not part of the weights.
        self.register_buffer("gap", scale * margins(class_counts, margin), persistent=False)
        self.register_buffer("class_weight", weight, persistent=False)

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from scaled cosines (B, C), ids (B,) and optional weights (B,)."""
        lowered = scores - F.one_hot(label, scores.shape[1]) * self.gap
        loss = F.cross_entropy(lowered, label, reduction="none")
        if self.class_weight is None:
            return labelled_mean(loss, label, weight, -100)
        return weighted_mean(loss, label, self.class_weight, weight)


def configure(
    cfg: Any,
    facts: Any,
    *,
    margin: float,
    scale: float,
    switch: float,
    beta: float,
    weight_decay: float | None,
) -> Any:
    """A cosine classifier in place of the linear one; from `switch` on class-balanced weights."""
    set_weight_decay(cfg, weight_decay)
    cfg.model.head.type = "CosineHead"
    cfg.model.head.scale = scale
    counts = counts_of(facts)
    first = {"type": "LDAMLoss", "class_counts": counts, "margin": margin, "scale": scale}
    second = {**first, "class_weight": class_weights(counts, "effective", beta)}
    return set_loss(cfg, {"type": "StagedLoss", "first": first, "second": second, "switch": switch})
