"""Time and passes of a step of every method for several modalities, against one of concatenation.

    python benchmarks/multimodal_cost.py [--threads 1] [--device cpu] [--protocol quick] [--data-root DIR] [--share 1]

Trains the protocol's networks on its own training samples, each method over its whole course: what is done once a pass
over the samples, in one stage alone, or at the beginning falls where it falls in a run. Every block of a method's steps
comes after as many of `concat`, in one process, so that both see the same machine; batches are made before. `whole` is the
ratio of the two sums, of which a run is made; `block` the median of the blocks' ratios, with the range of their middle
half. `passes` is what was counted at the encoders where the method counts, else what its card says, in brackets.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, FUNCTIONS, MODELS

from suite.define.catalog import Catalog
from suite.define.data import find_data
from suite.define.protocol import Protocol
from suite.engine import run as engine
from suite.engine import weights
from suite.engine.data import mixed_seed

TASK = "multimodal"


class Training:
    """A method's model and optimiser, stepped by hand as a run steps them."""

    def __init__(
        self,
        catalog: Catalog,
        protocol: Protocol,
        data: Path,
        method: str,
        inputs: Mapping[str, Path],
        device: str,
    ) -> None:
        made = catalog.method(catalog.spec(method, protocol, 0, {}))
        self.cfg, self.facts = engine.resolve_config(
            protocol.build,
            data,
            lambda cfg, facts: made.configure(cfg, facts, inputs),
            {},
            0,
            made.modules,
            extra_budget=made.extra_budget,
            fixed=protocol.fixed,
        )
        torch.manual_seed(0)
        self.model = MODELS.build(copy.deepcopy(self.cfg.model)).to(device)
        self.model.train()
        self.optim = build_optim_wrapper(self.model, copy.deepcopy(self.cfg.optim_wrapper))
        self.nominal = made.passes
        self._device = device
        self._told = [m for m in self.model.modules() if callable(getattr(m, "set_progress", None))]

    def seconds(self, batches: list[dict[str, Any]], first: int) -> float:
        """Of a step with each batch, from iteration `first` on."""
        self._wait()
        start = time.perf_counter()
        for step, batch in enumerate(batches, first):
            for module in self._told:
                module.set_progress(min(step, self.facts.iterations - 1) / self.facts.iterations)
            self.model.train_step({**batch, "inputs": dict(batch["inputs"])}, self.optim)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()

    @property
    def passes(self) -> str:
        """Passes a step."""
        counted = getattr(self.optim, "passes_per_step", None)
        return f"({self.nominal:g})" if counted is None else f"{counted:.2f}"


def batches_of(training: Training, number: int) -> list[dict[str, Any]]:
    """Batches of training samples, augmented as in a run."""
    dataset = DATASETS.build(copy.deepcopy(training.cfg.train_dataloader.dataset)).inner
    collate = FUNCTIONS.get(training.cfg.train_dataloader.collate_fn.type)
    generator = torch.Generator().manual_seed(0)
    made = []
    for step in range(number):
        drawn = torch.randint(len(dataset), (training.facts.batch,), generator=generator).tolist()
        own = torch.Generator().manual_seed(mixed_seed(0, step))
        if hasattr(dataset, "batch"):
            made.append(dataset.batch(drawn, own))
        else:
            made.append(collate([dataset[place] for place in drawn]))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--protocol", default="quick")
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--share", type=float, default=1.0, help="of the training, from its start")
    parser.add_argument("--block", type=int, default=10, help="steps")
    parser.add_argument("--methods", default=None, help="comma-separated; all of the task")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    # parameter groups are announced one by one
    MMLogger.get_instance("multimodal-cost", log_level="WARNING")
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task(TASK), given.protocol)
    data = find_data(protocol, given.data_root)
    names = given.methods.split(",") if given.methods else catalog.methods(TASK)
    print(f"{'method':20} {'whole':>6}  {'block':>6} {'middle half':>14}  passes", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder)
        alone = []
        for name in names:
            if name == "concat":
                continue
            plain = Training(catalog, protocol, data, "concat", {}, given.device)
            inputs = stand_ins(catalog, protocol, data, name, kept, given.device)
            training = Training(catalog, protocol, data, name, inputs, given.device)
            blocks = max(1, round(given.share * plain.facts.iterations / given.block))
            batches = batches_of(plain, 4 * given.block)
            # what is loaded, compiled or allocated once
            plain.seconds(batches[:2], 0)
            pairs = []
            for block in range(blocks):
                at = block * given.block
                some = [batches[(at + k) % len(batches)] for k in range(given.block)]
                pairs.append((plain.seconds(some, at), training.seconds(some, at)))
            alone += [base / given.block for base, _ in pairs]
            ratios = sorted(seconds / base for base, seconds in pairs)
            whole = sum(seconds for _, seconds in pairs) / sum(base for base, _ in pairs)
            quarter = len(ratios) // 4
            print(
                f"{name:20} {whole:6.2f}  {statistics.median(ratios):6.2f} "
                f"{ratios[quarter]:6.2f} to {ratios[-1 - quarter]:.2f}  {training.passes}",
                flush=True,
            )
    print(
        f"{protocol.name}, {given.device}, {given.threads} thread(s), blocks of {given.block} step(s): a step of concat took "
        f"{1000 * statistics.median(alone):.1f} ms"
    )


def stand_ins(
    catalog: Catalog, protocol: Protocol, data: Path, method: str, folder: Path, device: str
) -> dict[str, Path]:
    """For every input run of the method, weights of a model of that kind, as it starts."""
    found = {}
    for role, other in catalog.card(method).needs.inputs.items():
        path = folder / f"{other}.safetensors"
        if not path.exists():
            model = Training(catalog, protocol, data, other, {}, device).model
            weights.save(weights.model_weights(model), path)
        found[role] = path
    return found


if __name__ == "__main__":
    main()
