"""Binary cross entropy of every label: the recipe's own loss."""

CARD = {
    "title": "Binary cross entropy",
    "tasks": ["multilabel", "robust-auc"],
    "names": {"bce": {"summary": "sigmoid cross entropy, averaged over samples and labels"}},
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.losses import set_loss


def configure(cfg: Any, facts: Any) -> Any:
    """Make binary cross entropy, the task's, the only loss."""
    return set_loss(cfg, {"type": "BinaryCrossEntropy"})
