"""Images per second of the suite's training path against a bare PyTorch loop with the same operations.

    python benchmarks/training_path.py [--threads 2] [--block 10] [--blocks 8] [--protocol r32-200]

Both train the protocol's network on random images in memory: gather, crop, flip, normalise, forward,
cross entropy, backward, SGD. The suite's side is mmengine's Runner with all hooks of a real run
(curves, NaN check, heartbeat, resume checkpoints every 60 s). Blocks of iterations alternate between
the two in one process, so that both see the same machine; the ratio is the median over pairs.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import MODELS, TRANSFORMS

from suite.define.catalog import Catalog
from suite.engine import run as engine
from suite.engine.hooks import JobHook, MonitorHook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook
from suite.engine.runner import quiet_runner
from suite.records.attempt import Attempt
from suite.records.files import Status
from suite.runs.job import Job
from tasks.vision import protocols
from tasks.vision.data import datasets
from tasks.vision.data.arrays import ImageArrays, LongTailed


class Bare:
    """The loop one would write by hand."""

    def __init__(self, cfg: Any, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels
        self.batch = cfg.train_dataloader.batch_size
        model = cfg.model.to_dict()
        self.backbone = MODELS.build(model["backbone"])
        self.fc = torch.nn.Linear(model["head"]["in_channels"], model["head"]["classes"])
        self.mean = torch.tensor(model["data_preprocessor"]["mean"]).view(1, -1, 1, 1)
        self.std = torch.tensor(model["data_preprocessor"]["std"]).view(1, -1, 1, 1)
        listed = cfg.train_dataloader.dataset.dataset.transforms
        self.transforms = [TRANSFORMS.build(dict(t)) for t in listed]
        self.generator = torch.Generator()
        parameters = [*self.backbone.parameters(), *self.fc.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=2e-4)
        self.order = torch.randperm(len(labels))
        self.at = 0
        self.backbone.train()

    def step(self) -> None:
        if self.at + self.batch > len(self.order):
            self.order, self.at = torch.randperm(len(self.order)), 0
        chosen = self.order[self.at : self.at + self.batch]
        self.at += self.batch
        images, labels = self.images[chosen], self.labels[chosen]
        for transform in self.transforms:
            images = transform(images, self.generator)
        images = images.float().sub_(self.mean).div_(self.std)
        loss = F.cross_entropy(self.fc(self.backbone(images).mean((2, 3))), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        float(loss.detach())  # what a progress bar shows


class Alternate(Hook):
    """After every block of the suite's iterations runs as many bare ones; times both."""

    priority = "LOWEST"

    def __init__(self, bare: Bare, block: int) -> None:
        self.bare, self.block = bare, block
        self.suite_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self._since = 0.0

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if (runner.iter + 1) % self.block:
            return
        now = time.perf_counter()
        if self._since:
            self.suite_seconds.append(now - self._since)
        for _ in range(self.block):
            self.bare.step()
        self._since = time.perf_counter()
        if len(self.suite_seconds) > len(self.bare_seconds):
            self.bare_seconds.append(self._since - now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--block", type=int, default=10, help="iterations")
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--protocol", default="r32-200:cifar100")
    asked = parser.parse_args()
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("longtail-cls"), asked.protocol)
    generator = np.random.default_rng(0)
    classes = len(protocol.dataset.classes)
    arrays = ImageArrays(
        images=generator.integers(0, 256, (10_847, 3, 32, 32), dtype=np.uint8),
        labels=np.arange(10_847, dtype=np.int64) % classes,
    )
    counts = tuple(np.bincount(arrays.labels).tolist())
    loaded = LongTailed(train=arrays, test=arrays, class_counts=counts, observed={}, variant=False)
    # random images in place of CIFAR's
    datasets.load = protocols.load = lambda *_: loaded
    source = catalog.source("ce")
    torch.set_num_threads(asked.threads)
    cfg, _ = engine.resolve_config(protocol.build, Path(), source.load().configure, {}, 0)
    cfg.train_cfg.max_iters = asked.block * (asked.blocks + 1)
    images = datasets.average_pool(
        torch.from_numpy(arrays.images), cfg.train_dataloader.dataset.dataset.pool
    )
    bare = Bare(cfg, images, torch.from_numpy(arrays.labels))
    with tempfile.TemporaryDirectory() as folder:
        attempt = Attempt(Path(folder), "benchmark", 1)
        spec = catalog.spec("ce", protocol)
        attempt.create(spec)
        job = Job(
            spec=spec,
            method=catalog.method(spec),
            protocol=protocol,
            attempt=attempt,
            device="cpu",
            data_root=None,
            checkpoint_seconds=60.0,
            time_limit=None,
            status=Status(state="running", digest="", started=0.0, heartbeat=0.0, owner="b"),
            report=lambda _: None,
            stopping=lambda: False,
        )
        alternate = Alternate(bare, asked.block)
        with quiet_runner(job, cfg) as runner:
            resume = ResumeHook(attempt.checkpoint_dir, 60.0)
            hooks = (MonitorHook(), RestoreGeneratorsHook(resume), resume, JobHook(job, resume))
            for hook in (*hooks, alternate):
                runner.register_hook(hook)
            runner.train()
    size = asked.block * cfg.train_dataloader.batch_size
    ratios = [b / s for s, b in zip(alternate.suite_seconds, alternate.bare_seconds, strict=True)]
    print(
        f"{protocol.name}, {asked.threads} thread(s), {len(ratios)} pairs of {asked.block} iterations"
    )
    print(f"suite {size / statistics.median(alternate.suite_seconds):.0f} images/s")
    print(f"bare  {size / statistics.median(alternate.bare_seconds):.0f} images/s")
    print(f"suite / bare {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
