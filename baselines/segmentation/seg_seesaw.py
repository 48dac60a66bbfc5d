"""Seesaw loss in pixel form."""

CARD = {
    "title": "Seesaw loss, pixel form",
    "paper": "Seesaw Loss for Long-Tailed Instance Segmentation",
    "venue": "CVPR 2021",
    "arxiv": "2008.10032",
    "cite": "wang2021seesaw",
    "tasks": ["longtail-seg"],
    "names": {
        "seesaw-seg": {"summary": "mitigation and compensation factors, counts of pixels seen"}
    },
    "params": {
        "p": "seesaw",
        "q": "seesaw",
        "floor": "seesaw",
    },
    "notes": "The paper's samples are boxes; here they are pixels, whose class counts are accumulated "
    "during training. Its objectness branch has no counterpart among pixels, and its normalised linear "
    "classifier is not part of the loss and not used. The floor is that of the authors' code; the paper's "
    "equation has none (floor=0).",
    "needs": {"passes": 1},
}

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.losses import labelled_mean, set_loss


@MODELS.register_module()
class PixelSeesawLoss(nn.Module):
    """CE of z_j + log S_yj, S_yj = M_yj C_yj for j != y, S_yy = 1, averaged over labelled pixels.

    M_yj = (N_j / N_y)^p where N_y > N_j, else 1; C_yj = (p_j / p)^q where p_j > p, else 1, p being p_y or
    `floor`, whichever is larger (the released code's). N counts the labelled pixels seen in training, this
    batch's included.

    Args:
        classes: C.
        p, q: >= 0; both 0 is plain CE.
        floor: of p_y, in [0, 1]; 0: none, as in the paper.
    """

    seen: Tensor

    def __init__(
        self,
        classes: int,
        p: float = 0.8,
        q: float = 2.0,
        floor: float = 0.01,
        loss_name: str = "loss_seesaw",
    ) -> None:
        super().__init__()
        at_least_zero(p=p, q=q, floor=floor)
        self.p, self.q = p, q
        self.least = math.log(floor) if floor else -math.inf
        # State of the training: part of checkpoints. In float32 a batch's few pixels of a class would
        # be lost on a billion.
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.float64))
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
        valid = label != ignore_index
        if self.training:
            self.seen += torch.bincount(label[valid], minlength=len(self.seen))
        index = label.where(valid, 0)
        # the factors are weights: they are not differentiated; at y itself both are 1
        with torch.no_grad():
            counts = self.seen.clamp(min=1).log()
            mitigation = self.p * (counts[None, :] - counts[:, None]).clamp(max=0)
            factor = mitigation.to(scores.dtype)[index].movedim(-1, 1)
            if self.q > 0:
                log_p = scores.log_softmax(1)
                true = log_p.gather(1, index.unsqueeze(1)).clamp(min=self.least)
                excess = log_p - true
                factor = factor + self.q * excess.clamp(min=0)
        loss = F.cross_entropy(scores + factor, label, ignore_index=ignore_index, reduction="none")
        return labelled_mean(loss, label, weight, ignore_index)


def configure(cfg: Any, facts: Any, *, p: float, q: float, floor: float) -> Any:
    """Make the Seesaw loss the only one."""
    settings = {"p": p, "q": q, "floor": floor}
    return set_loss(cfg, {"type": "PixelSeesawLoss", "classes": facts.num_classes, **settings})
