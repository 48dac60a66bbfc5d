"""The pixel AUC risk of `baselines.segmentation.aucseg` over several ranks: the moments of all, each rank's own pixels.

Beside the method's file and not in it: what is computed is the same, so it belongs to no method's digest.
`tasks.longtail_seg.ranks` finds it by its name.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.segmentation.aucseg import PixelAUCLoss, _ClassSums
from suite.engine import ranks


def over_ranks(loss: PixelAUCLoss) -> Callable[..., Tensor]:
    """`loss.forward` of this rank's pixels, its value that of all ranks' pixels."""

    def forward(cls_score: Tensor, label: Tensor, ignore_index: int = 255) -> Tensor:
        classes = loss.num_classes
        logits = cls_score if cls_score.dtype == torch.float64 else cls_score.float()
        logits = logits.reshape(len(logits), classes, -1)
        label = label.reshape(len(label), -1).long()
        ignored = label == ignore_index
        if bool((((label < 0) | (label >= classes)) & ~ignored).any()):
            raise ValueError(
                f"PixelAUCLoss: labels must lie in [0, {classes}) or be {ignore_index}"
            )
        label = label.masked_fill(ignored, classes)
        counts = torch.bincount(label.flatten(), minlength=classes + 1)[:classes].double()
        counts = ranks.total(counts)
        present = counts.nonzero()[:, 0]
        if present.numel() < 2:
            return logits.sum() * 0
        own: Any = _ClassSums.apply(  # type: ignore[no-untyped-call]
            logits, label, None, loss.activation, loss.surrogate, loss.margin
        )
        sums = ranks.total(own)
        risk = loss._risk(sums[:, present][:, :, present], counts[present])
        return (loss.scale * risk).to(logits.dtype)

    return forward
