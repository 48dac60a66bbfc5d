"""ADRW and TLA: aligned re-weighting and truncated logit adjustment in the terminal phase of VS."""

CARD = {
    "title": "VS + ADRW + TLA",
    "paper": "A Unified Generalization Analysis of Re-Weighting and Logit-Adjustment for Imbalanced "
    "Learning",
    "venue": "NeurIPS 2023",
    "arxiv": "2310.04752",
    "cite": "wang2023unified",
    "tasks": ["longtail-cls"],
    "names": {
        "vs-adrw": {
            "summary": "VS; in stage 2 weights pi^-nu, the multiplicative part kept",
            "params": {"truncate": False},
        },
        "vs-tla": {
            "summary": "VS; in stage 2 only the additive part of its logit adjustment",
            "params": {"truncate": True, "nu": 0.0},
        },
        "vs-adrw-tla": {
            "summary": "VS; in stage 2 weights pi^-nu and only the additive logit adjustment",
            "params": {"truncate": True},
        },
    },
    "params": {
        "gamma": {"default": 0.05, "low": 0.0, "help": "stage 1, multiplicative exponent"},
        "tau": {"default": 1.0, "low": 0.0, "help": "stage 1, additive strength"},
        "nu": {"default": 0.25, "low": 0.0, "help": "stage 2, weights pi^-nu; 0 is none"},
        "tau2": {"default": 0.75, "low": 0.0, "help": "stage 2, additive strength"},
        "truncate": {"default": True, "help": "TLA: no multiplicative part in stage 2"},
        "switch": {
            "default": 0.8,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training before stage 2",
        },
        "weight_decay": {
            "default": None,
            "low": 0.0,
            "high": 1.0,
            "help": "stage 1; None is the protocol's",
        },
        "weight_decay2": {
            "default": None,
            "low": 0.0,
            "high": 1.0,
            "help": "stage 2; None keeps stage 1's",
        },
    },
    "notes": "Settings by data set are those of the study's code (its regime iii). There stage 2 was "
    "resumed from a checkpoint, optimiser included, so that its weight decay may not have taken effect; "
    "here it does. Where gamma is 0, TLA changes nothing but tau.",
    "protocol_defaults": {
        "*:cifar10": {"nu": 0.15, "tau2": 1.0},
        "*:cifar100,exp,ir10": {"tau": 0.5, "nu": 0.1, "tau2": 0.75},
        "*:cifar100,step": {"gamma": 0.0, "nu": 0.1, "tau2": 1.0},
        "*:cifar100,step,ir10": {"gamma": 0.0, "nu": 0.05, "tau2": 1.0},
        "*:cifar10,exp,ir10": {"gamma": 0.0, "nu": 0.1, "tau2": 1.0},
        "*:cifar10,step": {"gamma": 0.0, "nu": 0.1, "tau2": 1.0},
        "*:cifar10,step,ir100": {"gamma": 0.0, "tau": 1.25, "nu": 0.1, "tau2": 1.0},
        "cpu-cifar": {"nu": 0.15, "tau2": 1.0},
        "r32-400-aa": {"weight_decay": 0.0001},
        "r32-400-aa:exp,ir100": {"weight_decay": 0.0002},
        "r32-400-aa:cifar100,exp,ir100": {"weight_decay": 0.0002, "weight_decay2": 0.0005},
        "r32-400-aa:cifar100,step,ir100": {"weight_decay": 0.0001, "weight_decay2": 0.0004},
        "r32-400-aa:cifar100,step,ir10": {"weight_decay": 0.0001, "weight_decay2": 0.0003},
        "r32-400-aa:cifar10,step,ir100": {"weight_decay": 0.0001, "weight_decay2": 0.00005},
    },
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

from baselines.classification.vs import VSLoss
from baselines.parts.losses import set_loss
from baselines.parts.staged import counts_of, scale_from, set_weight_decay, stage_start
from suite.base.errors import UserError


def adrw_weights(counts: Sequence[float], nu: float) -> list[float]:
    """alpha_c = pi_c^-nu, scaled to sum C. A class without a sample counts as one."""
    raw = [max(n, 1.0) ** -nu for n in counts]
    return [len(raw) * w / sum(raw) for w in raw]


def configure(
    cfg: Any,
    facts: Any,
    *,
    gamma: float,
    tau: float,
    nu: float,
    tau2: float,
    truncate: bool,
    switch: float,
    weight_decay: float | None,
    weight_decay2: float | None,
) -> Any:
    """VS(gamma, tau), then VS(0 or gamma, tau2) with weights pi^-nu and its own weight decay."""
    set_weight_decay(cfg, weight_decay)
    if weight_decay2 is not None:
        before = cfg.optim_wrapper.optimizer.weight_decay
        if before == 0:
            raise UserError("weight_decay2 needs a weight_decay above 0: it is reached by a factor")
        start = stage_start(facts.iterations, switch)
        scale_from(cfg, start, "weight_decay", weight_decay2 / before)
    counts = counts_of(facts)
    first = {"type": VSLoss.__name__, "class_counts": counts, "gamma": gamma, "tau": tau}
    second = {
        **first,
        "gamma": 0.0 if truncate else gamma,
        "tau": tau2,
        # nu = 0: equal weights, which are none
        "class_weight": adrw_weights(counts, nu) if nu else None,
    }
    return set_loss(cfg, {"type": "StagedLoss", "first": first, "second": second, "switch": switch})
