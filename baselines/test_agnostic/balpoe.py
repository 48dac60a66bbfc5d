"""BalPoE: a product of experts, each calibrated to another class prior, balanced in the mean."""

CARD = {
    "title": "BalPoE",
    "paper": "Balanced Product of Calibrated Experts for Long-Tailed Recognition",
    "venue": "CVPR 2023",
    "arxiv": "2206.05260",
    "cite": "aimar2023balanced",
    "tasks": ["longtail-cls", "test-agnostic"],
    "names": {"balpoe": {"summary": "mean of experts of several logit adjustments, with mixup"}},
    "params": {
        "taus": {
            "default": [0.0, 1.0, 2.0],
            "help": "adjustment tau_k log pi of each expert's logits; their number is that of experts. One "
            "below 0 makes an expert still more for the frequent classes than the data do",
        },
        "alpha": {
            "default": 0.4,
            "low": 0.0,
            "help": "mixup shares from Beta(alpha, alpha); 0: none",
        },
        "scale": "ldam",
        "reduced": {
            "default": False,
            "help": "last two stages of an expert at three quarters of their width",
        },
        "shared": "ride",
    },
    "protocol_defaults": {
        "cpu-cifar": {"alpha": 0.8},
        "*:cifar10": {"alpha": 0.8},
        "imagenet-lt": {"taus": [0.0, 1.25, 2.5], "alpha": 0.3, "shared": 2},
        "places-lt": {"shared": 2},
        "inat18": {"taus": [-1.0, 1.0, 3.0], "alpha": 0.2, "shared": 2},
    },
    "notes": "Settings are those of the authors' configs for CIFAR-10 and -100, ImageNet-LT and "
    "iNaturalist; elsewhere CIFAR-100's.",
    "needs": {"experts": 3},
}

from collections.abc import Sequence
from typing import Any

from baselines.parts.experts import use_experts
from baselines.parts.log_prior import log_prior
from baselines.parts.staged import counts_of
from baselines.shared.mixup import Remix
from suite.base.errors import UserError


def adjustments(class_counts: Sequence[float], taus: Sequence[float]) -> list[list[float]]:
    """tau_k log pi, (E, C)."""
    prior = log_prior(class_counts).double()
    return [(tau * prior).tolist() for tau in taus]


def configure(
    cfg: Any,
    facts: Any,
    *,
    taus: list[float],
    alpha: float,
    scale: float,
    reduced: bool,
    shared: int = 1,
) -> Any:
    """Experts of full width under the mean of their adjusted losses, on mixed batches."""
    if not taus or not all(isinstance(t, int | float) for t in taus):
        raise UserError(f"balpoe.taus={taus}: a list of numbers, one an expert")
    counts = counts_of(facts)
    if alpha:
        mixing = {"type": Remix.__name__, "class_counts": counts, "alpha": alpha}
        cfg.model.mixing = {**mixing, "kappa": 1.0, "tau": 0.0}
    shifts = adjustments(counts, taus)
    loss = {"type": "ExpertAdjustedLoss", "adjustments": shifts, "mean": True}
    return use_experts(cfg, loss, len(shifts), reduced, scale, shared)
