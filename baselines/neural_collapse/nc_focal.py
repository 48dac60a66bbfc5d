"""A learned linear classifier under the focal loss."""

CARD = {
    "title": "Focal loss into the terminal phase",
    "paper": "Focal Loss for Dense Object Detection",
    "venue": "ICCV 2017",
    "arxiv": "1708.02002",
    "cite": "lin2017focal",
    "notes": "The softmax form, as `focal`. One of the losses that Zhou et al. 2022 find alike in the geometry that they "
    "end in.",
    "tasks": ["neural-collapse"],
    "names": {"nc-focal": {"summary": "linear classifier and CE scaled by (1 - p)^gamma"}},
    "params": {"gamma": "focal"},
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.losses import set_loss
from baselines.shared.focal import SoftmaxFocalLoss


def configure(cfg: Any, facts: Any, *, gamma: float) -> Any:
    """Make the focal loss the only one."""
    return set_loss(cfg, {"type": SoftmaxFocalLoss.__name__, "gamma": gamma})
