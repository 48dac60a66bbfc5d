"""LSEP: the smooth pairwise ranking whose sum over pairs is inside a logarithm."""

CARD = {
    "title": "LSEP",
    "paper": "Improving Pairwise Ranking for Multi-label Image Classification",
    "venue": "CVPR 2017",
    "arxiv": "1704.03135",
    "cite": "li2017improving",
    "tasks": ["multilabel"],
    "names": {"lsep": {"summary": "log(1 + sum over pairs of exp(z_j - z_i))"}},
    "notes": "All pairs, in O(L); the paper draws some of them. Its label decision, which learns "
    "how many labels to return, is left out.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss


@MODELS.register_module()
class LSEPLoss(nn.Module):
    """Mean over the batch of log(1 + sum_{i relevant, j irrelevant} exp(z_j - z_i)).

    The sum of products is a product of sums: softplus(logsumexp_i(-z_i) + logsumexp_j(z_j)). A sample without a
    relevant, or without an irrelevant, label contributes 0.
    """

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        there = targets > 0
        below = (-scores).masked_fill(~there, -torch.inf).logsumexp(1)
        above = scores.masked_fill(there, -torch.inf).logsumexp(1)
        return F.softplus(below + above).mean()


def configure(cfg: Any, facts: Any) -> Any:
    """Make LSEP the only loss."""
    return set_loss(cfg, {"type": "LSEPLoss"})
