"""Time and passes of a step on attacked batches against one of plain cross entropy.

    python benchmarks/drauc_cost.py [--threads 1] [--block 1] [--rounds 3] [--device cpu] [--protocol cifar10:r20,p10]

Trains the protocol's network (ResNet-20 of width 16, batches of 128 at 32x32) on random images with the protocol's
share of positives; no data are read. Every block of a method's steps comes after as many of cross entropy, in one
process, so that both see the same machine; a ratio is the median over pairs. `passes` is what was counted at the
backbone, (forward + backward) / 2. A pass of an attack is cheaper than one of training: no gradient of a weight is
computed, and a ratio may lie below the passes.
"""

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from suite.define.catalog import Catalog
from suite.define.protocol import Facts, Protocol
from suite.engine import run as engine

# name, method, its settings
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("AUCM", "aucm", {}),
    ("DRAUC-Df, T 10", "drauc-df", {}),
    ("DRAUC-Da, T 10", "drauc-da", {}),
    ("DRAUC-Df, T 10, last", "drauc-df", {"best": "last"}),
    ("DRAUC-Df, T 3", "drauc-df", {"T": 3}),
    ("BCE-AT, T 10", "bce-at", {}),
    ("AUCM-AT, T 10", "aucm-at", {}),
]


class Training:
    """A method's model and optimiser, stepped by hand."""

    def __init__(
        self,
        catalog: Catalog,
        protocol: Protocol,
        method: str,
        settings: dict[str, Any],
        device: str,
    ) -> None:
        made = catalog.method(catalog.spec(method, protocol, 0, settings))
        self.cfg, _ = engine.resolve_config(
            lambda _: (copy.deepcopy(dict(protocol.blank or {})), made_up_facts(protocol)),
            Path(),
            made.configure,
            {},
            0,
            made.modules,
        )
        torch.manual_seed(0)
        self.model = MODELS.build(self.cfg.model).to(device)
        self.model.train()
        self.optim = build_optim_wrapper(self.model, self.cfg.optim_wrapper)
        self.passes = made.passes
        self._device = device

    def seconds(self, batches: list[dict[str, torch.Tensor]]) -> float:
        """Of a step with each batch."""
        self._wait()
        start = time.perf_counter()
        for batch in batches:
            self.model.train_step(dict(batch), self.optim)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()

    @property
    def counted(self) -> float:
        """Passes a step, as counted where the method counts them."""
        return float(getattr(self.optim, "passes_per_step", self.passes))


def positives(protocol: Protocol) -> int:
    """Of a batch."""
    sampler: dict[str, Any] = (protocol.blank or {})["train_dataloader"]["sampler"]
    return int(sampler["positives"])


def made_up_facts(protocol: Protocol) -> Facts:
    """As many samples as a hundred batches have."""
    assert protocol.budget is not None
    rare = 100 * positives(protocol)
    counts = (100 * protocol.budget.batch - rare, rare)
    return Facts(
        classes=("negative", "positive"),
        class_counts=counts,
        image_counts=counts,
        groups={},
        iterations=protocol.budget.iterations,
        batch=protocol.budget.batch,
    )


def random_batches(training: Training, protocol: Protocol, edge: int, number: int) -> list[Any]:
    """Images of noise, the first of a batch positive."""
    generator = torch.Generator().manual_seed(0)
    size = training.cfg.train_dataloader.batch_size
    shape = (size, training.cfg.model.backbone.in_channels, edge, edge)
    label = (torch.arange(size) < positives(protocol)).float()[:, None]
    return [
        {
            "inputs": torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
            "label": label,
            "index": torch.arange(size),
        }
        for _ in range(number)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--block", type=int, default=1, help="steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--edge", type=int, default=32, help="pixels")
    parser.add_argument("--protocol", default="cifar10:r20,p10")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("robust-auc"), given.protocol)
    plain = Training(catalog, protocol, "bce", {}, given.device)
    trainings = {
        name: Training(catalog, protocol, method, settings, given.device)
        for name, method, settings in CASES
    }
    batches = random_batches(plain, protocol, given.edge, given.block)
    for training in (plain, *trainings.values()):
        training.seconds(batches)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in trainings}
    for _ in range(given.rounds):
        for name, training in trainings.items():
            pairs[name].append((plain.seconds(batches), training.seconds(batches)))
    alone = [seconds / given.block for found in pairs.values() for seconds, _ in found]
    print(
        f"{protocol.name}, batch {len(batches[0]['label'])} at {given.edge}x{given.edge}, {given.device}, "
        f"{given.threads} thread(s), {given.rounds} pairs of {given.block} step(s)"
    )
    print(f"{'BCE':22} {1000 * statistics.median(alone):.0f} ms a step")
    for name, found in pairs.items():
        ratios = [seconds / base for base, seconds in found]
        print(
            f"{name:22} {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"passes {trainings[name].counted:.2f}"
        )


if __name__ == "__main__":
    main()
