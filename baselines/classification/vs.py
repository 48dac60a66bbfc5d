"""Vector scaling: multiplicative and additive logit adjustment, with deferred re-weighting or without."""

CARD = {
    "title": "VS loss",
    "paper": "Label-Imbalanced and Group-Sensitive Classification under Overparameterization",
    "venue": "NeurIPS 2021",
    "arxiv": "2103.01550",
    "cite": "kini2021label",
    "tasks": ["longtail-cls"],
    "names": {
        "vs": {
            "summary": "CE on z_c / (n_max/n_c)^gamma + tau log pi_c",
            "params": {"switch": 1.0},
        },
        "vs-drw": {
            "summary": "VS, class-balanced weights for the last fifth of the training",
            "params": {"switch": 0.8},
        },
    },
    "params": {
        "gamma": {"default": 0.05, "low": 0.0, "help": "exponent of the multiplicative part"},
        "tau": {"default": 1.0, "low": 0.0, "help": "strength of the additive part"},
        "switch": "ldam",
        "beta": "ldam",
        "weight_decay": "ldam",
    },
    "notes": "gamma, tau and weight decay by data set are those of the unified study's code (its regime "
    "iii: 400 epochs with AutoAugment). Its other regimes' are not known; gamma and tau are used there "
    "too.",
    "protocol_defaults": {
        "*:cifar100,exp,ir10": {"tau": 0.5},
        "*:cifar100,step": {"gamma": 0.0},
        "*:cifar10,exp,ir10": {"gamma": 0.0},
        "*:cifar10,step": {"gamma": 0.0},
        "*:cifar10,step,ir100": {"tau": 1.25, "gamma": 0.0},
        "r32-400-aa": {"weight_decay": 0.0001},
        "r32-400-aa:exp,ir100": {"weight_decay": 0.0002},
    },
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.class_weights import class_weights, weighted_mean
from baselines.parts.log_prior import log_prior
from baselines.parts.losses import labelled_mean, set_loss
from baselines.parts.staged import counts_of, set_weight_decay


@MODELS.register_module()
class VSLoss(nn.Module):
    """alpha_y * CE(z_c / D_c + tau log pi_c), D_c = (n_max / n_c)^gamma.

    gamma = tau = 0 is CE, gamma = 0 logit adjustment, tau = 0 CDT. With `class_weight` the mean is
    sum(alpha_y l) / sum(alpha_y), torch's convention: a batch of one class is unaffected by it.

    Args:
        class_counts: training samples (images, pixels) per class, (C,); a class without any counts as one.
        gamma, tau: >= 0.
        class_weight: alpha, (C,), None for none; its scale is irrelevant.
    """

    divisor: Tensor
    shift: Tensor
    class_weight: Tensor | None

    def __init__(
        self,
        class_counts: Sequence[float],
        gamma: float,
        tau: float,
        class_weight: Sequence[float] | None = None,
        loss_name: str = "loss_vs",
    ) -> None:
        super().__init__()
        at_least_zero(gamma=gamma, tau=tau)
        counts = torch.tensor(list(class_counts), dtype=torch.float64).clamp(min=1)
        divisor = ((counts.max() / counts) ** gamma).float()
        weight = None if class_weight is None else torch.tensor(list(class_weight))
        # Derived from the data, so not part of the weights.
        self.register_buffer("divisor", divisor, persistent=False)
        self.register_buffer("shift", tau * log_prior(class_counts), persistent=False)
        self.register_buffer("class_weight", weight, persistent=False)
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
        if self.class_weight is None:
            return labelled_mean(loss, label, weight, ignore_index)
        return weighted_mean(loss, label, self.class_weight, weight, ignore_index)


def configure(
    cfg: Any,
    facts: Any,
    *,
    gamma: float,
    tau: float,
    switch: float,
    beta: float,
    weight_decay: float | None,
) -> Any:
    """VS throughout; from `switch` on with class-balanced weights."""
    set_weight_decay(cfg, weight_decay)
    counts = counts_of(facts)
    first = {"type": "VSLoss", "class_counts": counts, "gamma": gamma, "tau": tau}
    second = {**first, "class_weight": class_weights(counts, "effective", beta)}
    return set_loss(cfg, {"type": "StagedLoss", "first": first, "second": second, "switch": switch})
