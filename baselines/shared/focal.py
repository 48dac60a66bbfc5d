"""Focal loss in its softmax form."""

CARD = {
    "title": "Focal loss",
    "paper": "Focal Loss for Dense Object Detection",
    "venue": "ICCV 2017",
    "arxiv": "1708.02002",
    "cite": "lin2017focal",
    "tasks": ["longtail-seg", "longtail-cls"],
    "names": {"focal": {"summary": "CE scaled by (1 - p)^gamma, p the true class's softmax"}},
    "params": {
        "gamma": {"default": 2.0, "low": 0.0, "help": "focusing parameter; 0 is plain CE"},
    },
    "notes": "The paper's loss is a sum of sigmoid terms with a class factor alpha, divided by the "
    "number of positives; this is the softmax form usual in segmentation and long-tailed "
    "classification, without alpha.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.losses import labelled_mean, set_loss


@MODELS.register_module()
class SoftmaxFocalLoss(nn.Module):
    """-(1 - p_y)^gamma log p_y with p = softmax(z), averaged over labelled samples.

    Own implementation: mmseg's FocalLoss fails on the CPU for label images.

    Args:
        gamma: >= 0.
    """

    def __init__(self, gamma: float = 2.0, loss_name: str = "loss_focal") -> None:
        super().__init__()
        at_least_zero(gamma=gamma)
        self.gamma = gamma
        self.loss_name = loss_name

    def forward(
        self,
        scores: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        **_: Any,
    ) -> Tensor:
        """Scalar, from logits (B, C, ...), ids (B, ...) and optional weights (B, ...)."""
        loss = focal(scores, label, self.gamma, ignore_index)
        return labelled_mean(loss, label, weight, ignore_index)


def focal(scores: Tensor, label: Tensor, gamma: float, ignore_index: int = -100) -> Tensor:
    """The loss of every sample, in the shape of `label`; 0 where it is ignored."""
    loss = F.cross_entropy(scores, label, ignore_index=ignore_index, reduction="none")
    if gamma > 0:
        # 1 - p without cancellation. At p = 1 a power below 1 has no finite slope: clamp.
        miss = -torch.expm1(-loss)
        loss = loss * miss.clamp(min=torch.finfo(loss.dtype).eps) ** gamma
    return loss


def configure(cfg: Any, facts: Any, *, gamma: float) -> Any:
    """Make the focal loss the only one."""
    return set_loss(cfg, {"type": "SoftmaxFocalLoss", "gamma": gamma})
