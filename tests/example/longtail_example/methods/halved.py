"""Balanced softmax with half the prior."""

CARD = {
    "title": "Halved balanced softmax",
    "tasks": ["worst-class", "longtail-cls"],
    "names": {"halved": {"summary": "cross entropy of logits plus half the log prior"}},
    "params": {"tau": {"default": 0.5, "low": 0.0, "help": "share of the log prior"}},
}

from mmengine.registry import MODELS
from torch import nn, tensor


@MODELS.register_module()
class HalvedSoftmax(nn.CrossEntropyLoss):
    def __init__(self, counts, tau):
        super().__init__()
        self.register_buffer("shift", tau * tensor(counts).log(), persistent=False)

    def forward(self, scores, label, **_):
        return super().forward(scores + self.shift, label)


def configure(cfg, facts, *, tau):
    counts = [float(n) for n in facts.class_counts]
    cfg.model.head.loss = {"type": "HalvedSoftmax", "counts": counts, "tau": tau}
    return cfg
