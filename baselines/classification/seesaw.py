"""Seesaw loss: negatives of rare classes are punished less, confusions more."""

CARD = {
    "title": "Seesaw loss",
    "paper": "Seesaw Loss for Long-Tailed Instance Segmentation",
    "venue": "CVPR 2021",
    "arxiv": "2008.10032",
    "cite": "wang2021seesaw",
    "tasks": ["longtail-cls"],
    "names": {
        "seesaw": {"summary": "mitigation and compensation factors on the negatives' logits"}
    },
    "params": {
        "p": {"default": 0.8, "low": 0.0, "help": "exponent of the mitigation factor"},
        "q": {"default": 2.0, "low": 0.0, "help": "exponent of the compensation factor"},
        "floor": {
            "default": 0.01,
            "low": 0.0,
            "high": 1.0,
            "neutral": 0.0,
            "help": "the true class's probability counts as at least this in the compensation factor",
        },
    },
    "notes": "Class counts are accumulated during training, as in the paper; its normalised linear "
    "classifier is not part of the loss and not used. The floor is that of the authors' code; the paper's "
    "equation has none (floor=0).",
    "needs": {"passes": 1},
}

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss


@MODELS.register_module()
class SeesawLoss(nn.Module):
    """CE of z_j + log S_yj, S_yj = M_yj C_yj for j != y, S_yy = 1.

    M_yj = (N_j / N_y)^p where N_y > N_j, else 1; C_yj = (p_j / p)^q where p_j > p, else 1, p being p_y or
    `floor`, whichever is larger (the released code's).

    Args:
        classes: C.
        p, q: >= 0; both 0 is plain CE.
        floor: of p_y, in [0, 1]; 0: none, as in the paper.
    """

    seen: Tensor

    def __init__(self, classes: int, p: float = 0.8, q: float = 2.0, floor: float = 0.01) -> None:
        super().__init__()
        self.p, self.q = p, q
        self.least = math.log(floor) if floor else -math.inf
        # state of the training: part of checkpoints
        self.register_buffer("seen", torch.zeros(classes))

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits (B, C), ids (B,) and optional weights (B,)."""
        truth = F.one_hot(label, scores.shape[1])
        if self.training:
            self.seen += truth.sum(0)
        counts = self.seen.clamp(min=1)
        log_ratio = counts.log()[None, :] - counts.log()[label][:, None]
        factor = self.p * log_ratio.clamp(max=0)
        # the factors are weights: they are not differentiated
        log_p = scores.detach().log_softmax(1)
        excess = log_p - log_p.gather(1, label[:, None]).clamp(min=self.least)
        factor = factor + self.q * excess.clamp(min=0)
        loss = F.cross_entropy(scores + factor * (1 - truth), label, reduction="none")
        return labelled_mean(loss, label, weight, -100)


def configure(cfg: Any, facts: Any, *, p: float, q: float, floor: float) -> Any:
    """Seesaw loss throughout."""
    settings = {"p": p, "q": q, "floor": floor}
    return set_loss(cfg, {"type": "SeesawLoss", "classes": facts.num_classes, **settings})
