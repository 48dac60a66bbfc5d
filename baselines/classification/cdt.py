"""Class-dependent temperatures."""

CARD = {
    "title": "Class-dependent temperatures",
    "paper": "Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning",
    "venue": "arXiv 2020",
    "arxiv": "2001.01385",
    "cite": "ye2020identifying",
    "tasks": ["longtail-cls"],
    "names": {"cdt": {"summary": "CE on logits divided by (n_max / n_c)^gamma"}},
    "params": {"gamma": {"default": 0.15, "low": 0.0, "help": "exponent; 0 is plain CE"}},
    "needs": {"passes": 1},
}

from typing import Any

from baselines.classification.vs import VSLoss
from baselines.parts.losses import set_loss
from baselines.parts.staged import counts_of


def configure(cfg: Any, facts: Any, *, gamma: float) -> Any:
    """VS without its additive part."""
    counts = counts_of(facts)
    loss = {"type": VSLoss.__name__, "class_counts": counts, "gamma": gamma, "tau": 0.0}
    return set_loss(cfg, loss)
