CARD = {
    "title": "Weighted",
    "tasks": ["toy"],
    "names": {"weighted": {"summary": "cross entropy, a class's images weighted"}},
    "params": {"power": {"default": 1.0, "low": 0.0, "help": "of 1 / training images"}},
}


def configure(cfg, facts, *, power):
    weights = [1 / n**power for n in facts.class_counts]
    mean = sum(weights) / len(weights)
    cfg.model.head.loss = {"type": "Weighted", "weight": [w / mean for w in weights]}
    return cfg


from mmengine.registry import MODELS  # noqa: E402
from torch import nn, tensor  # noqa: E402


@MODELS.register_module()
class Weighted(nn.CrossEntropyLoss):
    def __init__(self, weight):
        super().__init__(tensor(weight))

    def forward(self, scores, label, **_):
        return super().forward(scores, label)
