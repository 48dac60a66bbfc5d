"""The square AUC risk as a saddle point over single samples, for methods that need a loss of every sample.

With h = sigmoid(score), E_P and E_N means over positives and negatives, and a margin c,

    F = E_P (h - a)^2 + E_N (h - b)^2 + 2 alpha (c + E_N h - E_P h) - alpha^2

is minimised over the network, a and b, and maximised over alpha >= 0 (Ying, Wen and Lyu, "Stochastic Online AUC
Maximization", NeurIPS 2016; with a margin of its own: Yuan et al., "Large-scale Robust Deep AUC Maximization", ICCV
2021). At a = E_P h, b = E_N h and alpha = c + b - a it is the mean of (c - (h+ - h-))^2 over all pairs.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.two_classes import is_positive


def sample_losses(h: Tensor, positive: Tensor, a: Tensor, b: Tensor, alpha: Tensor) -> Tensor:
    """What each sample has in F, but for constants: (h - a)^2 - 2 alpha h of a positive, (h - b)^2 + 2 alpha h of a
    negative. (B, 1), as h in [0, 1] and bool `positive` are."""
    centre, sign = torch.where(positive, a, b), torch.where(positive, -1.0, 1.0).to(h)
    return (h - centre).square() + 2 * alpha * sign * h


def minimax_auc(
    h: Tensor,
    targets: Tensor,
    a: Tensor,
    b: Tensor,
    alpha: Tensor,
    margin: float = 1.0,
    prior: float | None = None,
) -> Tensor:
    """F, a scalar, of h in [0, 1] and targets of 0 and 1, (B, 1) each.

    Finite without a sample of a class, whose mean is then 0. With `prior` p in (0, 1) it is p (1 - p) F where the
    batch has a share p of positives: means over the batch, weighted (1 - p) for positives and p for negatives, instead
    of over classes (version 1 of LibAUC's AUCMLoss).
    """
    positive = targets > 0.5
    losses = sample_losses(h, positive, a, b, alpha)
    constant = 2 * alpha * margin - alpha.square()
    if prior is not None:
        weights = prior + (1 - 2 * prior) * positive.to(h)
        return (weights * losses).mean() + prior * (1 - prior) * constant
    positives = positive.sum()
    counts = torch.where(positive, positives, positive.numel() - positives)
    return (losses / counts).sum() + constant


@MODELS.register_module()
class AUCMarginLoss(nn.Module):
    """F of the batch, with parameters a, b and alpha, all 0 at first.

    Its gradient by alpha is to be ascended: the optimiser has to know (`baselines.parts.pesg.with_pesg`).

    Args:
        margin: c, > 0.
        prior: p in (0, 1) of `minimax_auc`; None: means over each class of the batch.
    """

    def __init__(self, margin: float = 1.0, prior: float | None = None) -> None:
        super().__init__()
        if margin <= 0 or (prior is not None and not 0 < prior < 1):
            raise ValueError(
                f"margin is {margin} and prior {prior}, expected > 0, and None or a share between 0 and 1"
            )
        self.margin, self.prior = margin, prior
        self.a = nn.Parameter(torch.zeros(()))
        self.b = nn.Parameter(torch.zeros(()))
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits and targets of 0 and 1, (B, 1) each. Raises ValueError for other shapes, and UserError
        for a batch of one class: F is finite there, and teaches nothing of what is meant."""
        is_positive(scores, targets, "the AUC margin loss")
        return self.risk(scores, targets)

    def risk(self, scores: Tensor, targets: Tensor) -> Tensor:
        """F of logits, without looking at what the batch holds."""
        h = scores.sigmoid()
        return minimax_auc(h, targets, self.a, self.b, self.alpha, self.margin, self.prior)

    def of_samples(self, scores: Tensor, targets: Tensor) -> Tensor:
        """`sample_losses` of logits, (B, 1)."""
        return sample_losses(scores.sigmoid(), targets > 0.5, self.a, self.b, self.alpha)


def prior_of(facts: Any) -> float:
    """p, the share of positives in the training set."""
    negatives, positives = facts.class_counts
    share: float = positives / (negatives + positives)
    return share
