"""Short trainings of several toy modalities in this process, with the suite's own runner and hooks."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, FUNCTIONS
from torch.utils.data import Dataset

from suite.define.card import resolve
from suite.define.catalog import Catalog
from suite.define.method import Method, Part
from suite.define.protocol import Facts
from suite.engine.hooks import MonitorHook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook
from suite.engine.run import SuiteRunner, resolve_config
from tasks.multimodal.recipes import Stream, multimodal
from tasks.vision.recipes.base import cosine, sgd

CATALOG = Catalog.load()
ITERATIONS, BATCH, SAMPLES, CLASSES, WIDTH = 24, 8, 40, 3, 6
NAMES = ("sound", "sight")


class Interrupted(Exception):
    pass


class InterruptHook(Hook):
    priority = "LOWEST"

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            raise Interrupted


@DATASETS.register_module(force=True)
class ToyModalities(Dataset):
    """Vectors around a centre of their class, and 4x4 images of the first modality's name; noise is drawn anew each
    time, from a generator for each modality."""

    def __init__(self, names, noise=0.3):
        made = torch.Generator().manual_seed(0)
        self.label = torch.arange(SAMPLES) % CLASSES
        self.noise = noise
        self.inputs = {}
        for name in names:
            shape = (CLASSES, 1, 4, 4) if name == NAMES[0] else (CLASSES, 5)
            centres = torch.randn(shape, generator=made)
            spread = torch.randn(SAMPLES, *shape[1:], generator=made)
            self.inputs[name] = centres[self.label] + 0.5 * spread

    def batch(self, indices, generator):
        seed = int(torch.randint(1 << 40, (), generator=generator))
        inputs = {}
        for name, values in self.inputs.items():
            own = torch.Generator().manual_seed(seed + sum(name.encode()))
            drawn = torch.randn(len(indices), *values.shape[1:], generator=own)
            inputs[name] = values[indices] + self.noise * drawn
        places = torch.tensor(indices)
        return {"inputs": inputs, "label": self.label[places], "index": places}

    def __len__(self):
        return SAMPLES


FUNCTIONS.register_module(name="toy_batch", module=lambda batch: batch, force=True)


def build(names=NAMES, iterations=ITERATIONS, lr=0.05, widths=None):
    """(root) -> config and facts of a training on toy modalities; `widths`: of the features of each."""

    def made(_=None):
        streams = {}
        for place, name in enumerate(names):
            width = WIDTH if widths is None else widths[place]
            vector = {"type": "VectorEncoder", "in_features": 5, "widths": [7, width]}
            image = {
                "type": "ConvEncoder",
                "in_channels": 1,
                "widths": [4, width],
                "strides": [1, 2],
            }
            streams[name] = Stream(encoder=image if name == NAMES[0] else vector, width=width)
        data = {"type": "ToyModalities", "names": list(names)}
        cfg = multimodal(
            streams,
            classes=CLASSES,
            train=data,
            test=data,
            extra={},
            collate="toy_batch",
            imports=[],
            batch=BATCH,
            eval_batch=SAMPLES,
            iterations=iterations,
            optimizer=sgd(lr, 5e-4),
            schedule=[cosine(0, iterations)],
        )
        # what is stored is of no matter here
        imports = cfg["custom_imports"]["imports"]
        imports[:] = [name for name in imports if not name.endswith(".scores")]
        for key in ("test_dataloader", "test_evaluator", "test_cfg", "prediction_dataloaders"):
            del cfg[key]
        counts = tuple(int((torch.arange(SAMPLES) % CLASSES == c).sum()) for c in range(CLASSES))
        return cfg, Facts(
            classes=tuple("abc"),
            class_counts=counts,
            image_counts=counts,
            groups={},
            iterations=iterations,
            batch=BATCH,
            observed={},
        )

    return made


def config(method, inputs=None, seed=0, build=build(), **overrides):
    """The config of a run of `method`, with its defaults but for `overrides`; `inputs`: role -> weights."""
    source = CATALOG.source(method)
    made = Method(method, (Part(source, resolve(source.card, method, "toy", overrides)),))

    def configure(cfg, facts):
        return made.configure(cfg, facts, inputs)

    return resolve_config(build, None, configure, {}, seed, made.modules, made.extra_budget)[0]


def runner_of(folder, cfg, seconds=1e9):
    """A runner of the config, whose checkpoints lie in `folder`, so many seconds apart at least."""
    name = f"{folder.name}-{torch.randint(10**9, ()).item()}"
    cfg.work_dir, cfg.experiment_name, cfg.log_level = str(folder / "work"), name, "ERROR"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name=name)
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    runner = SuiteRunner.from_cfg(cfg)
    runner.resume_hook = resume = ResumeHook(folder / "checkpoint", seconds)
    runner.start_from = cfg.get("start_from")
    for hook in (MonitorHook(), RestoreGeneratorsHook(resume), resume):
        runner.register_hook(hook)
    return runner


def train(folder, cfg, cut=None, hooks=()):
    """Train (or go on) in `folder`, up to iteration `cut`; the runner."""
    runner = runner_of(folder, cfg, 0.0 if cut else 1e9)
    for hook in hooks:
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


def changed(before, after):
    """Names of what differs, bit for bit."""
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}
