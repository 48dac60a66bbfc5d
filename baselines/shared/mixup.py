"""Mixup, and Remix, which leaves more of a mixed label to the rarer class."""

CARD = {
    "title": "Mixup and Remix",
    "paper": "Remix: Rebalanced Mixup",
    "venue": "ECCV Workshops 2020",
    "arxiv": "2007.03943",
    "cite": ["zhang2018mixup", "chou2020remix"],
    "tasks": ["longtail-cls"],
    "names": {
        "mixup": {"summary": "CE on mixed images and labels", "params": {"tau": 0.0}},
        "remix": {
            "summary": "mixup that gives the whole label to the much rarer class",
            "params": {"tau": 0.5},
        },
    },
    "params": {
        "alpha": {"default": 1.0, "low": 0.001, "help": "shares are drawn from Beta(alpha, alpha)"},
        "kappa": {
            "default": 3.0,
            "low": 1.0,
            "help": "Remix (tau above 0): a class this many times rarer takes the label",
        },
        "tau": {
            "default": 0.0,
            "low": 0.0,
            "high": 1.0,
            "help": "Remix: where the frequent class has a smaller share than this; 0 is mixup",
        },
    },
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss
from baselines.parts.staged import counts_of


@MODELS.register_module()
class Remix(nn.Module):
    """x = l x_i + (1 - l) x_j, j a permutation of the batch, l ~ Beta(alpha, alpha), one for a batch.

    The label of i gets the share m: 0 where n_i / n_j >= kappa and l < tau; 1 where n_i / n_j <= 1/kappa
    and 1 - l < tau; else l. tau = 0 is mixup.

    Args:
        class_counts: training samples per class, (C,).
        alpha, kappa, tau: see above.
    """

    counts: Tensor

    def __init__(
        self, class_counts: Sequence[float], alpha: float, kappa: float, tau: float
    ) -> None:
        super().__init__()
        # Derived from the data, so not part of the weights.
        self.register_buffer("counts", torch.tensor(list(class_counts)).float(), persistent=False)
        self.kappa, self.tau = kappa, tau
        self._beta = torch.distributions.Beta(alpha, alpha)

    def forward(self, images: Tensor, label: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Mixed images (B, C, H, W), and two targets: labels (B,) with weights (B,) that sum to 1."""
        # drawn on the CPU: the same on every device, and its generator is part of checkpoints
        share = self._beta.sample().item()
        other = torch.randperm(len(label)).to(label.device, non_blocking=True)
        mixed = torch.lerp(images[other], images, share)
        weight = self.label_share(label, label[other], share)
        return mixed, [(label, weight), (label[other], 1 - weight)]

    def label_share(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """Share of the label `first` (B,) beside `second` (B,), of images mixed share : 1 - share."""
        ratio = self.counts[first] / self.counts[second]
        weight = torch.full_like(ratio, share)
        if share < self.tau:
            weight = weight.masked_fill(ratio >= self.kappa, 0.0)
        if 1 - share < self.tau:
            weight = weight.masked_fill(ratio <= 1 / self.kappa, 1.0)
        return weight


def configure(cfg: Any, facts: Any, *, alpha: float, kappa: float, tau: float) -> Any:
    """Cross entropy on mixed batches."""
    mixing = {"type": "Remix", "class_counts": counts_of(facts), "alpha": alpha}
    cfg.model.mixing = {**mixing, "kappa": kappa, "tau": tau}
    return set_loss(cfg, {"type": "CrossEntropy"})
