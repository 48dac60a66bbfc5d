"""What every base configuration has: loaders, loop, optimiser and schedule.

A recipe fixes network, augmentation, optimiser and budget; a method changes the loss (or more) through
its `configure`; the harness adds seeds, sampler and hooks. Networks start from random weights; the last
iteration is the model. Nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Config = dict[str, Any]

NEVER = 10**9
"""Interval of validations, where nothing is selected."""


def config(
    model: Config,
    *,
    scope: str,
    imports: Sequence[str],
    loaders: Mapping[str, Config],
    iterations: int,
    optimizer: Config,
    schedule: Sequence[Config],
) -> Config:
    """The skeleton; a task adds evaluator and test loop.

    Args:
        scope: registry in which names are looked up first, `mmengine` or `mmseg`.
        imports: modules that register what the config names.
        loaders: `train`, `test` and so on, see `train_loader` and `test_loader`.
        iterations: length of the training.
    """
    return {
        "default_scope": scope,
        "custom_imports": {"imports": list(imports), "allow_failed_imports": False},
        "model": model,
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": optimizer},
        "param_scheduler": list(schedule),
        "train_cfg": training_loop(iterations),
        **{f"{split}_dataloader": loader for split, loader in loaders.items()},
    }


def training_loop(iterations: int) -> Config:
    """So many iterations without validation."""
    return {"type": "IterBasedTrainLoop", "max_iters": iterations, "val_interval": NEVER}


def train_loader(dataset: Config, batch: int, **more: Any) -> Config:
    """Samples in random order without end, so that all batches are full."""
    return _loader(dataset, batch, {"type": "InfiniteSampler", "shuffle": True}, more)


def test_loader(dataset: Config, batch: int, **more: Any) -> Config:
    """Each sample once, in order."""
    return _loader(dataset, batch, {"type": "DefaultSampler", "shuffle": False}, more)


def _loader(dataset: Config, batch: int, sampler: Config, more: Config) -> Config:
    return {"batch_size": batch, "num_workers": 0, "sampler": sampler, "dataset": dataset, **more}


# -- optimisers


def sgd(lr: float, weight_decay: float, nesterov: bool = False) -> Config:
    """With momentum 0.9."""
    made: Config = {"type": "SGD", "lr": lr, "momentum": 0.9, "weight_decay": weight_decay}
    return {**made, "nesterov": True} if nesterov else made


def adam(lr: float, weight_decay: float) -> Config:
    """With weight decay in the gradient, as in the paper."""
    return {"type": "Adam", "lr": lr, "weight_decay": weight_decay, "fused": True}


def adamw(lr: float, weight_decay: float) -> Config:
    # fused: one kernel for all parameters; else a sixth of the time of a small network's step.
    return {"type": "AdamW", "lr": lr, "weight_decay": weight_decay, "fused": True}


# -- schedules, in iterations


def warm_up(end: int, factor: float) -> Config:
    """The rate grows linearly, from `factor` of it."""
    return _phase("LinearLR", 0, end, start_factor=factor)


def cosine(begin: int, end: int, ratio: float | None = None) -> Config:
    """The rate falls along a cosine to 0, or to `ratio` of what it was."""
    floor = {"eta_min": 0.0} if ratio is None else {"eta_min_ratio": ratio}
    return _phase("CosineAnnealingLR", begin, end, T_max=end - begin, **floor)


def poly(begin: int, end: int, power: float) -> Config:
    """The rate falls to 0 as the power of what is left."""
    return _phase("PolyLR", begin, end, power=power, eta_min=0.0)


def steps(milestones: Sequence[int], factor: float) -> Config:
    """The rate is multiplied by `factor` at each milestone."""
    made = {"type": "MultiStepLR", "milestones": list(milestones), "gamma": factor}
    return {**made, "by_epoch": False}


def _phase(kind: str, begin: int, end: int, **more: Any) -> Config:
    return {"type": kind, "by_epoch": False, "begin": begin, "end": end, **more}
