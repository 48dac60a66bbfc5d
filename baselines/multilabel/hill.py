"""Hill loss: negatives that look like positives are pulled down less, since they may be missing labels."""

CARD = {
    "title": "Hill loss",
    "paper": "Simple and Robust Loss Design for Multi-Label Learning with Missing Labels",
    "venue": "arXiv 2021",
    "arxiv": "2112.07368",
    "cite": "zhang2021simple",
    "tasks": ["multilabel"],
    "names": {
        "hill": {"summary": "focal margin loss of positives, (lambda - p) p^2 of unknown labels"}
    },
    "params": {
        "margin": {"default": 1.0, "low": 0.0, "help": "subtracted from a positive's logit"},
        "gamma": {"default": 2.0, "low": 0.0, "help": "focusing parameter of the positives"},
        "lam": {
            "default": 1.5,
            "low": 0.0,
            "help": "lambda; at 1.5 the slope in p is largest at 0.5 and 0 at 1",
        },
        "reduction": {
            "default": "mean",
            "choices": ["mean", "sum"],
            "help": "over the batch, of sums over labels; `sum` is the authors'",
        },
    },
    "notes": "Values are those of the released code, but for its sum over the batch, which multiplies the "
    "learning rate by the batch size for all but adaptive optimisers.",
    "needs": {"passes": 1},
}

from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.losses import set_loss
from baselines.parts.missing_labels import known_reduction, reduced, same_shape


@MODELS.register_module()
class HillLoss(nn.Module):
    """-(1 - p_m)^gamma log p_m for observed positives, p_m = sigmoid(z - m), and (lambda - p) p^2 for unknown labels:
    the released code of Zhang et al. (arXiv 2112.07368).

    Args:
        margin: m >= 0.
        gamma: >= 0.
        lam: >= 0.
        reduction: see `baselines.parts.missing_labels.REDUCTIONS`.
    """

    def __init__(
        self,
        margin: float = 1.0,
        gamma: float = 2.0,
        lam: float = 1.5,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        at_least_zero(margin=margin, gamma=gamma, lam=lam)
        self.margin, self.gamma, self.lam = margin, gamma, lam
        self.reduction = known_reduction(reduction)

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits and observed positives, both (B, L)."""
        same_shape(scores, targets)
        shifted = scores - self.margin
        # the power from the logarithm: at p_m = 1 one below 1 has no finite slope
        positive = -F.logsigmoid(shifted) * (self.gamma * F.logsigmoid(-shifted)).exp()
        p = scores.sigmoid()
        negative = (self.lam - p) * p**2
        return reduced(targets * positive + (1 - targets) * negative, self.reduction)


def configure(
    cfg: Any, facts: Any, *, margin: float, gamma: float, lam: float, reduction: str
) -> Any:
    """Make it the only loss."""
    values = {"margin": margin, "gamma": gamma, "lam": lam, "reduction": reduction}
    return set_loss(cfg, {"type": "HillLoss", **values})
