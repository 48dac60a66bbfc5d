"""ADVSHIFT: the worst class prior near that of the training data."""

CARD = {
    "title": "Adversarial label shift (ADVSHIFT)",
    "paper": "Coping with Label Shift via Distributionally Robust Optimisation",
    "venue": "ICLR 2021",
    "arxiv": "2010.12230",
    "cite": "zhang2021coping",
    "tasks": ["robust-auc"],
    "names": {
        "advshift": {"summary": "BCE under the worst class prior within a KL radius"},
    },
    "params": {
        "radius": {
            "default": 0.1,
            "low": 0.0,
            "help": "r: KL divergence of the worst prior from the training prior, nats; 0 is bce",
        },
    },
    "search": {"radius": [0.01, 0.03, 0.1, 0.3, 1.0]},
    "notes": "The worst prior is solved for exactly in each step, from the batch's mean loss of each class; the "
    "paper's algorithm follows it by proximal mirror ascent over the training. The default radius is ours, not "
    "tuned: at a share of positives of .1 it lets them count as .26. From a radius of log(1 / p) on, the worst class "
    "alone counts. A batch of one class only is refused.",
    "needs": {"passes": 1},
}

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.losses import set_loss
from baselines.parts.staged import counts_of
from baselines.parts.two_classes import is_positive

_HALVINGS = 200
"""More than a double has binary places, from whatever bracket."""


def worst_prior(losses: Sequence[float], prior: Sequence[float], radius: float) -> list[float]:
    """pi that maximises sum_y pi_y L_y with KL(pi, p) <= r.

    pi_y is proportional to p_y exp(L_y / tau), with tau by bisection so that KL(pi, p) = r; p itself where all losses
    are equal, and what is left of p on the worst classes where even that is within the radius.

    Args:
        losses: L_y, finite.
        prior: p_y > 0, their sum 1.
        radius: r >= 0, nats.
    """
    top = max(losses)
    gaps = [top - loss for loss in losses]
    least = min((gap for gap in gaps if gap > 0), default=0.0)
    if radius == 0 or least == 0:
        return list(prior)
    if radius >= -math.log(sum(p for p, gap in zip(prior, gaps, strict=True) if gap == 0)):
        return _tilted(gaps, prior, math.inf)
    # KL grows with s = 1 / tau; at this s all but the worst classes have less than exp(-800) of their share
    low, high = 0.0, 800.0 / least
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if _kl(_tilted(gaps, prior, middle), prior) < radius:
            low = middle
        else:
            high = middle
    # of the two next to the root the one that keeps the constraint
    return _tilted(gaps, prior, low)


def _tilted(gaps: Sequence[float], prior: Sequence[float], s: float) -> list[float]:
    """p_y exp(-s gap_y), normalised; the worst classes have gap 0."""
    shares = [p * (math.exp(-s * gap) if gap else 1.0) for p, gap in zip(prior, gaps, strict=True)]
    total = sum(shares)
    return [share / total for share in shares]


def _kl(pi: Sequence[float], prior: Sequence[float]) -> float:
    return sum(q * math.log(q / p) for q, p in zip(pi, prior, strict=True) if q > 0)


@MODELS.register_module()
class AdversarialPriorBCE(nn.Module):
    """max over pi with KL(pi, p) <= r of sum_y pi_y L_y, L_y the mean BCE of class y in the batch, p the training prior
    (Zhang et al., ICLR 2021, equation (2)). Where the batch has the classes as p has, it is the mean over samples of
    pi_y / p_y times the loss. The gradient is that at the worst pi, held fixed, which is the maximum's own.

    Args:
        radius: r >= 0, nats.
        class_counts: training samples (n_N, n_P), both above 0.
    """

    def __init__(self, radius: float, class_counts: Sequence[int]) -> None:
        super().__init__()
        at_least_zero(radius=radius)
        if len(class_counts) != 2 or min(class_counts) <= 0:
            raise ValueError(f"class_counts is {list(class_counts)}, expected two above 0")
        self.radius = radius
        self.prior = [count / sum(class_counts) for count in class_counts]

    def forward(self, scores: Tensor, label: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits and labels of 0 and 1, both (B, 1). Raises UserError for a batch of one class."""
        positive = is_positive(scores, label, "advshift")
        each = F.binary_cross_entropy_with_logits(scores, label, reduction="none")[:, 0]
        losses = torch.stack([each[~positive].mean(), each[positive].mean()])
        values = losses.tolist()
        if not all(map(math.isfinite, values)):
            # for the harness, which names the step
            return losses.sum()
        pi = worst_prior(values, self.prior, self.radius)
        return (losses * losses.new_tensor(pi)).sum()


def configure(cfg: Any, facts: Any, *, radius: float) -> Any:
    """Make it the only loss."""
    loss = {"type": "AdversarialPriorBCE", "radius": radius}
    return set_loss(cfg, {**loss, "class_counts": counts_of(facts)})
