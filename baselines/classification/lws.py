"""LWS: one factor per class on the classifier of a finished run, learnt on class-balanced batches."""

CARD = {
    "title": "Learnable weight scaling",
    "paper": "Decoupling Representation and Classifier for Long-Tailed Recognition",
    "venue": "ICLR 2020",
    "arxiv": "1910.09217",
    "cite": "kang2020decoupling",
    "tasks": ["longtail-cls"],
    "names": {
        "lws": {
            "summary": "a learnt factor per class on the trained classifier; its directions stay",
            "params": {"length": 0.05},
            "protocol_defaults": {
                "imagenet-lt": {"length": 0.0277777778},
                "places-lt": {"length": 0.1666666667},
            },
        }
    },
    "params": {
        "length": "crt",
        "lr": "crt",
        "bias": {
            "default": True,
            "help": "keep the classifier's bias, scaled with its weights, as released; the paper's formula "
            "has none",
        },
        "batch_statistics": "crt",
    },
    "notes": "Stage 1 needs a linear classifier. The factors start at 1, and the protocol's weight decay "
    "acts on them as on any weight. The trunk's weights stay. Stage 2 has the 5 epochs of the authors' "
    "configs for ImageNet-LT, Places-LT and iNaturalist; elsewhere a twentieth of the training, half of "
    "cRT's as there.",
    "needs": {"inputs": {"stage1": "ce"}, "extra_budget": True, "passes": 1},
}

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.decoupled import retrain_classifier
from tasks.vision.networks.classifier import Head


@MODELS.register_module()
class ScaledLinearHead(Head):
    """f_c (w_c^T h + b_c), f = 1 at the start: section 4 of the paper, whose formula is without b, and its code.

    Args:
        in_channels: D.
        classes: C.
        loss: see `Head`.
        bias: whether there is b.
    """

    def __init__(
        self, in_channels: int, classes: int, loss: dict[str, Any], bias: bool = False
    ) -> None:
        super().__init__(loss)
        self.fc = nn.Linear(in_channels, classes, bias=bias)
        self.scale = nn.Parameter(torch.ones(classes))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, C)."""
        scores: Tensor = self.scale * self.fc(features)
        return scores


def configure(
    cfg: Any,
    facts: Any,
    *,
    inputs: Mapping[str, str],
    length: float,
    lr: float | None,
    bias: bool,
    batch_statistics: bool,
) -> Any:
    """The factors alone, on the weights that stage 1 ended with."""
    fresh = ["head.scale"] if bias else ["head.scale", "head.fc.bias"]
    cfg.start_from = {"weights": inputs["stage1"], "skip": fresh}
    cfg.model.head.type = ScaledLinearHead.__name__
    cfg.model.head.bias = bias
    return retrain_classifier(cfg, facts, ["head.scale"], length, lr, batch_statistics)
