"""Resume equals an undisturbed run bit for bit, whatever carries state."""

import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import DATA_SAMPLERS, DATASETS, LOOPS, MODELS
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import Dataset, Sampler

from suite.base.errors import UserError
from suite.engine import data  # noqa: F401 - registers the sampler and the data set wrapper
from suite.engine.hooks import MonitorHook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook, capture
from suite.engine.runner import SuiteRunner
from suite.engine.weights import load
from suite.runs.job import NonFiniteLoss

ITERATIONS = 12


class Interrupted(Exception):
    pass


@DATASETS.register_module(force=True)
class NoisyData(Dataset):
    """Augments with all three global generators."""

    def __getitem__(self, index):
        noise = np.random.rand() + random.random() + torch.rand(()).item()
        return {"x": torch.full((4,), index / 10 + noise), "y": torch.tensor(float(index % 2))}

    def __len__(self):
        return 10


@MODELS.register_module(force=True)
class TwoPart(BaseModel):
    """Two layers and a dropout; a "loss" with a buffer (a class count, say)."""

    def __init__(self, bad_at=None):
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 1)
        self.register_buffer("seen", torch.zeros(()))
        self.bad_at = bad_at

    def forward(self, x, y, mode="loss"):
        x, y = torch.stack(x), torch.stack(y)
        self.seen += x.mean().detach()
        hidden = torch.nn.functional.dropout(self.first(x), 0.5, self.training)
        loss = ((self.second(hidden).squeeze(1) - y) ** 2).mean() * (1 + 0.01 * self.seen)
        if self.bad_at is not None and self.seen > self.bad_at:
            loss = loss * float("nan")
        return {"loss": loss}


@DATA_SAMPLERS.register_module(force=True)
class MoodySampler(Sampler):
    """Draws from its own generator, and its mood is fed from outside."""

    def __init__(self, dataset, seed=None):
        self.size, self.seed, self.mood = len(dataset), seed or 0, 0

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield int(torch.randint(self.size, (), generator=generator) + self.mood) % self.size

    def state_dict(self):
        return {"mood": self.mood}

    def load_state_dict(self, state):
        self.mood = state["mood"]

    def __len__(self):
        return self.size


@LOOPS.register_module(force=True)
class AlternatingLoop(IterBasedTrainLoop):
    """Stages of `stage` iterations train the parts in turn, each with a new optimiser."""

    def __init__(self, runner, dataloader, max_iters, stage):
        super().__init__(runner, dataloader, max_iters)
        self.stage, self.part = stage, None

    def _build(self, part):
        self.part = part
        parameters = getattr(self.runner.model, part).parameters()
        self.runner.optim_wrapper = OptimWrapper(torch.optim.SGD(parameters, 0.05, momentum=0.9))

    def run_iter(self, data_batch):
        part = ("first", "second")[self._iter // self.stage % 2]
        if part != self.part:
            self._build(part)
        super().run_iter(data_batch)

    def state_dict(self):
        return {"part": self.part}

    def load_state_dict(self, state):
        self._build(state["part"])


class StatefulHook(Hook):
    """Draws before the iteration, counts after it, and feeds the sampler."""

    def __init__(self):
        self.drawn, self.count = 0.0, 0

    def before_train_iter(self, runner, *args, **kwargs):
        self.drawn += random.random() + np.random.rand()

    def after_train_iter(self, runner, *args, **kwargs):
        self.count += 1
        runner.train_dataloader.sampler.inner.mood = self.count // 3

    def state_dict(self):
        return {"drawn": self.drawn, "count": self.count}

    def load_state_dict(self, state):
        self.drawn, self.count = float(state["drawn"]), state["count"]


class InterruptHook(Hook):
    priority = "LOWEST"

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            raise Interrupted


def build(folder, name, loop, sampler="MoodySampler", workers=0, bad_at=None):
    loop = dict(loop)
    accumulate = loop.pop("accumulate", 1)
    runner = SuiteRunner(
        model=dict(type="TwoPart", bad_at=bad_at),
        work_dir=str(folder / "work"),
        train_dataloader=dict(
            batch_size=3,
            num_workers=workers,
            sampler=dict(type="PositionSampler", sampler=dict(type=sampler)),
            dataset=dict(type="SeededDataset", dataset=dict(type="NoisyData"), seed=5),
        ),
        train_cfg=loop,
        optim_wrapper=dict(
            type="OptimWrapper",
            optimizer=dict(type="SGD", lr=0.05, momentum=0.9),
            accumulative_counts=accumulate,
        ),
        param_scheduler=dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=ITERATIONS),
        default_hooks=dict(runtime_info=None, timer=None, logger=None, checkpoint=None),
        visualizer=dict(type="Visualizer", vis_backends=[], name=name),
        randomness=dict(seed=5),
        log_level="ERROR",
        experiment_name=name,
    )
    resume = ResumeHook(folder / "checkpoint", 0.0)
    runner.resume_hook = resume
    hooks = [MonitorHook(), RestoreGeneratorsHook(resume), resume, StatefulHook()]
    for hook in hooks:
        runner.register_hook(hook)
    return runner, hooks


def outcome(runner, hooks):
    monitor, _, _, stateful = hooks
    weights = {key: value.clone() for key, value in runner.model.state_dict().items()}
    return weights, monitor.curves, stateful.drawn, stateful.count


def assert_equal(one, other):
    assert one[0].keys() == other[0].keys()
    for key in one[0]:
        assert torch.equal(one[0][key], other[0][key]), key
    assert one[1:] == other[1:]


LOOP_KINDS = {
    "plain": dict(type="IterBasedTrainLoop", max_iters=ITERATIONS, val_interval=10**9),
    "accumulating": dict(type="IterBasedTrainLoop", max_iters=ITERATIONS, accumulate=3),
    "alternating": dict(type="AlternatingLoop", max_iters=ITERATIONS, stage=4),
}


@pytest.mark.parametrize("kind", LOOP_KINDS)
def test_resume_at_every_iteration_equals_the_undisturbed_run(tmp_path, kind):
    loop = LOOP_KINDS[kind]
    runner, hooks = build(tmp_path / "calm", f"{kind}-calm", loop)
    runner.train()
    calm = outcome(runner, hooks)
    # 4 and 8 are the alternating loop's stage boundaries
    for at in range(1, ITERATIONS):
        folder = tmp_path / f"cut-{at}"
        runner, hooks = build(folder, f"{kind}-{at}-a", loop)
        runner.register_hook(InterruptHook(at))
        with pytest.raises(Interrupted):
            runner.train()
        # another run in between leaves all global generators elsewhere
        torch.rand(17), np.random.rand(3), random.random()
        runner, hooks = build(folder, f"{kind}-{at}-b", loop)
        runner.train()
        assert_equal(outcome(runner, hooks), calm)


def test_samples_do_not_depend_on_data_workers(tmp_path):
    results = []
    for workers in (0, 2):
        loop = LOOP_KINDS["plain"]
        runner, hooks = build(
            tmp_path / str(workers), f"workers-{workers}", loop, "InfiniteSampler", workers
        )
        hooks[-1].after_train_iter = lambda *_, **__: None  # no feedback: prefetching runs ahead
        runner.train()
        results.append(outcome(runner, hooks))
    assert_equal(*results)


def test_two_checkpoints_are_kept_and_a_damaged_one_falls_back(tmp_path):
    loop = LOOP_KINDS["plain"]
    runner, hooks = build(tmp_path / "calm", "fall-calm", loop)
    runner.train()
    calm = outcome(runner, hooks)
    runner, _ = build(tmp_path, "fall-a", loop)
    runner.register_hook(InterruptHook(7))
    with pytest.raises(Interrupted):
        runner.train()
    files = sorted((tmp_path / "checkpoint").iterdir())
    assert [file.name for file in files] == ["6.pth", "7.pth"]
    files[1].write_bytes(files[1].read_bytes()[:1000])
    runner, hooks = build(tmp_path, "fall-b", loop)
    runner.train()
    assert_equal(outcome(runner, hooks), calm)


def test_state_that_could_not_be_loaded_is_refused_at_the_first_save(tmp_path):
    runner, hooks = build(tmp_path, "plain-state", LOOP_KINDS["plain"])
    hooks[-1].state_dict = lambda: {"path": tmp_path}
    with pytest.raises(
        TypeError, match=r"hook/StatefulHook/0 \(StatefulHook\)\['path'\] is a Posix"
    ):
        runner.train()


def test_nan_is_found_at_its_exact_iteration_and_not_checkpointed(tmp_path):
    runner, hooks = build(tmp_path, "nan-calm", LOOP_KINDS["plain"])
    seen = []
    hooks[-1].after_train_iter = lambda runner, *_, **__: seen.append(float(runner.model.seen))
    runner.train()
    runner, hooks = build(tmp_path / "bad", "nan", LOOP_KINDS["plain"], bad_at=seen[4] - 1e-4)
    hooks[-1].after_train_iter = lambda *_, **__: None
    with pytest.raises(NonFiniteLoss) as error:
        runner.train()
    assert error.value.step == 5
    newest = max((tmp_path / "bad/checkpoint").iterdir(), key=lambda path: int(path.stem))
    assert newest.name == "4.pth"


def test_checkpoints_hold_plain_data_only(tmp_path):
    runner, _ = build(tmp_path, "plain-data", LOOP_KINDS["alternating"])
    runner.train()
    state = load(tmp_path / "checkpoint" / f"{ITERATIONS}.pth")
    assert state["iter"] == ITERATIONS
    assert set(state) == set(capture(runner))


class Payload:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_holds_code_is_not_loaded(tmp_path, capsys):
    torch.save({"w": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="holds more than tensors"):
        load(tmp_path / "evil.pth")
    assert "executed" not in capsys.readouterr().out
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(UserError, match="damaged"):
        load(tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match="no such weights file"):
        load(tmp_path / "none.pth")


def test_a_method_may_draw_though_no_figure_is_made_before():
    from suite.engine.runner import LateVisualizer

    made = LateVisualizer.get_instance("drawn")
    try:
        assert made.ax_save is None
        made.add_scalar("loss", 1.0)
        made.set_image(np.full((40, 60, 3), 200, np.uint8))
        made.draw_bboxes(np.array([[5, 5, 20, 20]]))
        image = made.get_image()
        assert image.shape == (40, 60, 3)
        assert (image[30:] == 200).all() and (image[:25] != 200).any()
    finally:
        LateVisualizer._instance_dict.pop("drawn")
