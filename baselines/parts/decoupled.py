"""Second stages on the weights of a finished run: their length, their rate, and a trunk that stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from baselines.classification.resampling import ClassPowerSampler
from baselines.parts.losses import set_loss
from suite.engine.resume import bare_model


@HOOKS.register_module()
class FrozenTrunkHook(Hook):
    """Trains the parameters whose names begin with one in `trained`, and leaves the rest as it is.

    There is no state: what is frozen is the same from the first iteration to the last.

    Args:
        trained: beginnings of names.
        batch_statistics: the trunk stays in training mode: its batch normalisation uses the batches'
            statistics, and its running ones move towards those of the balanced batches. Otherwise it is
            in evaluation mode, and normalises as stage 1 ended.
    """

    def __init__(self, trained: Sequence[str], batch_statistics: bool) -> None:
        self._trained = tuple(trained)
        self._batch_statistics = batch_statistics
        self._frozen: list[nn.Parameter] = []

    def before_train(self, runner: Runner) -> None:
        named = bare_model(runner).named_parameters()
        self._frozen = [
            p for name, p in named if p.requires_grad and not name.startswith(self._trained)
        ]
        for parameter in self._frozen:
            parameter.requires_grad_(False)

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        # the loop puts the whole model into training mode before every iteration
        if not self._batch_statistics:
            bare_model(runner).backbone.eval()

    def after_train(self, runner: Runner) -> None:
        # what was frozen was trained in stage 1, and counts among the parameters
        for parameter in self._frozen:
            parameter.requires_grad_(True)


def set_length(cfg: Any, facts: Any, length: float) -> int:
    """Iterations of a second stage of `length` times the protocol's, at least 1; set in `cfg`."""
    iterations: int = max(1, round(length * facts.iterations))
    cfg.train_cfg.max_iters = iterations
    return iterations


def retrain_classifier(
    cfg: Any,
    facts: Any,
    trained: Sequence[str],
    length: float,
    lr: float | None,
    batch_statistics: bool,
) -> Any:
    """`cfg` for CE on class-balanced batches, with a cosine to 0 and all but `trained` frozen.

    Section 4 of the paper (Kang et al. 2020) for cRT and LWS. An epoch of the released code is as many
    iterations as one of the protocol's, whatever the sampler, so shares of the training are its epochs.

    Args:
        trained: beginnings of the names of the parameters that are trained.
        length: in shares of the protocol's iterations.
        lr: at the start; None is the protocol's.
        batch_statistics: see `FrozenTrunkHook`.
    """
    iterations = set_length(cfg, facts, length)
    if lr is not None:
        cfg.optim_wrapper.optimizer.lr = lr
    cosine = {"type": "CosineAnnealingLR", "T_max": iterations, "eta_min": 0.0, "by_epoch": False}
    cfg.param_scheduler = [{**cosine, "begin": 0, "end": iterations}]
    cfg.train_dataloader.sampler = {"type": ClassPowerSampler.__name__, "power": 0.0}
    hook = {"type": FrozenTrunkHook.__name__, "trained": list(trained)}
    cfg.custom_hooks = [
        *cfg.get("custom_hooks", []),
        {**hook, "batch_statistics": batch_statistics},
    ]
    return set_loss(cfg, {"type": "CrossEntropy"})
