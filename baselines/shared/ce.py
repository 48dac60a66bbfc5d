"""Plain cross entropy: the recipe's own loss, and every other method's reference."""

CARD = {
    "title": "Cross entropy",
    "tasks": ["longtail-seg", "longtail-cls", "test-agnostic"],
    "names": {"ce": {"summary": "softmax cross entropy, averaged over labelled samples"}},
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.losses import set_loss


def configure(cfg: Any, facts: Any) -> Any:
    """Make cross entropy the only loss: mmseg's in segmentation, the task's in classification."""
    if "decode_head" in cfg.model:
        # avg_non_ignore: the mean is over labelled pixels, as in every other loss here.
        loss = {"type": "CrossEntropyLoss", "loss_weight": 1.0, "avg_non_ignore": True}
        return set_loss(cfg, loss)
    return set_loss(cfg, {"type": "CrossEntropy"})
