"""ZLPR: relevant labels above 0 and irrelevant ones below, each side inside a logarithm."""

CARD = {
    "title": "ZLPR",
    "paper": "ZLPR: A Novel Loss for Multi-label Classification",
    "venue": "arXiv 2022",
    "arxiv": "2208.02955",
    "cite": "su2022zlpr",
    "tasks": ["multilabel"],
    "names": {"zlpr": {"summary": "log(1 + sum of e^-z_i) + log(1 + sum of e^z_j)"}},
    "needs": {"passes": 1},
}

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss


@MODELS.register_module()
class ZLPRLoss(nn.Module):
    """Mean over the batch of log(1 + sum_{i relevant} e^-z_i) + log(1 + sum_{j irrelevant} e^z_j).

    A side without a label is 0; a sample without a relevant label still has all others pushed below 0.
    """

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        there = targets > 0
        below = (-scores).masked_fill(~there, -torch.inf).logsumexp(1)
        above = scores.masked_fill(there, -torch.inf).logsumexp(1)
        return (F.softplus(below) + F.softplus(above)).mean()


def configure(cfg: Any, facts: Any) -> Any:
    """Make ZLPR the only loss."""
    return set_loss(cfg, {"type": "ZLPRLoss"})
