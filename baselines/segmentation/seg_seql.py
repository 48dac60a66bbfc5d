"""Softmax equalization loss in pixel form: rare classes are mostly spared as negatives."""

CARD = {
    "title": "Equalization loss, pixel form",
    "paper": "Equalization Loss for Long-Tailed Object Recognition",
    "venue": "CVPR 2020",
    "arxiv": "2003.05176",
    "cite": "tan2020equalization",
    "tasks": ["longtail-seg"],
    "names": {
        "seql-seg": {"summary": "softmax CE whose denominator drops rare negatives at random"}
    },
    "params": {
        "rare": {
            "default": 0.3,
            "low": 0.0,
            "help": "classes in fewer images than this multiple of the classes' mean are rare",
        },
        "gamma": {
            "default": 0.9,
            "low": 0.0,
            "high": 1.0,
            "help": "probability with which a rare negative is dropped, for every pixel",
        },
    },
    "notes": "The paper's softmax form is a loss of one sample, here a pixel. What is rare is told by the "
    "number of training images, as in the paper: of pixels one class of stuff can hold so many that all "
    "others are rare. The threshold is relative to the mean over classes, as in `seql` of longtail-cls.",
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss


@MODELS.register_module()
class PixelEqualizationLoss(nn.Module):
    """-log( e^{z_y} / sum_k w_k e^{z_k} ), w_k = 1 - b_k [k is rare] [k != y], b_k ~ Bernoulli(gamma)
    for every pixel and class, averaged over labelled pixels.

    Args:
        image_counts: training images that show each class, (C,).
        rare: classes with n_c < rare * mean(n) are rare.
        gamma: in [0, 1]; 0 is plain CE.
    """

    rare: Tensor

    def __init__(
        self,
        image_counts: Sequence[float],
        rare: float,
        gamma: float,
        loss_name: str = "loss_seql",
    ) -> None:
        super().__init__()
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma is {gamma}, expected a probability")
        counts = torch.tensor(list(image_counts), dtype=torch.float64)
        # Derived from the data, so not part of the weights.
        self.register_buffer(
            "rare", (counts < rare * counts.mean()).nonzero()[:, 0], persistent=False
        )
        self.gamma = gamma
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
        if len(self.rare):
            # drawn on the device of the scores, for rare classes alone: on the CPU it would take as
            # long as a GPU's whole step
            shape = (scores.shape[0], len(self.rare), *scores.shape[2:])
            dropped = torch.rand(shape, device=scores.device) < self.gamma
            own = self.rare.view(-1, *[1] * (scores.ndim - 2)) == label.unsqueeze(1)
            remaining = scores[:, self.rare].masked_fill(dropped & ~own, -torch.inf)
            scores = scores.index_copy(1, self.rare, remaining)
        loss = F.cross_entropy(scores, label, ignore_index=ignore_index, reduction="none")
        return labelled_mean(loss, label, weight, ignore_index)


def configure(cfg: Any, facts: Any, *, rare: float, gamma: float) -> Any:
    """Make the softmax equalization loss the only one."""
    counts = list(facts.image_counts)
    loss = {"type": "PixelEqualizationLoss", "image_counts": counts, "rare": rare, "gamma": gamma}
    return set_loss(cfg, loss)
