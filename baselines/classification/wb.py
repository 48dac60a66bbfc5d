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
            "default": 0.97,
            "low": 0.5,
            "high": 0.999,
            "help": "share of the training before stage 2, which has one iteration at least",
        },
        "loss2": {
            "default": "bce",
            "choices": ["bce", "ce"],
            "neutral": "ce",
            "help": "stage 2: class-balanced binary cross entropy of the softmax, as released, or CE",
        },
        "project": {
            "default": "epoch",
            "choices": ["epoch", "step"],
            "neutral": "step",
            "help": "stage 2: norms are capped at the end of each epoch, as released, or after each step",
        },
        "batch_statistics": "crt",
    },
    "notes": "Settings are those of the authors' CIFAR-100-LT demonstration: 320 epochs, then 10 more, 0.97 "
    "of the whole before stage 2. Here both stages share the protocol's budget, the rate falls within "
    "epochs too, and neither stage keeps its best epoch on test. The trunk's weights stay in stage 2.",
    "needs": {"passes": 1},
}

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn

from baselines.classification.reweighting import WeightedFocalLoss
from baselines.parts.class_weights import class_weights
from baselines.parts.losses import labelled_mean, set_loss
from baselines.parts.staged import scale_from, stage_start
from suite.engine.resume import bare_model

_END = 1e-3
"""The cosine of stage 1 ends at this share of its learning rate, from which stage 2 starts anew."""


@MODELS.register_module()
class BalancedBinaryLoss(nn.Module):
    """Mean over the samples of w_y / C sum_c BCE(p_c, [c = y]), p the softmax (the authors' "softmax" form
    of the class-balanced loss). Not divided by the weights in the batch, as a weighted CE is.

    Args:
        class_weight: w, (C,), of mean 1.
    """

    class_weight: Tensor

    def __init__(self, class_weight: Sequence[float]) -> None:
        super().__init__()
        # Derived from the data, so not part of the weights.
        self.register_buffer("class_weight", torch.tensor(list(class_weight)), persistent=False)

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits (B, C), ids (B,) and optional weights (B,)."""
        # of probabilities torch computes it in full precision only, as they are here
        with torch.autocast(scores.device.type, enabled=False):
            p = scores.softmax(1)
            truth = F.one_hot(label, scores.shape[1]).to(p)
            each = F.binary_cross_entropy(p, truth, reduction="none").mean(1)
            return labelled_mean(self.class_weight[label] * each, label, weight, -100)


@HOOKS.register_module()
class MaxNormHook(Hook):
    """From iteration `start` on trains the classifier alone and brings its rows back into a ball.

    The radius is min + threshold (max - min) of the rows' norms when stage 2 begins; after every `every`
    steps of stage 2, and after the last, rows beyond it are scaled back (projected gradient descent).

    Args:
        start: first iteration of stage 2.
        threshold: in [0, 1].
        every: iterations.
        batch_statistics: the frozen trunk stays in training mode (`baselines.parts.decoupled`).
    """

    def __init__(self, start: int, threshold: float, every: int, batch_statistics: bool) -> None:
        self.start, self.threshold = start, threshold
        self.every, self.batch_statistics = every, batch_statistics
        self._radius: torch.Tensor | None = None

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if runner.iter < self.start:
            return
        model = bare_model(runner)
        # the loop puts the whole model into training mode before every iteration
        if not self.batch_statistics:
            model.backbone.eval()
        if self._radius is None:
            norms = model.head.fc.weight.detach().norm(dim=1)
            self._radius = norms.min() + self.threshold * (norms.max() - norms.min())
        model.backbone.requires_grad_(False)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self._radius is None:
            return
        done = runner.iter + 1
        if (done - self.start) % self.every and done < runner.max_iters:
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
    loss2: str,
    project: str,
    batch_statistics: bool,
) -> Any:
    """Two stages, each with a cosine of its own; stage 2 with a class-balanced loss."""
    iterations = facts.iterations
    start = min(stage_start(iterations, switch), iterations - 1)
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
    epoch = math.ceil(sum(facts.class_counts) / facts.batch)
    hook = {
        "type": "MaxNormHook",
        "start": start,
        "threshold": threshold,
        "every": epoch if project == "epoch" else 1,
        "batch_statistics": batch_statistics,
    }
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), hook]
    weights = class_weights([float(n) for n in facts.class_counts], "effective", beta)
    first = {"type": "CrossEntropy"}
    if loss2 == "bce":
        second: dict[str, Any] = {"type": BalancedBinaryLoss.__name__, "class_weight": weights}
    else:
        second = {"type": WeightedFocalLoss.__name__, "class_weight": weights, "gamma": 0.0}
    staged = {"type": "StagedLoss", "first": first, "second": second}
    return set_loss(cfg, {**staged, "switch": start / iterations})
