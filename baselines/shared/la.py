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

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.log_prior import log_prior
from baselines.parts.losses import labelled_mean, set_loss


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
        at_least_zero(tau=tau)
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
