"""How modules learn how far a training is: stage switches at fractions of it, safe under resume."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from suite.engine.resume import bare_model


@HOOKS.register_module()
class ProgressHook(Hook):
    """Calls `set_progress(done)` of every module of the model that has it, before each iteration.

    `done` in [0, 1) is the share of iterations that are through. It follows from the iteration alone, so
    a resumed run switches where an undisturbed one does; and `done >= 0.8` is exact: a quotient of
    integers that equals 0.8 is the same double.
    """

    def before_train(self, runner: Runner) -> None:
        modules = bare_model(runner).modules()
        self._told = [m for m in modules if callable(getattr(m, "set_progress", None))]

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self._told:
            done = runner.iter / runner.max_iters
            for module in self._told:
                module.set_progress(done)
