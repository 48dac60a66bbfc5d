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
    },
    "notes": "Class counts are accumulated during training, as in the paper; its normalised linear "
    "classifier is not part of the loss and not used.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss


@MODELS.register_module()
class SeesawLoss(nn.Module):
    """CE of z_j + log S_yj, S_yj = M_yj C_yj for j != y, S_yy = 1.

    M_yj = (N_j / N_y)^p where N_y > N_j, else 1; C_yj = (p_j / p_y)^q where p_j > p_y, else 1.

    Args:
        classes: C.
        p, q: >= 0; both 0 is plain CE.
    """

    seen: Tensor

    def __init__(self, classes: int, p: float = 0.8, q: float = 2.0) -> None:
        super().__init__()
        self.p, self.q = p, q
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
        excess = log_p - log_p.gather(1, label[:, None])
        factor = factor + self.q * excess.clamp(min=0)
        loss = F.cross_entropy(scores + factor * (1 - truth), label, reduction="none")
        return labelled_mean(loss, label, weight, -100)


def configure(cfg: Any, facts: Any, *, p: float, q: float) -> Any:
    """Seesaw loss throughout."""
    return set_loss(cfg, {"type": "SeesawLoss", "classes": facts.num_classes, "p": p, "q": q})
