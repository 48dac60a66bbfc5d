"""Weight balancing: strong weight decay, then the classifier alone with MaxNorm."""

CARD = {
    "title": "Weight balancing",
    "paper": "Long-Tailed Recognition via Weight Balancing",
    "venue": "CVPR 2022",
    "arxiv": "2203.14197",
    "cite": "alshammari2022long",
    "tasks": ["longtail-cls"],
    "names": {"wb": {"summary": "CE with strong weight decay, then a classifier with MaxNorm"}},
    "params": {
        "lr": {"default": 0.01, "low": 0.000001, "help": "at the start of each stage"},
        "weight_decay": {"default": 0.005, "low": 0.000001, "high": 1.0, "help": "stage 1"},
        "weight_decay2": {"default": 0.1, "low": 0.0, "high": 1.0, "help": "stage 2"},
        "threshold": {
            "default": 0.1,
            "low": 0.0,
            "high": 1.0,
            "help": "stage 2: norms are capped this far up from the least to the largest of stage 1",
        },
        "beta": {
            "default": 0.9999,
            "low": 0.0,
            "high": 0.999999999,
            "help": "stage 2: class-balanced loss, effective number of samples",
        },
        "switch": {
            "default": 0.95,
            "low": 0.5,
            "high": 0.999,
            "help": "share of the training before stage 2",
        },
    },
    "notes": "Settings are those of the authors' CIFAR-100-LT demonstration: 200 epochs, then 10 more. "
    "Here both stages share the protocol's budget. The trunk is frozen in stage 2, its batch "
    "normalisation included.",
    "needs": {"passes": 1},
}

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from baselines.classification.reweighting import WeightedFocalLoss
from baselines.parts.class_weights import class_weights
from baselines.parts.losses import set_loss
from baselines.parts.staged import scale_from, stage_start
from suite.engine.resume import bare_model

_END = 1e-3
"""The cosine of stage 1 ends at this share of its learning rate, from which stage 2 starts anew."""


@HOOKS.register_module()
class MaxNormHook(Hook):
    """From iteration `start` on trains the classifier alone and keeps its rows in a ball.

    The radius is min + threshold (max - min) of the rows' norms when stage 2 begins; after every step
    rows beyond it are scaled back (projected gradient descent).

    Args:
        start: first iteration of stage 2.
        threshold: in [0, 1].
    """

    def __init__(self, start: int, threshold: float) -> None:
        self.start, self.threshold = start, threshold
        self._radius: torch.Tensor | None = None

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if runner.iter < self.start:
            return
        model = bare_model(runner)
        # the loop puts the whole model into training mode before every iteration
        model.backbone.eval()
        if self._radius is None:
            norms = model.head.fc.weight.detach().norm(dim=1)
            self._radius = norms.min() + self.threshold * (norms.max() - norms.min())
        model.backbone.requires_grad_(False)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self._radius is None:
            return
        with torch.no_grad():
            weight = bare_model(runner).head.fc.weight
            norms = weight.norm(dim=1, keepdim=True)
            weight.mul_((self._radius / norms.clamp(min=1e-12)).clamp(max=1))

    def after_train(self, runner: Runner) -> None:
        # what was frozen was trained before, and counts among the parameters
        bare_model(runner).requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        return {"radius": self._radius}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._radius = state["radius"]


def configure(
    cfg: Any,
    facts: Any,
    *,
    lr: float,
    weight_decay: float,
    weight_decay2: float,
    threshold: float,
    beta: float,
    switch: float,
) -> Any:
    """Two stages, each with a cosine of its own; stage 2 with a class-balanced loss."""
    iterations, start = facts.iterations, stage_start(facts.iterations, switch)
    cfg.optim_wrapper.optimizer.lr = lr
    cfg.optim_wrapper.optimizer.weight_decay = weight_decay
    cosine = {"type": "CosineAnnealingLR", "by_epoch": False}
    cfg.param_scheduler = [
        {**cosine, "begin": 0, "end": start, "T_max": start, "eta_min_ratio": _END}
    ]
    # what the cosine gives in the last iteration of stage 1, as a share of lr
    last = _END + (1 - _END) * (1 + math.cos(math.pi * (start - 1) / start)) / 2
    scale_from(cfg, start, "lr", 1 / last)
    scale_from(cfg, start, "weight_decay", weight_decay2 / weight_decay)
    cfg.param_scheduler = [
        *cfg.param_scheduler,
        {
            **cosine,
            "begin": start,
            "end": iterations,
            "T_max": max(1, iterations - start),
            "eta_min": 0.0,
        },
    ]
    hook = {"type": "MaxNormHook", "start": start, "threshold": threshold}
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), hook]
    weights = class_weights([float(n) for n in facts.class_counts], "effective", beta)
    first = {"type": "CrossEntropy"}
    second = {"type": WeightedFocalLoss.__name__, "class_weight": weights, "gamma": 0.0}
    return set_loss(cfg, {"type": "StagedLoss", "first": first, "second": second, "switch": switch})
