"""Trainings of `longtail-cls` in this process, of the `smoke` protocol."""

import pytest
import torch
from mmengine.hooks import Hook

from suite.define.catalog import Catalog
from suite.engine.hooks import MonitorHook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook
from suite.engine.run import SuiteRunner, resolve_config

CATALOG = Catalog.load()
TASK = CATALOG.task("longtail-cls")
SMOKE = CATALOG.protocol(TASK, "smoke")
ITERATIONS = 22  # of smoke


class Interrupted(Exception):
    pass


class InterruptHook(Hook):
    priority = "LOWEST"

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            raise Interrupted


def config(method, change=None, overrides=None):
    made = CATALOG.method(CATALOG.spec(method, SMOKE, 0, overrides))
    cfg, _ = resolve_config(SMOKE.build, None, made.configure, {}, 0, made.modules)
    if change:
        change(cfg)
    return cfg


def train(folder, method, cut=None, change=None, overrides=None):
    """Train (or go on) in `folder` up to iteration `cut`; the runner."""
    cfg = config(method, change, overrides)
    name = f"{folder.name}-{method}-{cut}-{torch.randint(10**9, ()).item()}"
    cfg.work_dir, cfg.experiment_name, cfg.log_level = str(folder / "work"), name, "ERROR"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name=name)
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    runner = SuiteRunner.from_cfg(cfg)
    runner.resume_hook = resume = ResumeHook(folder / "checkpoint", 0.0)
    for hook in (MonitorHook(), RestoreGeneratorsHook(resume), resume):
        runner.register_hook(hook)
    if cut:
        runner.register_hook(InterruptHook(cut))
        with pytest.raises(Interrupted):
            runner.train()
    else:
        runner.train()
    return runner


def state(runner):
    return {key: value.clone() for key, value in runner.model.state_dict().items()}
