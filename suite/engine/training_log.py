"""What a run's log says: its begin and end, loss and learning rate on the way, and every warning once.

Lines go to stdout, which a worker sends to the attempt's `log.txt`; of several ranks the first one speaks.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from suite.engine import ranks
from suite.engine.hooks import MonitorHook, curve_interval

LINES = 50
"""About as many lines a training has, however long it is."""
_SCALARS = 8  # of a line, learning rate aside
_TEXTS = 10  # of one warning, where its text changes


def say(text: str) -> None:
    """A line of the log, with the time of day."""
    if ranks.first():
        # a full disk must not turn into an error of the run
        with contextlib.suppress(OSError, ValueError):
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", flush=True)


class LogHook(Hook):
    """Step, losses, learning rate and seconds a step: at the first iteration of a sitting, at the last one of
    the training, and in equal distances between them.

    Losses are means since the line before, taken from the curves of `monitor`, so that nothing waits for the
    device that would not do so without a log; the first line's are of its iteration.
    """

    priority = "LOW"

    def __init__(self, monitor: MonitorHook) -> None:
        self._monitor = monitor

    def before_train(self, runner: Runner) -> None:
        self._step, self._time, self._begun = runner.iter, time.monotonic(), False
        interval, total = curve_interval(runner.max_iters), runner.max_iters
        # a method may train for no iteration at all
        self._distance = max(1, interval * math.ceil(math.ceil(total / interval) / LINES))
        if runner.iter:
            say(f"goes on after step {runner.iter}")

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        step, total = runner.iter + 1, runner.max_iters
        if (self._begun and step % self._distance and step != total) or not ranks.first():
            return
        curves = {
            name: [value for at, value in points if at > self._step]
            for name, points in self._monitor.curves.items()
        }
        shown = {name: _mean(values) for name, values in curves.items() if values}
        if not shown:
            # the first iteration, before the curves have a point
            for name, value in (outputs or {}).items():
                if isinstance(value, torch.Tensor) and value.numel() == 1:
                    shown[name] = float(value.detach())
            shown["lr"] = next(iter(runner.optim_wrapper.get_lr().values()))[0]
        else:
            shown["lr"] = curves["lr"][-1]
        rate = shown.pop("lr")
        names = sorted(shown, key=lambda name: name != "loss")[:_SCALARS]
        now = time.monotonic()
        seconds = (now - self._time) / (step - self._step)
        parts = [f"step {step}/{total}", *(f"{name} {_number(shown[name])}" for name in names)]
        say("  ".join([*parts, f"lr {_number(rate)}", f"{seconds:.3g} s/step"]))
        self._step, self._time, self._begun = step, now, True


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


class _Once:
    """Says a text once, and of one place at most `_TEXTS` of them."""

    def __init__(self) -> None:
        self._said: dict[Any, set[str]] = {}

    def __call__(self, place: Any, text: str, name: str) -> None:
        said = self._said.setdefault(place, set())
        if text in said or len(said) > _TEXTS:
            return
        said.add(text)
        if len(said) > _TEXTS:
            say(f"warning: further ones from there are left out ({name})")
        else:
            say(f"warning: {' '.join(text.split())} ({name})")


class _Handler(logging.Handler):
    def __init__(self, once: _Once) -> None:
        super().__init__(logging.WARNING)
        self._once = once

    def emit(self, record: logging.LogRecord) -> None:
        place = f"{record.name}, {record.filename}:{record.lineno}"
        with contextlib.suppress(Exception):
            self._once((record.pathname, record.lineno), record.getMessage(), place)


@contextlib.contextmanager
def warnings_once() -> Iterator[None]:
    """For the block, every warning of Python's and of a logger's becomes one line of the log.

    A process carries out many runs, each with its own warnings; Python would give each only once.
    """
    once = _Once()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        place = f"{category.__name__}, {Path(filename).name}:{lineno}"
        once((filename, lineno), str(message), place)

    handler = _Handler(once)
    with warnings.catch_warnings():
        warnings.showwarning = show
        logging.root.addHandler(handler)
        try:
            yield
        finally:
            logging.root.removeHandler(handler)
