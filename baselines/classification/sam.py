"""Sharpness-aware minimisation on any loss, and with the radii of the unified study."""

CARD = {
    "title": "SAM",
    "paper": "Sharpness-Aware Minimization for Efficiently Improving Generalization",
    "venue": "ICLR 2021",
    "arxiv": "2010.01412",
    "cite": "foret2021sharpness",
    "tasks": ["longtail-cls"],
    "names": {
        "sam": {
            "summary": "steps with the gradient at w + rho g/||g||, on CE or another loss",
            "protocol_defaults": {
                "r32-200:cifar10": {"rho": 0.1},
                "r32-200:cifar100": {"rho": 0.2},
                "r32-400-aa": {"rho": 0.1},
                "r32-400-aa:cifar100,exp,ir100": {"rho": 0.2},
                "r32-400-aa:cifar100,step": {"weight_decay": 0.00001},
                "r32-400-aa:cifar100,step,ir100": {"rho": 0.3, "weight_decay": 0.00001},
                "r32-400-aa:cifar10,step": {"weight_decay": 0.00005},
            },
        },
        "sam-ldam-drw": {
            "summary": "SAM on LDAM-DRW",
            "params": {"loss": "ldam-drw"},
            "protocol_defaults": {
                "r32-400-aa:cifar100,exp,ir100": {"rho": 0.5},
                "r32-400-aa:cifar100,exp,ir10": {"rho": 0.3},
                "r32-400-aa:cifar100,step,ir100": {"rho": 0.3},
                "r32-400-aa:cifar100,step,ir10": {"rho": 0.4},
                "r32-400-aa:cifar10,exp": {"rho": 0.4},
                "r32-400-aa:cifar10,step": {"rho": 0.2},
                "r32-200:cifar10": {"rho": 0.8},
                "r32-200:cifar100": {"rho": 0.8},
            },
        },
        "sam-vs": {
            "summary": "SAM on VS",
            "params": {"loss": "vs"},
            "protocol_defaults": {
                "r32-400-aa": {"rho": 0.1},
                "r32-400-aa:cifar100,exp,ir100": {"rho": 0.3},
                "r32-400-aa:cifar100,step,ir100": {"rho": 0.2},
            },
        },
        "sam-vs-adrw-tla": {
            "summary": "SAM on VS+ADRW+TLA, with a radius for each of its stages",
            "params": {"loss": "vs-adrw-tla", "rho2": 0.2},
            "protocol_defaults": {
                "r32-400-aa": {"rho": 0.1, "rho2": 0.1},
                "r32-400-aa:cifar100,exp,ir100": {"rho": 0.2, "rho2": 0.4},
                "r32-400-aa:cifar100,exp,ir10": {"rho": 0.1, "rho2": 0.5},
                "r32-400-aa:cifar100,step,ir100": {"rho": 0.2, "rho2": 0.2},
                "r32-400-aa:cifar100,step,ir10": {"rho": 0.1, "rho2": 0.3},
                "r32-400-aa:cifar10,exp,ir100": {"rho": 0.1, "rho2": 0.2},
                "r32-400-aa:cifar10,step,ir100": {"rho": 0.1, "rho2": 0.2},
            },
        },
    },
    "params": {
        "loss": {"default": "ce", "method": True, "help": "the method whose loss is minimised"},
        "rho": {"default": 0.05, "low": 0.0, "high": 10.0, "help": "radius; 0 is plain SGD"},
        "rho2": {
            "default": None,
            "low": 0.0,
            "high": 10.0,
            "help": "radius from `switch` on; None keeps rho",
        },
        "switch": {
            "default": 0.8,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training before rho2 holds",
        },
        "weight_decay": {
            "default": None,
            "low": 0.0,
            "high": 1.0,
            "help": "the optimiser's; None is the loss's own, or the protocol's",
        },
        "perturbed_statistics": {
            "default": False,
            "help": "batch statistics of the perturbed pass count too, as in some released code",
        },
    },
    "notes": "Radii under r32-400-aa are those of the unified study's code (its regime iii), by loss; "
    "under r32-200 those of Saddle-LongTail (CE, LDAM-DRW). The defaults of `sam`, weight "
    "decay under step profiles included, were chosen with CE: set them with another loss.",
    "search": {"rho": [0.05, 0.1, 0.2, 0.5]},
    "needs": {"passes": 2},
}

from typing import Any

from baselines.parts.sharpness_aware import Part, sharpen
from baselines.parts.staged import set_weight_decay


def configure(
    cfg: Any,
    facts: Any,
    *,
    rho: float,
    rho2: float | None,
    switch: float,
    weight_decay: float | None,
    perturbed_statistics: bool,
) -> Any:
    """One part, all classes alike."""
    set_weight_decay(cfg, weight_decay)
    part = Part(rho=rho, rho2=rho2, switch=switch)
    return sharpen(cfg, [part], perturbed_statistics=perturbed_statistics)
