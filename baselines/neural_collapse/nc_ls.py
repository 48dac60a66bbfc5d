"""A learned linear classifier under cross entropy with smoothed labels."""

CARD = {
    "title": "Label smoothing into the terminal phase",
    "notes": "One of the losses that Zhou et al. 2022 find alike in the geometry that they end in.",
    "tasks": ["neural-collapse"],
    "names": {
        "nc-ls": {"summary": "linear classifier and CE of labels that share eps with all classes"}
    },
    "params": {
        "eps": {
            "default": 0.1,
            "low": 0.0,
            "high": 0.999,
            "help": "mass spread evenly over all classes",
        },
    },
    "needs": {"passes": 1},
}

from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss


@MODELS.register_module()
class SmoothedCrossEntropy(nn.Module):
    """Cross entropy with (1 - eps) 1[y = c] + eps / K, the mean over the batch.

    Args:
        eps: in [0, 1).
    """

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits (B, K), ids (B,) and optional weights (B,)."""
        each = F.cross_entropy(scores, label, reduction="none", label_smoothing=self.eps)
        return labelled_mean(each, label, weight, -100)


def configure(cfg: Any, facts: Any, *, eps: float) -> Any:
    """Make the smoothed cross entropy the only loss."""
    return set_loss(cfg, {"type": SmoothedCrossEntropy.__name__, "eps": eps})
