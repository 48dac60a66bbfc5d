"""TKML: all relevant labels within the top K, by a margin."""

CARD = {
    "title": "TKML",
    "paper": "Learning by Minimizing the Sum of Ranked Range",
    "venue": "NeurIPS 2020",
    "cite": "hu2020learning",
    "tasks": ["multilabel"],
    "names": {"tkml": {"summary": "hinge between the (K+1)-th score and the lowest relevant one"}},
    "params": {
        "k": {"default": None, "low": 1.0, "help": "K below L; None is the protocol's"},
    },
    "notes": "A sample of more than K relevant labels can never reach 0: one of them is always below the "
    "top K. The paper's K is at least the number of relevant labels.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.labels import whole_k
from baselines.parts.losses import set_loss


@MODELS.register_module()
class TKMLLoss(nn.Module):
    """Mean over the batch of max(0, 1 + z_[k+1] - min_{i relevant} z_i), z_[1] >= z_[2] >= ... over all labels.

    A sample without a relevant label contributes 0, and so does every sample where there are no k + 1 labels: all
    are within the top k.

    Args:
        k: >= 1.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"k is {k}, expected >= 1")
        self.k = k

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        if scores.shape[1] <= self.k:
            return scores.sum() * 0
        there = targets > 0
        # inf for a sample without: below the hinge
        lowest = scores.masked_fill(~there, torch.inf).amin(1)
        bound = scores.topk(self.k + 1, dim=1).values[:, self.k]
        return (1 + bound - lowest).clamp(min=0).mean()


def configure(cfg: Any, facts: Any, *, k: float | None) -> Any:
    """Make TKML the only loss."""
    return set_loss(cfg, {"type": "TKMLLoss", "k": whole_k(cfg, facts, k, "tkml.k", spare=1)})
