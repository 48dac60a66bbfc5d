"""Entropy maximisation: nothing is learned of unknown labels but not to be sure of them."""

CARD = {
    "title": "Entropy-maximisation loss",
    "paper": "Acknowledging the Unknown for Multi-label Learning with Single Positive Labels",
    "venue": "ECCV 2022",
    "arxiv": "2203.16219",
    "cite": "zhou2022acknowledging",
    "tasks": ["multilabel"],
    "names": {"em": {"summary": "observed positives, and the entropy of unknown labels maximised"}},
    "params": {
        "alpha": {"default": 0.1, "low": 0.0, "help": "weight of the entropy"},
    },
    "protocol_defaults": {"voc07": {"alpha": 0.2}, "voc-lt": {"alpha": 0.2}},
    "notes": "alpha is the authors' for VOC (0.2), COCO and NUS-WIDE (0.1; CUB: 0.01), elsewhere COCO's. "
    "Their full method adds asymmetric pseudo-labels to it (EM+APL), which are not part of this one.",
    "needs": {"passes": 1},
}

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.losses import set_loss
from baselines.parts.missing_labels import neg_log_sigmoid, same_shape


@MODELS.register_module()
class EntropyMaximization(nn.Module):
    """Mean over samples and labels of -log p for observed positives and -alpha H(p) for unknown labels,
    H(p) = -p log p - (1 - p) log(1 - p), as in the released code of Zhou et al. (ECCV 2022).

    Args:
        alpha: >= 0.
    """

    def __init__(self, alpha: float = 0.1) -> None:
        super().__init__()
        at_least_zero(alpha=alpha)
        self.alpha = alpha

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits and observed positives, both (B, L)."""
        same_shape(scores, targets)
        positive, negative = neg_log_sigmoid(scores), neg_log_sigmoid(-scores)
        entropy = scores.sigmoid() * positive + (-scores).sigmoid() * negative
        return (targets * positive - self.alpha * (1 - targets) * entropy).mean()


def configure(cfg: Any, facts: Any, *, alpha: float) -> Any:
    """Make it the only loss."""
    return set_loss(cfg, {"type": "EntropyMaximization", "alpha": alpha})
