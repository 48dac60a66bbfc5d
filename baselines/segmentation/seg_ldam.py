"""Label-distribution-aware margins in pixel form, on a cosine 1x1 classifier."""

CARD = {
    "title": "LDAM, pixel form",
    "paper": "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    "venue": "NeurIPS 2019",
    "arxiv": "1906.07413",
    "cite": "cao2019learning",
    "tasks": ["longtail-seg"],
    "names": {
        "ldam-seg": {
            "summary": "margins ~ n_c^-1/4 on scaled cosines, n counting pixels",
            "params": {"switch": 1.0},
        },
        "ldam-drw-seg": {
            "summary": "pixel LDAM, class-balanced weights for the last fifth of the training",
            "params": {"switch": 0.8},
        },
    },
    "params": {
        "margin": "ldam",
        "scale": "ldam",
        "switch": "ldam",
        "beta": {
            "default": 0.999999,
            "low": 0.0,
            "high": 0.999999999,
            "help": "DRW (a switch below 1): effective number of pixels",
        },
    },
    "protocol_defaults": {"quick": {"beta": 0.99999}, "smoke": {"beta": 0.99999}},
    "notes": "`ldam` of longtail-cls over pixels. The margins are of cosines, so the head's last layer "
    "becomes a cosine classifier without bias, as in the paper; beta is that of `wce-en`.",
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from baselines.classification.ldam import margins
from baselines.parts.class_weights import class_weights, weighted_mean
from baselines.parts.losses import labelled_mean, set_loss
from baselines.parts.staged import StagedLoss, counts_of


@MODELS.register_module()
class PixelLDAMLoss(nn.Module):
    """CE of s (cos_c - m_y [c = y]), averaged over labelled pixels, or weighted by class.

    Args:
        class_counts: training pixels per class, (C,).
        margin: m of the rarest class, in cosines.
        scale: s, with which the scores come multiplied already.
        class_weight: (C,), None for none; its scale is irrelevant.
    """

    gap: Tensor
    class_weight: Tensor | None

    def __init__(
        self,
        class_counts: Sequence[float],
        margin: float = 0.5,
        scale: float = 30.0,
        class_weight: Sequence[float] | None = None,
        loss_name: str = "loss_ldam",
    ) -> None:
        super().__init__()
        weight = None if class_weight is None else torch.tensor(list(class_weight))
        # Derived from the data, so not part of the weights.
        self.register_buffer("gap", scale * margins(class_counts, margin), persistent=False)
        self.register_buffer("class_weight", weight, persistent=False)
        self.loss_name = loss_name

    def forward(
        self,
        scores: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        **_: Any,
    ) -> Tensor:
        """Scalar, from scaled cosines (B, C, ...), ids (B, ...) and optional weights (B, ...)."""
        index = label.where(label != ignore_index, 0)
        gap = self.gap.to(scores.dtype)[index].unsqueeze(1)
        lowered = scores.scatter_add(1, index.unsqueeze(1), -gap)
        loss = F.cross_entropy(lowered, label, ignore_index=ignore_index, reduction="none")
        if self.class_weight is None:
            return labelled_mean(loss, label, weight, ignore_index)
        return weighted_mean(loss, label, self.class_weight, weight, ignore_index)


@MODELS.register_module()
class StagedPixelLoss(StagedLoss):
    """`StagedLoss` with the name that mmseg's heads ask a loss for."""

    loss_name = "loss_staged"


class CosineConv(nn.Conv2d):
    """1x1 classifier: scale * cos(w_c, h) at every pixel, without bias."""

    def __init__(self, in_channels: int, classes: int, scale: float) -> None:
        super().__init__(in_channels, classes, kernel_size=1, bias=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        """(B, D, H, W) -> logits (B, C, H, W) in [-scale, scale]."""
        # the classes' scores are divided by the length of the features, not the features themselves
        length = torch.linalg.vector_norm(input, dim=1, keepdim=True).clamp(min=1e-6)
        scaled: Tensor = F.conv2d(input, self.scale * F.normalize(self.weight, dim=1)) / length
        return scaled


@MODELS.register_module()
def cosine_segmentation_head(base: str, scale: float, **settings: Any) -> nn.Module:
    """mmseg's decode head of type `base`, its last layer a `CosineConv`."""
    head: Any = MODELS.build({"type": base, **settings})
    last = head.conv_seg
    head.conv_seg = CosineConv(last.in_channels, last.out_channels, scale)
    return head  # type: ignore[no-any-return]


def configure(
    cfg: Any,
    facts: Any,
    *,
    margin: float,
    scale: float,
    switch: float,
    beta: float,
) -> Any:
    """A cosine classifier in place of the linear one; from `switch` on class-balanced weights."""
    head = cfg.model.decode_head
    head.base, head.type, head.scale = head.type, cosine_segmentation_head.__name__, scale
    counts = counts_of(facts)
    first = {"type": "PixelLDAMLoss", "class_counts": counts, "margin": margin, "scale": scale}
    if switch == 1:
        return set_loss(cfg, first)
    second = {**first, "class_weight": class_weights(counts, "effective", beta)}
    loss = {"type": "StagedPixelLoss", "first": first, "second": second, "switch": switch}
    return set_loss(cfg, loss)
