"""Training in stages: a loss that is replaced at a fraction of the training, and settings with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class StagedLoss(nn.Module):
    """`first` until `switch` of the training is through, then `second`.

    Args:
        first, second: configs of losses.
        switch: share of the training in [0, 1]; 0: only `second`, 1: only `first`.
    """

    def __init__(self, first: Mapping[str, Any], second: Mapping[str, Any], switch: float) -> None:
        super().__init__()
        if not 0 <= switch <= 1:
            raise ValueError(f"switch is {switch}, expected a share of the training in [0, 1]")
        self.stages = nn.ModuleList([MODELS.build(first), MODELS.build(second)])
        self.switch = switch
        self.set_progress(0.0)

    def set_progress(self, done: float) -> None:
        """`done` in [0, 1) of the iterations are through (`suite.engine.stages.ProgressHook`)."""
        self.stage = int(done >= self.switch)

    def forward(self, scores: Tensor, label: Tensor, **kwargs: Any) -> Tensor:
        """What the present stage's loss gives."""
        loss: Tensor = self.stages[self.stage](scores, label, **kwargs)
        return loss


def stage_start(iterations: int, switch: float) -> int:
    """First iteration of stage 2, counted from 0: the least i with i / iterations >= switch."""
    start = math.ceil(switch * iterations)
    # the product may be rounded up beyond a whole number
    return start - 1 if start and (start - 1) / iterations >= switch else start


def scale_from(cfg: Any, start: int, name: str, factor: float) -> None:
    """Multiply the optimiser's `lr` or `weight_decay` by `factor` from iteration `start` on."""
    if start >= cfg.train_cfg.max_iters or factor == 1:
        return
    if start == 0:
        # a scheduler's first step comes after the first iteration
        cfg.optim_wrapper.optimizer[name] *= factor
        return
    cfg.param_scheduler = [
        *cfg.param_scheduler,
        {
            "type": "MultiStepParamScheduler",
            "param_name": name,
            "milestones": [start],
            "gamma": factor,
            "by_epoch": False,
        },
    ]


def set_weight_decay(cfg: Any, value: float | None) -> None:
    """Weight decay of the whole training; None leaves the protocol's."""
    if value is not None:
        cfg.optim_wrapper.optimizer.weight_decay = value


def counts_of(facts: Any) -> list[int]:
    """Training samples per class, as a config holds them."""
    counts: Sequence[int] = facts.class_counts
    return list(counts)
