"""Hooks between mmengine's Runner and the run's Job."""

import math
from typing import Any

import torch
from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.runner import Runner

from suite.engine import ranks
from suite.engine.resume import ResumeHook
from suite.records.lease import LeaseLost
from suite.runs.job import Job, NonFiniteLoss, Stopped

CURVE_POINTS = 200
"""About as many points a curve has, however long the training."""


def curve_interval(total: int) -> int:
    """Iterations between two points of a curve, of a training of `total`."""
    return max(1, total // CURVE_POINTS)


class MonitorHook(RuntimeInfoHook):
    """Curves and the NaN check, without waiting for the device at every iteration.

    Replaces mmengine's RuntimeInfoHook, which reads every scalar at every iteration. The message hub
    gets iteration and stage as usual; losses and learning rate go to `curves`, averaged over each
    interval. Raises NonFiniteLoss with the exact iteration, at the end of its interval at the latest.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.curves: dict[str, list[tuple[int, float | None]]] = {}
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0
        self._bad: torch.Tensor | None = None

    def before_run(self, runner: Runner) -> None:
        # without the config as text, which nobody reads and takes long to format
        self.last_loop_stage = None

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        runner.message_hub.update_info("iter", runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        step, total = runner.iter + 1, runner.max_iters
        for name, value in (outputs or {}).items():
            if not isinstance(value, torch.Tensor) or value.numel() != 1:
                continue
            value = value.detach().float().reshape(())
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            if name == "loss":
                far = torch.full_like(value, math.inf)
                bad = torch.where(torch.isfinite(value), far, torch.full_like(value, step))
                self._bad = bad if self._bad is None else torch.minimum(self._bad, bad)
        self._count += 1
        on_cpu = self._bad is None or self._bad.device.type == "cpu"
        at_point = step % curve_interval(total) == 0 or step == total
        # on a CPU looking costs nothing; elsewhere it waits for the device
        if self._bad is not None and (on_cpu or at_point):
            first = self._bad.item()
            if first != math.inf:
                raise NonFiniteLoss(int(first))
        if at_point:
            for name, value in self._sums.items():
                self._add(name, step, value.item() / self._count)
            rate = next(iter(runner.optim_wrapper.get_lr().values()))[0]
            self._add("lr", step, rate)
            self._sums, self._count = {}, 0

    def _add(self, name: str, step: int, value: float) -> None:
        shown = float(f"{value:.6g}") if math.isfinite(value) else None
        self.curves.setdefault(name, []).append((step, shown))

    def state_dict(self) -> dict[str, Any]:
        return {
            "curves": self.curves,
            "sums": dict(self._sums),
            "count": self._count,
            "bad": self._bad,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.curves, self._count = state["curves"], state["count"]
        self._sums, self._bad = dict(state["sums"]), state["bad"]


class JobHook(Hook):
    """Heartbeat; on a request to stop, or at the time limit, checkpoints first.

    Of several ranks the first one looks, and all stop in the same iteration.
    """

    priority = "LOWEST"

    def __init__(self, job: Job, resume: ResumeHook) -> None:
        self._job, self._resume = job, resume

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        end: BaseException | None = None
        try:
            if ranks.first():
                self._job.beat(runner.iter + 1, runner.max_iters)
                if self._job.stopping():
                    raise Stopped
        except LeaseLost:
            raise
        except BaseException as error:
            end = error
        if ranks.agree(end is not None):
            self._resume.save(runner)
            raise end or Stopped

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        # no checkpoint here: it is not yet said what the validation found
        if ranks.first():
            self._job.beat(runner.iter, runner.max_iters)

    def after_test_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if not ranks.first():
            return
        total = self._job.status.total
        self._job.beat(total or 0, total)
        if self._job.stopping():
            raise Stopped
