"""Cross entropy plus Tversky loss: Dice with unequal weights of false alarms and misses."""

CARD = {
    "title": "CE + Tversky",
    "paper": "Tversky loss function for image segmentation using 3D fully convolutional deep networks",
    "venue": "MLMI 2017",
    "arxiv": "1706.05721",
    "cite": "salehi2017tversky",
    "tasks": ["longtail-seg"],
    "names": {
        "tversky": {"summary": "CE + Tversky loss, misses weighted above false alarms"},
    },
    "params": {
        "alpha": {"default": 0.3, "low": 0.0, "help": "weight of false alarms"},
        "beta": {"default": 0.7, "low": 0.0, "help": "weight of misses; both 1/2 is soft Dice"},
        "tversky_weight": {
            "default": 1.0,
            "low": 0.0,
            "help": "factor of the Tversky loss; CE has factor 1",
        },
        "cross_entropy": {"default": True, "help": "whether CE is beside it; the paper's is alone"},
    },
    "notes": "The paper's loss is binary and used alone; this is its mean over the classes in the batch, "
    "beside CE as with `dice` and `lovasz`. alpha and beta are mmsegmentation's.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from baselines.parts.regions import class_maps, mean_miss


@MODELS.register_module()
class SoftTverskyLoss(nn.Module):
    """1 - mean over classes of TP / (TP + alpha FP + beta FN), sums over the batch's valid pixels.

    TP = sum(p g), FP = sum(p (1 - g)), FN = sum((1 - p) g), p the softmax, g the one-hot label. Only
    classes in the batch enter the mean: for an absent one the index is 0 whatever the scores. (mmseg's
    takes them in and adds 1 to both sides of the fraction, for each image.)

    Args:
        alpha, beta: >= 0, not both 0.
        loss_weight: factor of the whole.
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        loss_weight: float = 1.0,
        loss_name: str = "loss_tversky",
    ) -> None:
        super().__init__()
        if alpha < 0 or beta < 0 or alpha + beta == 0:
            raise ValueError(f"alpha is {alpha} and beta {beta}, expected >= 0 and not both 0")
        self.alpha, self.beta = alpha, beta
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
            raise ValueError("Tversky is a ratio over regions: pixel weights do not apply")
        share, truth = class_maps(scores, label, ignore_index)
        hit = (share * truth).sum(dim=(0, 2, 3))
        pixels = truth.sum(dim=(0, 2, 3))
        alarms = share.sum(dim=(0, 2, 3)) - hit
        total = hit + self.alpha * alarms + self.beta * (pixels - hit)
        # the clamp avoids 0/0 of absent classes before they are masked
        score = hit / total.clamp(min=torch.finfo(total.dtype).tiny)
        return self.loss_weight * mean_miss(score, pixels)


def configure(
    cfg: Any,
    facts: Any,
    *,
    alpha: float,
    beta: float,
    tversky_weight: float,
    cross_entropy: bool,
) -> Any:
    """Add the Tversky loss to the recipe's cross entropy, or put it in its place."""
    loss = {"type": "SoftTverskyLoss", "alpha": alpha, "beta": beta, "loss_weight": tversky_weight}
    kept = cfg.model.decode_head.loss_decode if cross_entropy else []
    cfg.model.decode_head.loss_decode = [*kept, loss]
    return cfg
