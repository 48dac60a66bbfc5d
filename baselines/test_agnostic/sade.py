"""SADE: experts for a long-tailed, a uniform and a reversed class distribution, weighted at test time."""

CARD = {
    "title": "SADE",
    "paper": "Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition",
    "venue": "NeurIPS 2022",
    "arxiv": "2107.09249",
    "cite": "zhang2022sade",
    "tasks": ["longtail-cls", "test-agnostic"],
    "names": {
        "sade": {"summary": "experts of three class priors, weighted on unlabelled test images"}
    },
    "params": {
        "tau": {
            "default": 2.0,
            "low": 0.0,
            "help": "how far the third expert's prior is reversed",
        },
        "scale": "ldam",
        "reduced": "ride",
        "shared": "ride",
        "adapt_lr": {
            "default": 0.1,
            "low": 0.000001,
            "help": "test time: learning rate of the experts' weights",
        },
        "adapt_decay": {
            "default": 0.0005,
            "low": 0.0,
            "help": "test time: weight decay of the experts' weights",
        },
        "adapt_batch": {"default": 128, "low": 1, "help": "test time: images a step"},
        "adapt_epochs": {
            "default": 5,
            "low": 0,
            "help": "test time: passes over the images at most; 0 leaves the experts' mean",
        },
        "adapt_entropy": {
            "default": 0.0,
            "low": 0.0,
            "neutral": 0.0,
            "help": "test time: reward of the views' entropy over the number of classes",
        },
    },
    "protocol_defaults": {
        "imagenet-lt": {"adapt_lr": 0.025, "shared": 2},
        "places-lt": {
            "tau": 1.0,
            "reduced": False,
            "adapt_lr": 0.01,
            "adapt_decay": 0.0004,
            "shared": 2,
        },
        "inat18": {
            "tau": 1.0,
            "adapt_lr": 0.2,
            "adapt_decay": 0.0002,
            "adapt_entropy": 0.01,
            "shared": 2,
        },
    },
    "notes": "tau, reduced and adapt_entropy are the authors' for CIFAR-100, ImageNet-LT, Places-LT and "
    "iNaturalist; elsewhere CIFAR-100's. The learning rate and weight decay at test time are those of the authors' training.",
    "needs": {"experts": 3, "unlabelled": True},
}

from collections.abc import Sequence
from typing import Any

from baselines.parts.aggregation import weighted_on_test
from baselines.parts.experts import reversed_prior, use_experts
from baselines.parts.log_prior import log_prior
from baselines.parts.staged import counts_of


def adjustments(class_counts: Sequence[float], tau: float) -> list[list[float]]:
    """What is added to the experts' logits, (3, C): 0; log pi; log pi - tau log pi_inv."""
    prior = log_prior(class_counts).double()
    inverse = prior.new_tensor(reversed_prior(class_counts)).log()
    return [[0.0] * len(prior), prior.tolist(), (prior - tau * inverse).tolist()]


def configure(
    cfg: Any,
    facts: Any,
    *,
    tau: float,
    scale: float,
    reduced: bool,
    shared: int = 1,
    **at_test: float,
) -> Any:
    """Three experts under the sum of their losses."""
    shifts = adjustments(counts_of(facts), tau)
    loss = {"type": "ExpertAdjustedLoss", "adjustments": shifts, "mean": False}
    return use_experts(cfg, loss, len(shifts), reduced, scale, shared)


infer = weighted_on_test
