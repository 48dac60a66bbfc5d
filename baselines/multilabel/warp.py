"""WARP: violated pairs, weighted by how many irrelevant labels stand above the relevant one."""

CARD = {
    "title": "WARP",
    "paper": "Deep Convolutional Ranking for Multilabel Image Annotation",
    "venue": "arXiv 2013",
    "arxiv": "1312.4894",
    "cite": "gong2013deep",
    "tasks": ["multilabel"],
    "names": {"warp": {"summary": "mean margin violation times the harmonic number of its rank"}},
    "notes": "Ranks and violations are exact, over all irrelevant labels; the paper estimates a rank by "
    "how many labels are drawn until one violates the margin, and takes that one's violation.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.labels import over_pairs, relevant
from baselines.parts.losses import set_loss


@MODELS.register_module()
class WARPLoss(nn.Module):
    """Mean over the batch of sum_{i relevant} H(v_i) times the mean violation of i, 1 + z_j - z_i > 0 for v_i of the
    irrelevant labels j, H(v) = 1 + 1/2 + ... + 1/v (section 2.2.3 of the paper).

    The weight has no gradient. A sample without a relevant, or without an irrelevant, label contributes 0.
    """

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        number = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
        # of 0 violations: no violation to weigh
        weight = torch.cat([number.new_zeros(1), (1 / number).cumsum(0) / number])

        def term(difference: Tensor) -> Tensor:
            violation = (1 + difference).clamp(min=0)
            # a sum of signs: counting booleans takes ten times as long, and floats are exact up to 2^24
            violators = violation.detach().sign().sum(-1).long()
            return weight[violators] * violation.sum(-1)

        return over_pairs(term, scores, relevant(targets)).mean()


def configure(cfg: Any, facts: Any) -> Any:
    """Make WARP the only loss."""
    return set_loss(cfg, {"type": "WARPLoss"})
