"""Pairwise ranking: every relevant label against every irrelevant one, under four normalisations."""

CARD = {
    "title": "Pairwise ranking",
    "paper": "A kernel method for multi-labelled classification",
    "venue": "NIPS 2001",
    "cite": "elisseeff2001kernel",
    "tasks": ["multilabel"],
    "names": {
        "rank-u1": {
            "summary": "pairwise ranking, summed over the pairs of a sample",
            "params": {"normalise": "none"},
        },
        "rank-u2": {
            "summary": "pairwise ranking, divided by the number of relevant labels",
            "params": {"normalise": "n+"},
        },
        "rank-u3": {
            "summary": "pairwise ranking, divided by the number of irrelevant labels",
            "params": {"normalise": "n-"},
        },
        "rank-u4": {
            "summary": "pairwise ranking, averaged over the pairs: a surrogate of the ranking loss",
            "params": {"normalise": "n+n-"},
        },
    },
    "params": {
        "normalise": {
            "default": "n+n-",
            "choices": ["none", "n+", "n-", "n+n-"],
            "help": "what a sample's sum over pairs is divided by",
        },
        "surrogate": {
            "default": "logistic",
            "choices": ["logistic", "hinge"],
            "help": "log(1 + e^-t) or max(0, 1 - t), t = z_i - z_j",
        },
    },
    "notes": "The paper's RankSVM is `rank-u4` with the hinge, on a kernel machine. All pairs are taken, "
    "none are drawn, in blocks of bounded memory.",
    "needs": {"passes": 1},
}

from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.labels import over_pairs, relevant
from baselines.parts.losses import set_loss


def logistic(difference: Tensor) -> Tensor:
    """Sum of log(1 + e^d) over the last axis."""
    return F.softplus(difference).sum(-1)


def hinge(difference: Tensor) -> Tensor:
    """Sum of max(0, 1 + d) over the last axis."""
    return (1 + difference).clamp(min=0).sum(-1)


TERMS = {"logistic": logistic, "hinge": hinge}


@MODELS.register_module()
class PairwiseRankingLoss(nn.Module):
    """Mean over the batch of sum_{i relevant, j irrelevant} l(z_i - z_j) / a, a being 1, N+, N- or N+ N-.

    A sample without a relevant, or without an irrelevant, label contributes 0.

    Args:
        normalise: `none`, `n+`, `n-` or `n+n-`.
        surrogate: l, `logistic` or `hinge`.
    """

    def __init__(self, normalise: str, surrogate: str = "logistic") -> None:
        super().__init__()
        if normalise not in ("none", "n+", "n-", "n+n-"):
            raise ValueError(f"normalise is {normalise!r}, expected 'none', 'n+', 'n-' or 'n+n-'")
        if surrogate not in TERMS:
            raise ValueError(f"surrogate is {surrogate!r}, expected 'logistic' or 'hinge'")
        self.normalise, self.surrogate = normalise, surrogate

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        found = relevant(targets)
        sums = over_pairs(TERMS[self.surrogate], scores, found)
        # in floats: N+ N- of 100,000 labels is beyond 32 bits
        positive = found.counts.to(scores.dtype)
        if "n+" in self.normalise:
            sums = sums / positive.clamp(min=1)
        if "n-" in self.normalise:
            sums = sums / (scores.shape[1] - positive).clamp(min=1)
        return sums.mean()


def configure(cfg: Any, facts: Any, *, normalise: str, surrogate: str) -> Any:
    """Make the pairwise loss the only one."""
    loss = {"type": "PairwiseRankingLoss", "normalise": normalise, "surrogate": surrogate}
    return set_loss(cfg, loss)
