"""Trainings of `neural-collapse`: what is tracked, frames that stay or turn, and resuming in the middle."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from suite.define.catalog import Catalog
from suite.engine.hooks import MonitorHook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook
from suite.engine.run import SuiteRunner, resolve_config
from tasks.neural_collapse.course import points
from tasks.vision.geometry.hook import CollapseHook, TrackHook

CATALOG = Catalog.load()
TASK = CATALOG.task("neural-collapse")
SMOKE = TASK.protocols["smoke"]
ITERATIONS = 12


class Interrupted(Exception):
    pass


class InterruptHook(Hook):
    priority = "LOWEST"

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            raise Interrupted


def train(folder, method, cut=None, protocol=SMOKE, **overrides):
    """Train (or go on) in `folder` up to iteration `cut`; the runner."""
    made = CATALOG.method(CATALOG.spec(method, protocol, 0, overrides))
    cfg, _ = resolve_config(protocol.build, Path("unused"), made.configure, {}, 0, made.modules)
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


def tracked(runner):
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, TrackHook))
    return hook.metric_rows()


def test_a_guided_frame_resumes_within_its_epoch(tmp_path):
    calm = train(tmp_path / "calm", "guided-etf")
    wanted, rows = state(calm), tracked(calm)
    canonical = train(tmp_path / "first", "guided-etf", 5)
    assert not torch.equal(state(canonical)["head.frame"], wanted["head.frame"])
    for cut in (4, 6, 9):
        folder = tmp_path / f"cut-{cut}"
        train(folder, "guided-etf", cut)
        again = train(folder, "guided-etf")
        found = state(again)
        assert all(torch.equal(wanted[key], found[key]) for key in wanted), cut
        assert tracked(again) == rows


def test_a_frame_stays_through_a_training(tmp_path):
    begun = state(train(tmp_path / "one", "etf-dr", 1, rotation=3, lengths="batch"))
    ended = state(train(tmp_path / "one", "etf-dr", rotation=3, lengths="batch"))
    assert torch.equal(begun["head.frame"], ended["head.frame"])
    assert not torch.equal(begun["head.projection.weight"], ended["head.projection.weight"])


def test_the_last_point_is_the_final_model(tmp_path):
    runner = train(tmp_path, "etf")
    rows = tracked(runner)
    assert {row.step for row in rows} == {3, 6, 9, ITERATIONS}
    assert {row.source for row in rows} == {"hook"}
    course = points(rows)
    assert [point.share for point in course] == [0.25, 0.5, 0.75, 1]
    for split in ("train", "test"):
        hook = CollapseHook(split)
        hook.after_train(runner)
        arrays = hook.arrays()
        share = arrays["correct"].sum() / arrays["counts"].sum()
        assert getattr(course[-1], split) == pytest.approx(share)


def test_a_carved_training_tracks_its_own_part(tmp_path):
    runner = train(tmp_path, "nc-ce", protocol=TASK.protocols["smoke:carved"])
    hook = CollapseHook("train")
    hook.after_train(runner)
    assert hook.arrays()["counts"].tolist() == [24] * 10
