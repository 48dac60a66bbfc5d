"""RIDE: experts that are pushed apart, each with LDAM's margins."""

CARD = {
    "title": "RIDE",
    "paper": "Long-tailed Recognition by Routing Diverse Distribution-Aware Experts",
    "venue": "ICLR 2021",
    "arxiv": "2010.01809",
    "cite": "wang2021ride",
    "tasks": ["longtail-cls", "test-agnostic"],
    "names": {"ride": {"summary": "three experts under LDAM that differ from their mean"}},
    "params": {
        "experts": {"default": 3, "low": 2, "high": 16, "help": "number of experts"},
        "margin": {"default": 0.5, "low": 0.0, "high": 2.0, "help": "LDAM's, of the rarest class"},
        "scale": "ldam",
        "beta": {
            "default": 0.9999,
            "low": 0.0,
            "high": 0.999999999,
            "help": "class-balanced weights after the switch: effective number of samples",
        },
        "switch": {
            "default": 0.8,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training before weights and temperatures by class set in",
        },
        "diversity": {
            "default": 0.2,
            "low": 0.0,
            "help": "strength of the term that parts experts",
        },
        "spread": {
            "default": 0.05,
            "low": 0.0,
            "high": 1.0,
            "help": "temperatures by class: share that follows the class's frequency",
        },
        "reduced": {
            "default": True,
            "help": "last two stages of an expert at three quarters of their width",
        },
        "shared": {
            "default": 1,
            "low": 1,
            "high": 3,
            "neutral": 1,
            "help": "stages of the network that the experts share, from the first",
        },
    },
    "protocol_defaults": {
        "*:cifar100": {"diversity": 0.45},
        "imagenet-lt": {"spread": 0.02, "shared": 2},
        "places-lt": {"shared": 2},
        "inat18": {"spread": 0.015, "shared": 2},
    },
    "notes": "Stage 1 of the paper: no routing (EA), no distillation. Settings are those of the authors' "
    "configs for CIFAR-100, ImageNet-LT and iNaturalist; elsewhere their code's defaults.",
    "needs": {"experts": 3},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.classification.ldam import LDAMLoss
from baselines.parts.class_weights import class_weights
from baselines.parts.experts import use_experts
from baselines.parts.losses import labelled_mean
from baselines.parts.staged import counts_of


def temperatures(class_counts: Sequence[float], spread: float) -> Tensor:
    """w_c, the largest 1, of C pi_c spread + 1 - spread: float32 (C,)."""
    counts = torch.tensor(list(class_counts), dtype=torch.float64)
    raw = len(counts) * counts / counts.sum() * spread + 1 - spread
    return (raw / raw.max()).float()


@MODELS.register_module()
class RIDELoss(nn.Module):
    """Sum over experts of LDAM-CE(v_k) - diversity T^2 KL(softmax(m / w) || softmax(v_k / w)).

    m is the mean of the experts' logits, taken as constant. Until `switch` w = T = 1; then LDAM-CE is
    weighted by class, w_c are `temperatures` and T is their mean.

    Args:
        class_counts: training samples per class, (C,).
        margin, scale, beta, switch, diversity, spread: see the card.
    """

    by_class: Tensor

    def __init__(
        self,
        class_counts: Sequence[float],
        margin: float,
        scale: float,
        beta: float,
        switch: float,
        diversity: float,
        spread: float,
    ) -> None:
        super().__init__()
        weight = class_weights(class_counts, "effective", beta)
        self.early = LDAMLoss(class_counts, margin, scale)
        self.weighted = LDAMLoss(class_counts, margin, scale, weight)
        self.diversity, self.switch = diversity, switch
        # Derived from the data, so not part of the weights.
        self.register_buffer("by_class", temperatures(class_counts, spread), persistent=False)
        self.set_progress(0.0)

    def set_progress(self, done: float) -> None:
        """`done` in [0, 1) of the iterations are through (`suite.engine.stages.ProgressHook`)."""
        self.late: bool = done >= self.switch

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from scaled cosines (B, E, C), ids (B,) and optional weights (B,)."""
        experts = scores.shape[1]
        each = None if weight is None else weight.repeat_interleave(experts)
        margins = self.weighted if self.late else self.early
        # the mean over samples and experts, E times
        loss: Tensor = experts * margins(
            scores.flatten(0, 1), label.repeat_interleave(experts), weight=each
        )
        temperature = self.by_class if self.late else torch.ones_like(self.by_class)
        mean = F.log_softmax(scores.mean(1, keepdim=True).detach() / temperature, dim=-1)
        own = F.log_softmax(scores / temperature, dim=-1)
        apart = (mean.exp() * (mean - own)).sum((1, 2))
        strength = self.diversity * temperature.mean() ** 2
        return loss - strength * labelled_mean(apart, label, weight, -100)


def configure(
    cfg: Any,
    facts: Any,
    *,
    experts: int,
    reduced: bool,
    scale: float,
    shared: int = 1,
    **settings: float,
) -> Any:
    """Experts in place of the single network, under RIDE's loss."""
    loss = {"type": "RIDELoss", "class_counts": counts_of(facts), "scale": scale, **settings}
    return use_experts(cfg, loss, experts, reduced, scale, shared)
