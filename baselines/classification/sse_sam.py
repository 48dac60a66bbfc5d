"""SSE-SAM: head and tail are sharpened apart, the head only in the first stage."""

CARD = {
    "title": "SSE-SAM",
    "paper": "SSE-SAM: Balancing Head and Tail Classes Gradually through Stage-Wise SAM",
    "venue": "AAAI 2025",
    "arxiv": "2412.13715",
    "cite": "lyu2025sse",
    "tasks": ["longtail-cls"],
    "names": {
        "sse-sam": {
            "summary": "head and tail each at their own point of ascent; later the tail alone (ImbSAM)"
        }
    },
    "params": {
        "loss": "sam",
        "eta": {"default": 100.0, "low": 0.0, "help": "tail classes have fewer training images"},
        "rho_head": {"default": 0.05, "low": 0.0, "high": 10.0, "help": "head's radius in stage 1"},
        "rho_tail": {"default": 0.1, "low": 0.0, "high": 10.0, "help": "tail's radius"},
        "gamma": {
            "default": 0.7,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training before stage 2; 0: only stage 2, 1: only stage 1",
        },
        "group_batches": "imb-sam",
        "perturbed_statistics": {
            "default": False,
            "help": "batch statistics of perturbed passes count too, as in the released code",
        },
    },
    "notes": "Settings are those of the authors' sample command (CIFAR-100, ratio 100, CE). eta is ours "
    "but for CIFAR-100: where the head group begins. Unlike the released code, running statistics come "
    "from unperturbed passes (perturbed_statistics), both groups share the pass at the weights "
    "themselves, stage 2 makes no pass at a radius of zero, and gamma may be 0 or 1.",
    "protocol_defaults": {
        "*:cifar10": {"eta": 1000.0},
        "*:fashion-mnist": {"eta": 1000.0},
        "cpu-cifar": {"eta": 1000.0},
        "quick": {"eta": 40.0},
        "smoke": {"eta": 40.0},
    },
    "search": {
        "rho_head": [0.02, 0.05, 0.1],
        "rho_tail": [0.05, 0.1, 0.2],
        "gamma": [0.5, 0.6, 0.7, 0.8],
    },
    "needs": {"passes": 3.5},
}

from typing import Any

from baselines.parts.sharpness_aware import Part, sharpen, split_by_size


def configure(
    cfg: Any,
    facts: Any,
    *,
    eta: float,
    rho_head: float,
    rho_tail: float,
    gamma: float,
    group_batches: bool,
    perturbed_statistics: bool,
) -> Any:
    """Two parts; the head's radius is 0 from `gamma` of the training on."""
    head, tail = split_by_size(facts.class_counts, eta)
    parts = [
        Part(rho=rho_head, rho2=0.0, switch=gamma, class_weight=head),
        Part(rho=rho_tail, class_weight=tail),
    ]
    return sharpen(
        cfg, parts, group_batches=group_batches, perturbed_statistics=perturbed_statistics
    )
