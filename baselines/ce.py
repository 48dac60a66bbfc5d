"""Plain cross entropy: the recipe's own loss, and every other method's reference."""

CARD = {
    "title": "Cross entropy",
    "tasks": ["longtail-seg", "longtail-cls"],
    "names": {"ce": {"summary": "softmax cross entropy, averaged over labelled samples"}},
    "needs": {"passes": 1},
}

from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.losses import labelled_mean, set_loss


@MODELS.register_module()
class CrossEntropy(nn.Module):
    """Softmax cross entropy, averaged over labelled samples."""

    def forward(
        self,
        scores: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        **_: Any,
    ) -> Tensor:
        """Scalar, from logits (B, C, ...), ids (B, ...) and optional weights (B, ...)."""
        loss = F.cross_entropy(scores, label, ignore_index=ignore_index, reduction="none")
        return labelled_mean(loss, label, weight, ignore_index)


def configure(cfg: Any, facts: Any) -> Any:
    """Make cross entropy the only loss: in segmentation mmseg's own."""
    if "decode_head" in cfg.model:
        # avg_non_ignore: the mean is over labelled pixels, as in every other loss here.
        return set_loss(
            cfg, {"type": "CrossEntropyLoss", "loss_weight": 1.0, "avg_non_ignore": True}
        )
    return set_loss(cfg, {"type": "CrossEntropy"})
