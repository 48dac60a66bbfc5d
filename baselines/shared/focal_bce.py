"""Focal loss in its sigmoid form, of every label."""

CARD = {
    "title": "Focal BCE",
    "paper": "Focal Loss for Dense Object Detection",
    "venue": "ICCV 2017",
    "arxiv": "1708.02002",
    "cite": "lin2017focal",
    "tasks": ["multilabel", "robust-auc"],
    "names": {"focal-bce": {"summary": "BCE scaled by (1 - p_t)^gamma, p_t of the right answer"}},
    "params": {
        "gamma": {"default": 2.0, "low": 0.0, "help": "focusing parameter; 0 is plain BCE"},
    },
    "notes": "Without the paper's class factor alpha. The mean is over samples and labels; the paper's "
    "sum is divided by the number of positives. The factor is each sample's own: one of the batch's mean, as DRAUC's "
    "released code has it, would only scale the gradient.",
    "needs": {"passes": 1},
}

from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.losses import set_loss


@MODELS.register_module()
class LabelFocalLoss(nn.Module):
    """Mean over samples and labels of -(1 - p_t)^gamma log p_t (equation (4) of the paper), p_t = sigmoid(z) where
    the label is there, else 1 - sigmoid(z).

    Args:
        gamma: >= 0.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        at_least_zero(gamma=gamma)
        self.gamma = gamma

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        return focal_terms(scores, targets, self.gamma).mean()


def focal_terms(scores: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """The loss of every sample and label, (B, L), its weight in the graph."""
    wrong = scores * (1 - 2 * targets)
    # (1 - p_t)^gamma through the logarithm: a slope at p_t = 1 that is finite for every gamma
    return F.softplus(wrong) * (gamma * F.logsigmoid(wrong)).exp()


def configure(cfg: Any, facts: Any, *, gamma: float) -> Any:
    """Make the focal loss the only one."""
    return set_loss(cfg, {"type": "LabelFocalLoss", "gamma": gamma})
