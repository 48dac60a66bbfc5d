"""Balanced Softmax: cross entropy under the training prior."""

CARD = {
    "title": "Balanced Softmax",
    "paper": "Balanced Meta-Softmax for Long-Tailed Visual Recognition",
    "venue": "NeurIPS 2020",
    "arxiv": "2007.10740",
    "cite": "ren2020balanced",
    "tasks": ["longtail-cls"],
    "names": {"balanced-softmax": {"summary": "CE on logits + log of the class's training images"}},
    "notes": "Logit adjustment with tau = 1, to which `la` defaults: the two rows are the same. "
    "Without the paper's meta sampler.",
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.losses import set_loss
from baselines.parts.staged import counts_of
from baselines.shared.la import LogitAdjustedLoss


def configure(cfg: Any, facts: Any) -> Any:
    """Logit adjustment with tau = 1: softmax is blind to log N, which parts log n_c from log pi_c."""
    loss = {"type": LogitAdjustedLoss.__name__, "class_counts": counts_of(facts), "tau": 1.0}
    return set_loss(cfg, loss)
