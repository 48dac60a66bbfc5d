"""Binary cross entropy of every label: the recipe's own loss, and every other method's reference."""

CARD = {
    "title": "Binary cross entropy",
    "tasks": ["multilabel"],
    "names": {"bce": {"summary": "sigmoid cross entropy, averaged over samples and labels"}},
    "needs": {"passes": 1},
}

from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss


@MODELS.register_module()
class LabelBCE(nn.Module):
    """Mean over samples and labels of -y log p - (1 - y) log(1 - p), p = sigmoid(z)."""

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        return F.binary_cross_entropy_with_logits(scores, targets)


def configure(cfg: Any, facts: Any) -> Any:
    """Make binary cross entropy the only loss."""
    return set_loss(cfg, {"type": "LabelBCE"})
