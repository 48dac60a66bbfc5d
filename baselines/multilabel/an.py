"""Unknown labels taken for negatives: as they are, weighted down, or smoothed."""

CARD = {
    "title": "Assume negative",
    "paper": "Multi-Label Learning from Single Positive Labels",
    "venue": "CVPR 2021",
    "arxiv": "2106.09708",
    "cite": "cole2021multi",
    "tasks": ["multilabel"],
    "names": {
        "an": {"summary": "BCE, unknown labels taken for negatives"},
        "wan": {
            "summary": "the same, an unknown label's loss divided by L - 1",
            "params": {"weak": True},
        },
        "an-ls": {
            "summary": "assume negative with smoothed labels",
            "params": {"smoothing": 0.1},
        },
    },
    "params": {
        "weak": {
            "default": False,
            "help": "divide the loss of unknown labels by L - 1: of a single positive, all of them weigh what it does",
        },
        "smoothing": {
            "default": 0.0,
            "low": 0.0,
            "high": 1.0,
            "help": "share s of the other label: positives count as 1 - s, unknown labels as s",
        },
    },
    "notes": "The baselines of the single-positive paper, with its code's -log(q + 1e-5) and s = 0.1; "
    "there is nothing to tune but s. With complete labels `an` is bce up to the 1e-5.",
    "needs": {"passes": 1},
}

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss
from baselines.parts.missing_labels import neg_log_sigmoid, same_shape


@MODELS.register_module()
class AssumeNegative(nn.Module):
    """Mean over samples and labels of w (-t log p - (1 - t) log(1 - p)), t = 1 - s for observed positives, else s.

    w is 1, or with `weak` 1 / (L - 1) for unknown labels (1 where L is 1), as in the released
    code of Cole et al. (CVPR 2021).

    Args:
        weak: see above.
        smoothing: s in [0, 1].
    """

    def __init__(self, weak: bool = False, smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= smoothing <= 1:
            raise ValueError(f"smoothing is {smoothing}, expected a share in [0, 1]")
        self.weak, self.smoothing = weak, smoothing

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits and observed positives, both (B, L)."""
        same_shape(scores, targets)
        soft = self.smoothing + (1 - 2 * self.smoothing) * targets
        loss = soft * neg_log_sigmoid(scores) + (1 - soft) * neg_log_sigmoid(-scores)
        if self.weak:
            others = max(scores.shape[1] - 1, 1)
            loss = loss * (targets + (1 - targets) / others)
        return loss.mean()


def configure(cfg: Any, facts: Any, *, weak: bool, smoothing: float) -> Any:
    """Make it the only loss."""
    return set_loss(cfg, {"type": "AssumeNegative", "weak": weak, "smoothing": smoothing})
