"""Online hard example mining: cross entropy over the pixels that the network gets wrong."""

CARD = {
    "title": "OHEM",
    "paper": "Training Region-based Object Detectors with Online Hard Example Mining",
    "venue": "CVPR 2016",
    "arxiv": "1604.03540",
    "cite": "shrivastava2016training",
    "tasks": ["longtail-seg"],
    "names": {"ohem": {"summary": "CE over pixels of low confidence, at least a share of them"}},
    "params": {
        "threshold": {
            "default": 0.7,
            "low": 0.0,
            "high": 1.0,
            "help": "pixels whose class has at most this probability count; 1 is plain CE",
        },
        "kept": {
            "default": 0.19,
            "low": 0.0,
            "high": 1.0,
            "help": "least share of the labelled pixels that counts: the hardest; 1 is plain CE",
        },
    },
    # twenty iterations make no pixel certain: nothing would be left out
    "protocol_defaults": {"smoke": {"threshold": 0.1}},
    "notes": "The paper mines regions; this is the pixel form usual in segmentation, with the values of "
    "mmsegmentation's documentation: 0.7, and at least 100,000 of the 512x1024 pixels of a crop, 19 %. "
    "The least number is a share of the batch's labelled pixels, so that it means the same at any crop. The "
    "mean is over the pixels kept; mmsegmentation's sampler divides by all.",
    "needs": {"passes": 1},
}

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss


@MODELS.register_module()
class HardPixelCrossEntropy(nn.Module):
    """Mean cross entropy over the labelled pixels with p_y <= threshold, or over the `kept` share of
    them with the largest loss if that is more. Pixels tied with the last one kept are kept too.

    mmseg's OhemCrossEntropy takes neither the ignore index nor the weights that mmseg's heads give, and
    its mean is over nothing where all pixels tie.

    Args:
        threshold: in [0, 1].
        kept: share of the labelled pixels in [0, 1], rounded up.
    """

    def __init__(
        self, threshold: float = 0.7, kept: float = 0.19, loss_name: str = "loss_ohem"
    ) -> None:
        super().__init__()
        for name, value in (("threshold", threshold), ("kept", kept)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, expected a value in [0, 1]")
        self.least = -math.log(threshold) if threshold > 0 else math.inf
        self.kept = kept
        self.loss_name = loss_name

    def forward(
        self,
        scores: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        **_: Any,
    ) -> Tensor:
        """Scalar, from logits (B, C, ...), ids (B, ...) and optional weights (B, ...), which do not
        change what is kept."""
        loss = F.cross_entropy(scores, label, ignore_index=ignore_index, reduction="none")
        hard = self._hard(loss.detach(), label != ignore_index)
        if weight is not None:
            loss = loss * weight
        # zero where nothing is labelled, with a gradient
        return (loss * hard).sum() / hard.sum().clamp(min=1)

    def _hard(self, loss: Tensor, valid: Tensor) -> Tensor:
        """bool, of the shape of `loss`."""
        least = torch.full((), self.least, dtype=loss.dtype, device=loss.device)
        labelled = loss[valid]
        count = math.ceil(self.kept * labelled.numel())
        if count:
            last = labelled.kthvalue(labelled.numel() - count + 1).values
            least = torch.minimum(least, last)
        return valid & (loss >= least)


def configure(cfg: Any, facts: Any, *, threshold: float, kept: float) -> Any:
    """Make the cross entropy over hard pixels the only loss."""
    return set_loss(cfg, {"type": "HardPixelCrossEntropy", "threshold": threshold, "kept": kept})
