"""Class-weighted cross entropy: inverse frequency and effective number of samples."""

CARD = {
    "title": "Class-weighted cross entropy",
    "paper": "Class-Balanced Loss Based on Effective Number of Samples",
    "venue": "CVPR 2019",
    "arxiv": "1901.05555",
    "cite": "cui2019classbalanced",
    "tasks": ["longtail-seg"],
    "names": {
        "wce-inv": {
            "summary": "CE weighted by 1 / training pixels of the class",
            "params": {"scheme": "inverse"},
        },
        "wce-en": {
            "summary": "CE weighted by 1 / effective number of training pixels of the class",
            "params": {"scheme": "effective"},
        },
    },
    "params": {
        "scheme": "rw",
        "beta": {
            "default": 0.999999,
            "low": 0.0,
            "high": 0.999999999,
            "help": "effective number only; classes beyond 1/(1 - beta) pixels count as equal",
        },
    },
    "notes": "The paper counts images, with beta 0.9 to 0.9999. Pixels come in millions, where "
    "these give equal weights; hence larger values, set by the size of the training set.",
    "protocol_defaults": {"quick": {"beta": 0.99999}, "smoke": {"beta": 0.99999}},
    "needs": {"passes": 1},
}

from typing import Any

from baselines.classification.reweighting import WeightedFocalLoss
from baselines.parts.class_weights import class_weights
from baselines.parts.losses import set_loss


def configure(cfg: Any, facts: Any, *, scheme: str, beta: float) -> Any:
    """Replace the head's losses by weighted cross entropy."""
    weights = class_weights([float(n) for n in facts.class_counts], scheme, beta)
    loss = {"type": WeightedFocalLoss.__name__, "class_weight": weights, "gamma": 0.0}
    return set_loss(cfg, {**loss, "loss_name": "loss_wce"})
