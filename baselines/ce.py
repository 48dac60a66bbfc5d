"""Plain cross entropy: the recipe's own loss, and every other method's reference."""

CARD = {
    "title": "Cross entropy",
    "tasks": ["longtail-seg"],
    "names": {"ce": {"summary": "softmax cross entropy, averaged over labelled pixels"}},
    "needs": {"passes": 1},
}

from typing import Any


def configure(cfg: Any, facts: Any) -> Any:
    """Set the head's only loss to mmseg's cross entropy."""
    cfg.model.decode_head.loss_decode = [
        # avg_non_ignore: the mean is over labelled pixels, as in every other loss here.
        {"type": "CrossEntropyLoss", "loss_weight": 1.0, "avg_non_ignore": True}
    ]
    return cfg
