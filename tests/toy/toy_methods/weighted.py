CARD = {
    "title": "Weighted",
    "tasks": ["toy"],
    "names": {"weighted": {"summary": "cross entropy, images weighted by their class"}},
    "params": {"power": {"default": 1.0, "low": 0.0, "help": "of 1 / training images"}},
}

from mmengine.registry import MODELS
from torch import nn, tensor


@MODELS.register_module()
class Weighted(nn.CrossEntropyLoss):
    def __init__(self, weight):
        super().__init__(tensor(weight))

    def forward(self, scores, label, **_):
        return super().forward(scores, label)


def configure(cfg, facts, *, power):
    cfg.model.head.loss = {"type": "Weighted", "weight": [n**-power for n in facts.class_counts]}
    return cfg
