"""Time of a step of sharpness-aware training against one of plain cross entropy.

    python benchmarks/sharpness_aware.py [--threads 1] [--block 2] [--rounds 5] [--protocol r32-200]

Trains the protocol's network on random images whose labels are drawn from its training distribution.
Every block of a method's steps comes after as many of CE, in one process, so that both see the same
machine; a ratio is the median over pairs. `passes` is what the method counted, (forward + backward) / 2;
a backward pass takes twice as long as a forward, so that a method with more of them has a ratio somewhat
above. SSE-SAM is timed in both of its stages, and where it applies with `group_batches`.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.engine import run as engine
from tasks.vision import protocols
from tasks.vision.data.arrays import ImageArrays, LongTailed
from tasks.vision.data.sources import Source

# name, method, its settings, share of the training that is through
CASES: list[tuple[str, str, dict[str, Any], float]] = [
    ("SAM", "sam", {}, 0.0),
    ("ImbSAM", "imb-sam", {}, 0.0),
    ("ImbSAM, group batches", "imb-sam", {"group_batches": True}, 0.0),
    ("Focal-SAM", "focal-sam", {}, 0.0),
    ("SSE-SAM, stage 1", "sse-sam", {}, 0.0),
    ("SSE-SAM, stage 1, group batches", "sse-sam", {"group_batches": True}, 0.0),
    ("SSE-SAM, stage 2", "sse-sam", {}, 0.9),
    ("SSE-SAM, stage 2, group batches", "sse-sam", {"group_batches": True}, 0.9),
]


class Training:
    """A method's model and optimiser, stepped by hand."""

    def __init__(
        self,
        catalog: Catalog,
        protocol: Protocol,
        method: str,
        settings: dict[str, Any],
        done: float,
    ) -> None:
        made = catalog.method(catalog.spec(method, protocol, 0, settings))
        self.cfg, self.facts = engine.resolve_config(
            protocol.build, Path(), made.configure, {}, 0, made.modules, made.extra_budget
        )
        torch.manual_seed(0)
        self.model = MODELS.build(self.cfg.model)
        self.model.train()
        self.optim = build_optim_wrapper(self.model, self.cfg.optim_wrapper)
        if method != "ce":
            self.model.set_progress(done)

    def seconds(self, batches: list[dict[str, torch.Tensor]]) -> float:
        """Of a step with each batch."""
        start = time.perf_counter()
        for batch in batches:
            self.model.train_step(dict(batch), self.optim)
        return time.perf_counter() - start


def no_images(source: Source, _: Path) -> LongTailed:
    """The counts of a data set without the data."""
    empty = ImageArrays(np.zeros((0, 3, 32, 32), np.uint8), np.zeros(0, np.int64))
    return LongTailed(
        train=empty, test=empty, class_counts=source.counts, observed={}, variant=False
    )


def random_batches(training: Training, number: int) -> list[dict[str, torch.Tensor]]:
    """Images of noise, labels of the training distribution."""
    generator = np.random.default_rng(0)
    counts = np.array(training.facts.class_counts)
    size = training.cfg.train_dataloader.batch_size
    shape = (size, len(training.cfg.model.data_preprocessor.mean), 32, 32)
    return [
        {
            "inputs": torch.from_numpy(generator.integers(0, 256, shape, dtype=np.uint8)),
            "label": torch.from_numpy(generator.choice(len(counts), size, p=counts / counts.sum())),
        }
        for _ in range(number)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--block", type=int, default=2, help="steps")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--protocol", default="r32-200:cifar100")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    protocols.load = no_images
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("longtail-cls"), given.protocol)
    plain = Training(catalog, protocol, "ce", {}, 0.0)
    trainings = {
        name: Training(catalog, protocol, method, settings, done)
        for name, method, settings, done in CASES
    }
    batches = random_batches(plain, given.block)
    for training in (plain, *trainings.values()):
        training.seconds(batches)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in trainings}
    for _ in range(given.rounds):
        for name, training in trainings.items():
            pairs[name].append((plain.seconds(batches), training.seconds(batches)))
    alone = [seconds / given.block for found in pairs.values() for seconds, _ in found]
    print(
        f"{protocol.name}, {given.threads} thread(s), {given.rounds} pairs of {given.block} steps"
    )
    print(f"{'CE':34} {1000 * statistics.median(alone):.0f} ms a step")
    for name, found in pairs.items():
        ratios = [seconds / base for base, seconds in found]
        print(
            f"{name:34} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"passes {trainings[name].optim.passes_per_step:.2f}"
        )


if __name__ == "__main__":
    main()
