"""Focal loss in its softmax form."""

CARD = {
    "title": "Focal loss",
    "paper": "Focal Loss for Dense Object Detection",
    "venue": "ICCV 2017",
    "arxiv": "1708.02002",
    "bibtex": """@inproceedings{lin2017focal,
  title = {Focal Loss for Dense Object Detection},
  author = {Tsung-Yi Lin and Priya Goyal and Ross Girshick and Kaiming He and Piotr Doll{\\'a}r},
  booktitle = {IEEE International Conference on Computer Vision},
  year = {2017}}""",
    "tasks": ["longtail-seg"],
    "names": {"focal": {"summary": "CE scaled by (1 - p)^gamma, p the true class's softmax"}},
    "params": {
        "gamma": {"default": 2.0, "low": 0.0, "help": "focusing parameter; 0 is plain CE"},
    },
    "notes": "The paper's loss is a sum of sigmoid terms with a class factor alpha, divided by the "
    "number of positives; this is the softmax form usual for segmentation, without alpha.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SoftmaxFocalLoss(nn.Module):
    """-(1 - p_y)^gamma log p_y with p = softmax(z), averaged over valid pixels.

    Own implementation: mmseg's FocalLoss fails on the CPU for label images.

    Args:
        gamma: >= 0.
        loss_weight: factor of the whole.
    """

    def __init__(
        self, gamma: float = 2.0, loss_weight: float = 1.0, loss_name: str = "loss_focal"
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma is {gamma}, expected >= 0")
        self.gamma = gamma
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
        **_: Any,
    ) -> Tensor:
        """Scalar, from logits (B, C, H, W), ids (B, H, W) and optional pixel weights (B, H, W)."""
        loss = F.cross_entropy(cls_score, label, ignore_index=ignore_index, reduction="none")
        if self.gamma > 0:
            # 1 - p without cancellation. At p = 1 a power below 1 has no finite slope: clamp.
            miss = -torch.expm1(-loss)
            loss = loss * miss.clamp(min=torch.finfo(loss.dtype).eps) ** self.gamma
        if weight is not None:
            loss = loss * weight
        # Ignored pixels are zero in the sum; the clamp keeps an all-ignored batch finite.
        valid = (label != ignore_index).sum().clamp(min=1)
        return self.loss_weight * loss.sum() / valid


def configure(cfg: Any, facts: Any, *, gamma: float) -> Any:
    """Replace the head's losses by the focal loss."""
    cfg.model.decode_head.loss_decode = [{"type": "SoftmaxFocalLoss", "gamma": gamma}]
    return cfg
