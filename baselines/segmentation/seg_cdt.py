"""Class-dependent temperatures in pixel form."""

CARD = {
    "title": "Class-dependent temperatures, pixel form",
    "paper": "Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning",
    "venue": "arXiv 2020",
    "arxiv": "2001.01385",
    "cite": "ye2020identifying",
    "tasks": ["longtail-seg"],
    "names": {
        "cdt-seg": {"summary": "CE on logits divided by (n_max / n_c)^gamma, n counting pixels"},
    },
    "params": {"gamma": "cdt"},
    "notes": "`cdt` of longtail-cls over pixels; gamma is the value there, untuned for pixels.",
    "needs": {"passes": 1},
}

from typing import Any

from baselines.classification.vs import VSLoss
from baselines.parts.losses import set_loss
from baselines.parts.staged import counts_of


def configure(cfg: Any, facts: Any, *, gamma: float) -> Any:
    """VS without its additive part."""
    loss = {
        "type": VSLoss.__name__,
        "class_counts": counts_of(facts),
        "gamma": gamma,
        "tau": 0.0,
        "loss_name": "loss_cdt",
    }
    return set_loss(cfg, loss)
