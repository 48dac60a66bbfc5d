"""Cross entropy plus soft Dice, the usual region loss."""

CARD = {
    "title": "CE + Dice",
    "paper": "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation",
    "venue": "3DV 2016",
    "arxiv": "1606.04797",
    "cite": "milletari2016vnet",
    "tasks": ["longtail-seg"],
    "names": {"dice": {"summary": "CE + soft Dice with squared denominator, mean over classes"}},
    "params": {
        "dice_weight": {"default": 1.0, "low": 0.0, "help": "factor of Dice; CE has factor 1"},
    },
    "notes": "The paper's Dice is binary and used alone; this is its mean over classes, beside CE.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from baselines.parts.regions import class_maps, mean_miss


@MODELS.register_module()
class SoftDiceLoss(nn.Module):
    """1 - mean over classes of 2 sum(p g) / (sum(p^2) + sum(g)), sums over valid pixels.

    p is the softmax, g the one-hot label. Only classes in the batch enter the mean: for an absent
    one Dice is 0 whatever the scores. Summing over the batch, not per image, keeps rare classes
    from being judged on a handful of pixels.

    Args:
        loss_weight: factor of the whole.
    """

    def __init__(self, loss_weight: float = 1.0, loss_name: str = "loss_dice") -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        scores: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        **_: Any,
    ) -> Tensor:
        """Scalar, from logits (B, C, H, W) and ids (B, H, W). Pixel weights are refused."""
        if weight is not None:
            raise ValueError("Dice is a ratio over regions: pixel weights (a sampler) do not apply")
        share, truth = class_maps(scores, label, ignore_index)
        overlap = (share * truth).sum(dim=(0, 2, 3))
        pixels = truth.sum(dim=(0, 2, 3))
        total = share.square().sum(dim=(0, 2, 3)) + pixels
        # Absent classes have total >= 0, possibly 0: the clamp avoids 0/0 before they are masked.
        score = 2 * overlap / total.clamp(min=torch.finfo(total.dtype).tiny)
        return self.loss_weight * mean_miss(score, pixels)


def configure(cfg: Any, facts: Any, *, dice_weight: float) -> Any:
    """Add Dice to the recipe's cross entropy."""
    dice = {"type": "SoftDiceLoss", "loss_weight": dice_weight}
    cfg.model.decode_head.loss_decode = [*cfg.model.decode_head.loss_decode, dice]
    return cfg
