"""LADE: a single network whose logits are disentangled from the training prior, given the test prior."""

CARD = {
    "title": "LADE",
    "paper": "Disentangling Label Distribution for Long-Tailed Visual Recognition",
    "venue": "CVPR 2021",
    "arxiv": "2012.00321",
    "cite": "hong2021disentangling",
    "tasks": ["longtail-cls", "test-agnostic"],
    "names": {"lade": {"summary": "balanced softmax with LADE's regulariser, told the test prior"}},
    "params": {
        "alpha": {"default": 0.1, "low": 0.0, "help": "strength of the regulariser"},
        "remine": {
            "default": 0.01,
            "low": 0.0,
            "help": "within it: penalty of the squared log-partition (lambda_remine)",
        },
        "importance": {
            "default": "label",
            "choices": ["label", "class"],
            "help": "weights of the partition: each sample's by its label, or the released code's",
        },
    },
    "protocol_defaults": {
        "imagenet-lt": {"alpha": 0.05, "remine": 0.5},
        "places-lt": {"alpha": 0.005, "remine": 0.1},
        "inat18": {"alpha": 0.05, "remine": 0.5},
    },
    "notes": "Settings are the authors' for CIFAR-100, ImageNet-LT, Places-LT and iNaturalist; elsewhere "
    "CIFAR-100's. "
    "The network's logits are the disentangled ones, v - log pi for the logits v of a plain softmax: "
    "inference v - log pi + log q adds log q to them.",
    "needs": {"prior": True},
}

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.log_prior import log_prior
from baselines.parts.losses import labelled_mean, set_loss
from baselines.parts.staged import counts_of

Array = np.ndarray[Any, np.dtype[Any]]


@MODELS.register_module()
class LADELoss(nn.Module):
    """CE(f + log pi) + alpha sum_c pi_c (-mean of f_c over samples of c + g_c + remine g_c^2).

    g_c = log (1/B sum_i w_i exp f_c(x_i)) estimates the log-partition of f_c under a uniform prior, by
    importance: w_i = 1 / (C pi_{y_i}). `importance="class"` takes w = 1 / (C pi_c) for every sample, as the
    released code does: a constant for each class. A class that the batch lacks has no first term.

    Args:
        class_counts: training samples per class, (C,).
        alpha, remine, importance: see the card.
    """

    prior: Tensor

    def __init__(
        self, class_counts: Sequence[float], alpha: float, remine: float, importance: str
    ) -> None:
        super().__init__()
        # Derived from the data, so not part of the weights.
        self.register_buffer("prior", log_prior(class_counts), persistent=False)
        self.alpha, self.remine, self.importance = alpha, remine, importance

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits f (B, C), ids (B,) and optional weights (B,)."""
        loss = F.cross_entropy(scores + self.prior, label, reduction="none")
        loss = labelled_mean(loss, label, weight, -100)
        return loss + self.alpha * self.regulariser(scores, label, weight) if self.alpha else loss

    def regulariser(self, scores: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """The sum over classes."""
        own = F.one_hot(label, scores.shape[1]).to(scores)
        if weight is not None:
            own = own * weight[:, None]
        first = (own * scores).sum(0) / own.sum(0).clamp(min=1e-8)
        log_weight = -self.prior - torch.log(self.prior.new_tensor(float(len(self.prior))))
        spread = scores + (log_weight[label][:, None] if self.importance == "label" else log_weight)
        if weight is not None:
            # a sample of weight 0 has no share
            spread = spread + weight.log()[:, None]
            total = weight.sum()
        else:
            total = spread.new_tensor(float(len(spread)))
        partition = spread.logsumexp(0) - total.log()
        return (self.prior.exp() * (self.remine * partition**2 + partition - first)).sum()


def configure(cfg: Any, facts: Any, *, alpha: float, remine: float, importance: str) -> Any:
    """LADE's loss on the protocol's network."""
    settings = {"alpha": alpha, "remine": remine, "importance": importance}
    return set_loss(cfg, {"type": "LADELoss", "class_counts": counts_of(facts), **settings})


def infer(arrays: Mapping[str, Array], class_counts: Sequence[int], *, prior: Array) -> Array:
    """f + log q (N, C): PC softmax, of disentangled `logits` (N, C) and the test prior q (C,)."""
    with np.errstate(divide="ignore"):
        scores: Array = arrays["logits"] + np.log(prior)
    return scores
