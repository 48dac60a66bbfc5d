"""mmengine's Runner as the suite uses it: exact resume, several ranks, nothing printed or left behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_dist_info
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from suite.engine import ranks, weights
from suite.engine.resume import ResumeHook, bare_model
from suite.runs.job import Job


class LateVisualizer(Visualizer):
    """mmengine's visualizer without backends, which makes its figure once a method draws something: to
    import matplotlib takes a third of a second."""

    ax_save: Any

    def _initialize_fig(self, fig_cfg: dict[str, Any]) -> tuple[Any, Any, Any]:
        return None, SimpleNamespace(get_dpi=lambda: None), None

    def set_image(self, image: Any) -> None:
        if self.ax_save is None:
            self.fig_save_canvas, self.fig_save, self.ax_save = super()._initialize_fig(
                self.fig_save_cfg
            )
            self.dpi = self.fig_save.get_dpi()
        super().set_image(image)


class SuiteRunner(Runner):
    """mmengine's Runner with the suite's resume, without the environment dump (ours is the record's)."""

    resume_hook: ResumeHook | None = None
    start_from: Mapping[str, Any] | None = None
    _has_loaded: bool

    def build_model(self, model: Any) -> torch.nn.Module:
        rank, number = get_dist_info()
        if number > 1:
            # what a rank draws for itself; weights come from rank 0
            ranks.own_generators(self.seed, rank)
        built: torch.nn.Module = super().build_model(model)
        return ranks.prepared(built, self.cfg.join) if number > 1 else built

    def wrap_model(self, model_wrapper_cfg: Any, model: torch.nn.Module) -> torch.nn.Module:
        if get_dist_info()[1] == 1:
            wrapped: torch.nn.Module = super().wrap_model(model_wrapper_cfg, model)
            return wrapped
        unused = bool(self.cfg.get("find_unused_parameters", False))
        return ranks.wrapped(model, torch.device(get_device()), unused)

    def load_or_resume(self) -> None:
        # called after the initial weights are drawn and before the loop starts
        if self.resume_hook is not None and not self._has_loaded:
            self._has_loaded = self.resume_hook.load(self)
        if self.start_from is not None and not self._has_loaded:
            path, skip = Path(self.start_from["weights"]), self.start_from.get("skip", ())
            weights.restore(bare_model(self), path, skip)
            self._has_loaded = True

    def build_visualizer(self, visualizer: Any = None) -> LateVisualizer:
        return cast(LateVisualizer, LateVisualizer.get_instance(self.experiment_name))

    def _log_env(self, env_cfg: Any) -> None:
        pass

    def dump_config(self) -> None:
        """Nothing: formatting a config takes as long as a smoke run; the verb `config` writes it."""


@contextlib.contextmanager
def quiet_runner(job: Job, cfg: Config) -> Iterator[SuiteRunner]:
    """A quiet runner whose files lie in the checkpoint folder; global instances are dropped after."""
    name = f"{job.spec.run_id}-{job.attempt.number}-{time.monotonic_ns()}"
    cfg.work_dir = str(job.attempt.checkpoint_dir / "mmengine")
    cfg.experiment_name = name
    cfg.log_level = "WARNING"
    cfg.default_hooks = dict(
        runtime_info=None,
        timer=None,
        logger=None,
        checkpoint=None,
        param_scheduler=dict(type="ParamSchedulerHook"),
        sampler_seed=dict(type="DistSamplerSeedHook"),
    )
    try:
        yield SuiteRunner.from_cfg(cfg)
    finally:
        # mmengine keeps these for ever; a worker runs hundreds of runs
        for kind in (MMLogger, MessageHub, LateVisualizer, DefaultScope):
            for key in [key for key in kind._instance_dict if str(key).startswith(name)]:
                kind._instance_dict.pop(key)
