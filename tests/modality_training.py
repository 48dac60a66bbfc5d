"""Trainings of several modalities in this process, on a few made-up samples, by the recipe of `multimodal`."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from suite.define.catalog import Catalog
from suite.define.protocol import Facts
from suite.engine.hooks import MonitorHook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook
from suite.engine.run import SuiteRunner, resolve_config
from tasks.multimodal.recipes import Stream, multimodal
from tasks.vision.recipes.base import cosine, sgd
from tests.methods import baseline

CATALOG = Catalog.load()
CLASSES, PER_CLASS, BATCH, ITERATIONS = 3, 20, 16, 24
WIDTHS = {"image": 6, "vector": 5, "other": 4}
IMPORTS = [__name__]


@DATASETS.register_module()
class DrawnModalities(Dataset):
    """Class means in noise, of an image, a vector, and another vector; the vector says most."""

    def __init__(self, modalities, split="train", jitter=0.0):
        generator = torch.Generator().manual_seed(len(split))
        self.labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
        size = len(self.labels)
        means = {"image": (1, 4, 4), "vector": (7,), "other": (3,)}
        noise = {"image": 1.5, "vector": 0.5, "other": 1.0}
        self.inputs = {}
        for k, (name, shape) in enumerate(means.items()):
            centres = torch.randn(CLASSES, *shape, generator=torch.Generator().manual_seed(k))
            drawn = torch.randn(size, *shape, generator=generator)
            if name in modalities:
                self.inputs[name] = centres[self.labels] + noise[name] * drawn
        self.jitter = jitter
        self.metainfo = {}

    def __getitems__(self, indices):
        chosen = torch.tensor(indices)
        inputs = {name: values[chosen] for name, values in self.inputs.items()}
        return {"inputs": inputs, "label": self.labels[chosen], "index": chosen}

    def batch(self, indices, generator):
        data = self.__getitems__(indices)
        for name, values in data["inputs"].items():
            noise = torch.randn(values.shape, generator=generator)
            data["inputs"][name] = values + self.jitter * noise
        return data

    def __len__(self):
        return len(self.labels)


def base(names=("image", "vector")):
    conv = {"type": "ConvEncoder", "in_channels": 1, "widths": [4, WIDTHS["image"]]}
    encoders = {
        "image": {**conv, "strides": [1, 2]},
        "vector": {"type": "VectorEncoder", "in_features": 7, "widths": [8, WIDTHS["vector"]]},
        "other": {"type": "VectorEncoder", "in_features": 3, "widths": [WIDTHS["other"]]},
    }
    data = {"type": "DrawnModalities", "modalities": list(names)}
    made = multimodal(
        {name: Stream(encoder=encoders[name], width=WIDTHS[name]) for name in names},
        classes=CLASSES,
        train={**data, "jitter": 0.1},
        test={**data, "split": "held"},
        extra={"train": data},
        collate="whole_batch",
        imports=IMPORTS,
        batch=BATCH,
        eval_batch=25,
        iterations=ITERATIONS,
        optimizer=sgd(0.1, 5e-4),
        schedule=[cosine(0, ITERATIONS)],
    )
    # of helpers beside this one, which have it or not
    imports = made["custom_imports"]["imports"]
    made["custom_imports"]["imports"] = [n for n in imports if n != "tasks.multimodal.scores"]
    return made


def facts():
    counts = (PER_CLASS,) * CLASSES
    return Facts(
        classes=("a", "b", "c"),
        class_counts=counts,
        image_counts=counts,
        groups={},
        iterations=ITERATIONS,
        batch=BATCH,
    )


def params(method, **overrides):
    card = CATALOG.card(method)
    values = {key: param.default for key, param in card.params.items()}
    return values | card.names[method].params | overrides


def configured(method, names=("image", "vector"), **overrides):
    """The resolved config of a run of `method`."""
    module = baseline(CATALOG.source(method).path.stem)
    cfg, _ = resolve_config(
        lambda _: (base(names), facts()),
        None,
        lambda cfg, facts: module.configure(cfg, facts, **params(method, **overrides)),
        {},
        3,
    )
    return cfg


def plain(names=("image", "vector")):
    """The resolved config of the reference."""
    cfg, _ = resolve_config(lambda _: (base(names), facts()), None, lambda cfg, facts: cfg, {}, 3)
    return cfg


class Interrupted(Exception):
    pass


class InterruptHook(Hook):
    priority = "LOWEST"

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            raise Interrupted


def train(folder, cfg, cut=None, hook=None):
    """Train (or go on) in `folder` up to iteration `cut`; the runner."""
    cfg = Config(cfg.to_dict())
    name = f"{folder.name}-{cut}-{id(cfg)}"
    cfg.work_dir, cfg.experiment_name, cfg.log_level = str(folder / "work"), name, "ERROR"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name=name)
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    for key in ("test_dataloader", "test_evaluator", "test_cfg"):
        cfg.pop(key)
    runner = SuiteRunner.from_cfg(cfg)
    runner.resume_hook = resume = ResumeHook(folder / "checkpoint", 0.0)
    runner.monitor = MonitorHook()
    hooks = (runner.monitor, RestoreGeneratorsHook(resume), resume)
    for one in (*hooks, *([hook] if hook else [])):
        runner.register_hook(one)
    if cut:
        runner.register_hook(InterruptHook(cut))
        with pytest.raises(Interrupted):
            runner.train()
    else:
        runner.train()
    return runner


def state(runner):
    """All that a run has become: weights, the optimiser's state, curves, passes."""
    found = {name: value.clone() for name, value in runner.model.state_dict().items()}
    optimizer = runner.optim_wrapper.optimizer.state_dict()
    for place, kept in optimizer["state"].items():
        found |= {f"optimizer.{place}.{name}": value for name, value in kept.items()}
    found["rates"] = [group["lr"] for group in optimizer["param_groups"]]
    found["passes"] = getattr(runner.optim_wrapper, "passes_per_step", None)
    found["curves"] = runner.monitor.curves
    return found


def same(one, other):
    """Whether two states are, bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


def accuracy(runner):
    """Of the fused logits on other samples."""
    names = list(runner.model.modalities)
    data = DrawnModalities(names, "held")
    batch = runner.model.data_preprocessor(data.__getitems__(list(range(len(data)))), False)
    runner.model.eval()
    with torch.no_grad():
        logits = runner.model(batch["inputs"], batch["label"])
    return (logits.argmax(1) == batch["label"]).float().mean().item()
