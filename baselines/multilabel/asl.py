"""Asymmetric loss: absent labels focused harder than present ones, and easy ones among them dropped."""

CARD = {
    "title": "Asymmetric loss",
    "paper": "Asymmetric Loss For Multi-Label Classification",
    "venue": "ICCV 2021",
    "arxiv": "2009.14119",
    "cite": "ridnik2021asymmetric",
    "tasks": ["multilabel"],
    "names": {"asl": {"summary": "focal BCE with gamma- > gamma+, and a margin on absent labels"}},
    "params": {
        "gamma_neg": {"default": 4.0, "low": 0.0, "help": "focusing of absent labels"},
        "gamma_pos": {
            "default": 1.0,
            "low": 0.0,
            "help": "focusing of present labels; the authors' training on COCO uses 0",
        },
        "margin": {
            "default": 0.05,
            "low": 0.0,
            "high": 0.999,
            "help": "m: an absent label of p <= m costs nothing",
        },
        "focus_gradient": {
            "default": False,
            "help": "gradient through the focusing weight (the authors' class "
            "AsymmetricLossOptimized); their trainings go without",
        },
        "reduction": {
            "default": "mean",
            "choices": ["mean", "sum"],
            "help": "over the batch, of sums over labels; `sum` is the authors' (learning rate 1e-4)",
        },
    },
    "notes": "The authors sum over batch and labels and train with Adam, one cycle and averaged weights; "
    "here recipe and learning rate are the protocol's, so that the mean over the batch is the default. "
    "Logarithms are clamped at 1e-8, as in their code: a present label below z = -18.4 has no gradient.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.losses import set_loss

LEAST = 1e-8
"""What probabilities are clamped at."""


@MODELS.register_module()
class AsymmetricLoss(nn.Module):
    """-(1 - p)^g+ log p where a label is there, -p_m^g- log(1 - p_m) where it is not; p = sigmoid(z),
    p_m = max(p - m, 0).

    Args:
        gamma_neg, gamma_pos: g-, g+, >= 0.
        margin: m in [0, 1).
        focus_gradient: whether gradient flows through (1 - p)^g+ and p_m^g-.
        reduction: `mean` over the batch of sums over labels, or `sum`.
    """

    def __init__(
        self,
        gamma_neg: float = 4.0,
        gamma_pos: float = 1.0,
        margin: float = 0.05,
        focus_gradient: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        at_least_zero(gamma_neg=gamma_neg, gamma_pos=gamma_pos, margin=margin)
        if margin >= 1:
            raise ValueError(f"margin is {margin}, expected a probability below 1")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction is {reduction!r}, expected 'mean' or 'sum'")
        self.gamma_neg, self.gamma_pos, self.margin = gamma_neg, gamma_pos, margin
        self.focus_gradient, self.reduction = focus_gradient, reduction

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        there = targets > 0
        p = scores.sigmoid()
        wrong = torch.where(there, 1 - p, (p - self.margin).clamp(min=0))
        with torch.set_grad_enabled(self.focus_gradient and torch.is_grad_enabled()):
            # clamped too: 0 to a power below 1 has no finite slope
            focus = torch.where(
                there,
                wrong.clamp(min=LEAST) ** self.gamma_pos,
                wrong.clamp(min=LEAST) ** self.gamma_neg,
            )
        right = torch.where(there, p, 1 - wrong)
        total = -(focus * right.clamp(min=LEAST).log()).sum()
        return total / len(scores) if self.reduction == "mean" else total


def configure(
    cfg: Any,
    facts: Any,
    *,
    gamma_neg: float,
    gamma_pos: float,
    margin: float,
    focus_gradient: bool,
    reduction: str,
) -> Any:
    """Make the asymmetric loss the only one."""
    loss = {"type": "AsymmetricLoss", "gamma_neg": gamma_neg, "gamma_pos": gamma_pos}
    loss |= {"margin": margin, "focus_gradient": focus_gradient, "reduction": reduction}
    return set_loss(cfg, loss)
