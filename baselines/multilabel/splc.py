"""Self-paced loss correction: unknown labels that the network is sure of become positives."""

CARD = {
    "title": "Self-paced loss correction (SPLC)",
    "paper": "Simple and Robust Loss Design for Multi-Label Learning with Missing Labels",
    "venue": "arXiv 2021",
    "arxiv": "2112.07368",
    "cite": "zhang2021simple",
    "tasks": ["multilabel"],
    "names": {
        "splc": {
            "summary": "focal margin loss; unknown labels above a threshold count as positives"
        }
    },
    "params": {
        "threshold": {
            "default": 0.6,
            "low": 0.0,
            "high": 1.0,
            "help": "sigmoid above which an unknown label becomes a positive",
        },
        "start": {
            "default": 1,
            "low": 0,
            "help": "passes over the training samples before labels are corrected",
        },
        "margin": "hill",
        "gamma": {"default": 2.0, "low": 0.0, "help": "focusing parameter"},
        "reduction": "hill",
    },
    "notes": "Values are those of the released code, but for its sum over the batch; it takes a threshold of "
    "0.65 where three quarters of COCO's labels are left.",
    "needs": {"passes": 1},
}

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from baselines.parts.checks import at_least_zero
from baselines.parts.losses import set_loss
from baselines.parts.missing_labels import (
    EpochLoss,
    budget_of,
    known_reduction,
    reduced,
    same_shape,
)


@MODELS.register_module()
class SelfPacedCorrection(EpochLoss):
    """-(1 - q)^gamma log q, q = sigmoid(z - m) for observed positives and 1 - sigmoid(z) for unknown labels, but
    sigmoid(z) for those with sigmoid(z) > threshold, from pass `start` on: the focal margin loss with corrected labels.

    The margin is not subtracted for corrected labels, and the focusing weight is differentiated, as in the released
    code of Zhang et al. (arXiv 2112.07368).

    Args:
        threshold: in [0, 1].
        start: passes without correction, >= 0.
        margin: m >= 0.
        gamma: >= 0.
        reduction: see `baselines.parts.missing_labels.REDUCTIONS`.
        iterations, batch, dataset: of an `EpochLoss`.
    """

    def __init__(
        self,
        iterations: int,
        batch: int,
        dataset: Mapping[str, Any],
        threshold: float = 0.6,
        start: int = 1,
        margin: float = 1.0,
        gamma: float = 2.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(iterations, batch, dataset)
        at_least_zero(start=start, margin=margin, gamma=gamma)
        self.threshold, self.start, self.margin, self.gamma = threshold, start, margin, gamma
        self.reduction = known_reduction(reduction)

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits and observed positives, both (B, L)."""
        same_shape(scores, targets)
        shifted = scores - self.margin * targets
        if self.epoch >= self.start:
            targets = targets.masked_fill(shifted.detach().sigmoid() > self.threshold, 1)
        # towards the label: log q is its log-sigmoid, and log(1 - q) that of its opposite
        towards = shifted * (2 * targets - 1)
        loss = -F.logsigmoid(towards) * (self.gamma * F.logsigmoid(-towards)).exp()
        return reduced(loss, self.reduction)


def configure(
    cfg: Any,
    facts: Any,
    *,
    threshold: float,
    start: int,
    margin: float,
    gamma: float,
    reduction: str,
) -> Any:
    """Make it the only loss."""
    values = {
        "threshold": threshold,
        "start": start,
        "margin": margin,
        "gamma": gamma,
        "reduction": reduction,
    }
    return set_loss(cfg, {"type": "SelfPacedCorrection", **values, **budget_of(cfg, facts)})
