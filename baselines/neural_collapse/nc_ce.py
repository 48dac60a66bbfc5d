"""A learned linear classifier under cross entropy: the reference."""

CARD = {
    "title": "Cross entropy into the terminal phase",
    "tasks": ["neural-collapse"],
    "names": {
        "nc-ce": {"summary": "linear classifier and CE; weight decay decides how far it collapses"}
    },
    "params": {
        "weight_decay": "ldam",
        "bias": {"default": True, "help": "whether the classifier has a bias"},
    },
    "needs": {"passes": 1},
}

from typing import Any

from mmengine.registry import MODELS

from baselines.parts.losses import set_loss
from baselines.parts.staged import set_weight_decay
from tasks.vision.networks.classifier import LinearHead, TorchLinearHead


@MODELS.register_module()
class BiasFreeHead(LinearHead):
    """W h. Arguments as those of `LinearHead`."""

    def __init__(self, in_channels: int, classes: int, loss: dict[str, Any]) -> None:
        super().__init__(in_channels, classes, loss)
        self.fc.register_parameter("bias", None)


@MODELS.register_module()
class TorchBiasFreeHead(TorchLinearHead):
    """W h with torch's own initial values."""

    def __init__(self, in_channels: int, classes: int, loss: dict[str, Any]) -> None:
        super().__init__(in_channels, classes, loss)
        self.fc.register_parameter("bias", None)


_BIAS_FREE = {
    LinearHead.__name__: BiasFreeHead.__name__,
    TorchLinearHead.__name__: TorchBiasFreeHead.__name__,
}


def configure(cfg: Any, facts: Any, *, weight_decay: float | None, bias: bool) -> Any:
    """Make cross entropy the only loss, of logits W h + b or W h."""
    set_weight_decay(cfg, weight_decay)
    if not bias:
        cfg.model.head.type = _BIAS_FREE[cfg.model.head.type]
    return set_loss(cfg, {"type": "CrossEntropy"})
