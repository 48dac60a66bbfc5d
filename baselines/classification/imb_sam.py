"""ImbSAM: sharpness-aware minimisation of the tail classes' loss alone."""

CARD = {
    "title": "ImbSAM",
    "paper": "ImbSAM: A Closer Look at Sharpness-Aware Minimization in Class-Imbalanced Recognition",
    "venue": "ICCV 2023",
    "arxiv": "2308.07815",
    "cite": "zhou2023imbsam",
    "tasks": ["longtail-cls"],
    "names": {
        "imb-sam": {"summary": "the head's gradient, plus the tail's at w + rho g_T/||g_T||"}
    },
    "params": {
        "loss": "sam",
        "rho": {"default": 0.05, "low": 0.0, "high": 10.0, "help": "radius of the tail's ascent"},
        "eta": {"default": 20.0, "low": 0.0, "help": "tail classes have fewer training images"},
        "tail_weight": {
            "default": 1.0,
            "low": 0.01,
            "help": "factor of the tail's loss; 2 in the original code",
        },
        "group_norm": {
            "default": "batch",
            "choices": ["batch", "group"],
            "help": "losses are sums over |B|, or, as in SSE-SAM's code, means over each group",
        },
        "group_batches": {
            "default": False,
            "help": "passes see only their group: cheaper, but batch normalisation is by group",
        },
        "perturbed_statistics": {
            "default": False,
            "help": "batch statistics of the perturbed pass count too, as in the released code",
        },
    },
    "notes": "eta is ours but for CIFAR-100 at ratio 50 and more, where it is the authors' 20: the boundary "
    "of the tail group, or where nothing is below that, of the head group. A batch without tail images "
    "makes a plain step. tail_weight=2 is the original code, group_norm=group the variant that SSE-SAM's "
    "code compares with, there with perturbed_statistics.",
    "protocol_defaults": {
        "*:cifar100,ir10": {"eta": 100.0},
        "*:cifar100,ir20": {"eta": 100.0},
        "*:cifar10": {"eta": 200.0},
        "*:cifar10,ir10": {"eta": 1000.0},
        "*:cifar10,ir20": {"eta": 1000.0},
        "*:fashion-mnist": {"eta": 200.0},
        "*:fashion-mnist,ir10": {"eta": 1000.0},
        "*:fashion-mnist,ir20": {"eta": 1000.0},
        "cpu-cifar": {"eta": 200.0},
        "quick": {"eta": 10.0},
        "smoke": {"eta": 10.0},
    },
    "search": {"rho": [0.05, 0.1, 0.2]},
    "needs": {"passes": 2.5},
}

from typing import Any

from baselines.parts.sharpness_aware import Part, sharpen, split_by_size


def configure(
    cfg: Any,
    facts: Any,
    *,
    rho: float,
    eta: float,
    tail_weight: float,
    group_norm: str,
    group_batches: bool,
    perturbed_statistics: bool,
) -> Any:
    """The head at w, the tail at its point of ascent."""
    head, tail = split_by_size(facts.class_counts, eta)
    parts = [
        Part(rho=0.0, class_weight=head),
        Part(rho=rho, class_weight=[tail_weight * t for t in tail]),
    ]
    return sharpen(
        cfg,
        parts,
        group_norm=group_norm,
        group_batches=group_batches,
        perturbed_statistics=perturbed_statistics,
    )
