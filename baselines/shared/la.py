"""Logit adjustment of the training loss, with the class frequencies as prior."""

CARD = {
    "title": "Long-Tail Learning via Logit Adjustment",
    "paper": "Long-Tail Learning via Logit Adjustment",
    "venue": "ICLR 2021",
    "arxiv": "2007.07314",
    "cite": "menon2021longtail",
    "tasks": ["longtail-seg", "longtail-cls", "test-agnostic"],
    "names": {"la": {"summary": "CE on logits + tau * log(training share of the class)"}},
    "params": {
        "tau": {"default": 1.0, "low": 0.0, "help": "strength of the adjustment; 0 is plain CE"}
    },
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss


def log_prior(class_counts: Sequence[float]) -> Tensor:
    """log of the training share of each class, float32 (C,).

    A class absent from training has no log prior; it counts as one sample, which keeps it finite.
    """
    counts = torch.tensor(list(class_counts), dtype=torch.float64).clamp(min=1)
    return (counts / counts.sum()).log().float()


@MODELS.register_module()
class LogitAdjustedLoss(nn.Module):
    """Cross entropy of z + tau * log pi, equation (10) of the paper, averaged over labelled samples.

    Prediction uses the unadjusted logits z.

    Args:
        class_counts: training samples (pixels, images) per class, (C,).
        tau: >= 0.
    """

    shift: Tensor

    def __init__(
        self, class_counts: Sequence[float], tau: float = 1.0, loss_name: str = "loss_la"
    ) -> None:
        super().__init__()
        if tau < 0:
            raise ValueError(f"tau is {tau}, expected >= 0")
        # Derived from the data, so not part of the weights.
        self.register_buffer("shift", tau * log_prior(class_counts), persistent=False)
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
        adjusted = scores + self.shift.view(-1, *[1] * (scores.ndim - 2))
        loss = F.cross_entropy(adjusted, label, ignore_index=ignore_index, reduction="none")
        return labelled_mean(loss, label, weight, ignore_index)


def configure(cfg: Any, facts: Any, *, tau: float) -> Any:
    """Make the logit-adjusted loss the only one."""
    counts = list(facts.class_counts)
    return set_loss(cfg, {"type": "LogitAdjustedLoss", "class_counts": counts, "tau": tau})
