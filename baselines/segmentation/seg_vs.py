"""Vector scaling in pixel form: class frequencies are shares of the training pixels."""

CARD = {
    "title": "VS loss, pixel form",
    "paper": "Label-Imbalanced and Group-Sensitive Classification under Overparameterization",
    "venue": "NeurIPS 2021",
    "arxiv": "2103.01550",
    "cite": "kini2021label",
    "tasks": ["longtail-seg"],
    "names": {
        "vs-seg": {"summary": "CE on z_c / (n_max/n_c)^gamma + tau log pi_c, n counting pixels"},
    },
    "params": {
        "gamma": "vs",
        "tau": "vs",
    },
    "notes": "`vs` of longtail-cls over pixels, without its deferred re-weighting; gamma and tau are the "
    "values there (CIFAR-100-LT, ratio 100), untuned for pixels, whose ratios are larger.",
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss
from baselines.parts.staged import counts_of
from baselines.shared.la import log_prior


@MODELS.register_module()
class PixelVSLoss(nn.Module):
    """CE(z_c / D_c + tau log pi_c), D_c = (n_max / n_c)^gamma, averaged over labelled pixels.

    Prediction uses the plain logits z. gamma = tau = 0 is CE, gamma = 0 logit adjustment, tau = 0 CDT.

    Args:
        class_counts: training pixels per class, (C,); a class without any counts as one.
        gamma, tau: >= 0.
    """

    divisor: Tensor
    shift: Tensor

    def __init__(
        self,
        class_counts: Sequence[float],
        gamma: float,
        tau: float,
        loss_name: str = "loss_vs",
    ) -> None:
        super().__init__()
        if gamma < 0 or tau < 0:
            raise ValueError(f"gamma is {gamma} and tau {tau}, expected >= 0")
        counts = torch.tensor(list(class_counts), dtype=torch.float64).clamp(min=1)
        divisor = ((counts.max() / counts) ** gamma).float()
        # Derived from the data, so not part of the weights.
        self.register_buffer("divisor", divisor, persistent=False)
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
        shape = (-1, *[1] * (scores.ndim - 2))
        adjusted = scores / self.divisor.view(shape) + self.shift.view(shape)
        loss = F.cross_entropy(adjusted, label, ignore_index=ignore_index, reduction="none")
        return labelled_mean(loss, label, weight, ignore_index)


def configure(cfg: Any, facts: Any, *, gamma: float, tau: float) -> Any:
    """Make the VS loss the only one."""
    loss = {"type": "PixelVSLoss", "class_counts": counts_of(facts), "gamma": gamma, "tau": tau}
    return set_loss(cfg, loss)
