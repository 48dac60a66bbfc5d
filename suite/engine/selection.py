"""Which weights are the model: selection by a validation in training. On the test set, as much of the literature does
it, for `legacy-selection` protocols only."""

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from suite.engine.resume import bare_model


@HOOKS.register_module()
class BestOnTestHook(Hook):
    """Keeps the weights of the validation with the highest `metric` and puts them back at the end.

    In such protocols the validation set is the test set, hence the name. Of equals the first one stays; a value that is
    not a number is worse than any other.

    Args:
        metric: name in what the validation returns, such as `cls/top1`.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self._best: float | None = None
        self._seen = 0
        self._weights: dict[str, torch.Tensor] = {}

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        # a checkpoint is older than the validation of its iteration: resumed there, it is still due
        if runner.iter and runner.iter % runner.train_loop.val_interval == 0:
            self._catch_up(runner)
            runner.model.train()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        value = float((metrics or {})[self.metric])
        self._seen = runner.iter
        if self._best is None or value > self._best or math.isnan(self._best) > math.isnan(value):
            self._best = value
            state = bare_model(runner).state_dict()
            self._weights = {key: tensor.detach().clone() for key, tensor in state.items()}

    def after_train(self, runner: Runner) -> None:
        self._catch_up(runner)
        bare_model(runner).load_state_dict(self._weights)

    def _catch_up(self, runner: Runner) -> None:
        if self._seen != runner.iter:
            runner.val_loop.run()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "seen": self._seen, "weights": dict(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best, self._seen = state["best"], state["seen"]
        self._weights = dict(state["weights"])


@HOOKS.register_module()
class BestOnValidationHook(BestOnTestHook):
    """The same on a validation set that is left out of the training."""
