"""Focal-SAM: sharpness of every class, weighted by how rare it is."""

CARD = {
    "title": "Focal-SAM",
    "paper": "Focal-SAM: Focal Sharpness-Aware Minimization for Long-Tailed Classification",
    "venue": "ICML 2025",
    "arxiv": "2505.01660",
    "cite": "li2025focal",
    "tasks": ["longtail-cls"],
    "names": {
        "focal-sam": {
            "summary": "the share k_c = lam (1 - pi_c)^gamma of each class's loss is sharpened"
        }
    },
    "params": {
        "loss": "sam",
        "rho": {"default": 0.3, "low": 0.0, "high": 10.0, "help": "radius"},
        "gamma": {"default": 3.2, "low": 0.0, "high": 100.0, "help": "exponent of 1 - pi_c"},
        "lam": {
            "default": 0.8,
            "low": 0.0,
            "high": 10.0,
            "help": "lambda: k_c of a class without share. Where k_c is above 1, the class's loss at w counts "
            "negatively",
        },
        "rho2": {
            "default": None,
            "neutral": None,
            "low": 0.0,
            "high": 10.0,
            "help": "radius from `switch` on; None keeps rho",
        },
        "switch": {
            "default": 0.8,
            "neutral": 0.8,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training before rho2 holds",
        },
        "perturbed_statistics": {
            "default": False,
            "help": "batch statistics of the perturbed pass count too",
        },
    },
    "notes": "Settings are those of the authors' scripts for CIFAR-10 and -100, ImageNet-LT (its radius grows "
    "after four fifths of the training) and iNaturalist; elsewhere CIFAR-100's. The scripts train with logit "
    "adjustment or VS (--set focal-sam.loss=la); CE is the default here. Running statistics come from "
    "unperturbed passes.",
    "protocol_defaults": {
        "*:cifar10": {"rho": 0.2, "gamma": 3.0, "lam": 0.5},
        "cpu-cifar": {"rho": 0.2, "gamma": 3.0, "lam": 0.5},
        "imagenet-lt": {"rho": 0.1, "rho2": 0.2, "gamma": 0.8, "lam": 0.8},
        "inat18": {"rho": 0.2, "gamma": 2.0, "lam": 1.1},
    },
    "needs": {"passes": 2.5},
}

from collections.abc import Sequence
from typing import Any

from baselines.parts.sharpness_aware import Part, sharpen


def coefficients(counts: Sequence[float], gamma: float, lam: float) -> list[float]:
    """k_c = lambda (1 - pi_c)^gamma."""
    total = sum(counts)
    return [lam * (1 - n / total) ** gamma for n in counts]


def configure(
    cfg: Any,
    facts: Any,
    *,
    rho: float,
    rho2: float | None,
    switch: float,
    gamma: float,
    lam: float,
    perturbed_statistics: bool,
) -> Any:
    """1 - k_c of each class's loss at w, k_c of it at the point of ascent of that share."""
    sharp = coefficients(facts.class_counts, gamma, lam)
    parts = [
        Part(rho=0.0, class_weight=[1 - k for k in sharp]),
        Part(rho=rho, rho2=rho2, switch=switch, class_weight=sharp),
    ]
    return sharpen(cfg, parts, perturbed_statistics=perturbed_statistics)
