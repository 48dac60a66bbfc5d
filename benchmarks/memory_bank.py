"""What the T-Memory Bank adds to a training step, and the memory it holds.

    python benchmarks/memory_bank.py [--protocol ade20k:segformer-b0] [--blocks 9] [--fill 400]
        [--threads 1]

The protocol's own network, crop, tail classes and bank settings (for ADE20K 150 classes and crops of
512x512), batches of four. A picture is noise under a scene of rectangles: a common class behind, 20 patches
before it whose class is Zipf over the classes, sides from 1/32 to 1/2 of the crop. `--fill` batches first
fill the bank. Then preprocessing with the bank and without alternates with whole training steps (forward,
backward, AdamW) in one process, all on the same batches; the bank's share is its extra time over the
step's, a median over blocks.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData

from suite.define.catalog import Catalog
from suite.define.protocol import Facts
from tasks.longtail_seg import heads  # noqa: F401 - registers
from tasks.longtail_seg.recipes import base_config
from tasks.vision.data import ade20k, cityscapes, coco_stuff

# after the data sets, which keep it from printing
MODELS = importlib.import_module("mmseg.registry").MODELS
SPECS = {spec.name: spec for spec in (ade20k.SPEC, cityscapes.SPEC, coco_stuff.SPEC)}
BATCH, PATCHES = 4, 20


def batch(classes: int, height: int, width: int, draw: torch.Generator) -> dict[str, Any]:
    """Pictures and labels as a loader collates them."""
    from mmseg.structures import SegDataSample

    share = 1.0 / torch.arange(1, classes + 1)
    images, samples = [], []
    for _ in range(BATCH):
        shown = torch.multinomial(share, PATCHES + 1, replacement=True, generator=draw).tolist()
        label = torch.full((1, height, width), shown[0])
        for index in shown[1:]:
            scale = 2.0 ** -(1 + 4 * torch.rand(2, generator=draw))
            h, w = int(scale[0] * height), int(scale[1] * width)
            top = int(torch.randint(height - h, (), generator=draw))
            left = int(torch.randint(width - w, (), generator=draw))
            label[:, top : top + h, left : left + w] = index
        images.append(torch.randint(256, (3, height, width), generator=draw, dtype=torch.uint8))
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=label)))
    return {"inputs": images, "data_samples": samples}


def fresh(data: dict[str, Any]) -> dict[str, Any]:
    """The batch again: a preprocessor writes its labels into the samples."""
    return {"inputs": data["inputs"], "data_samples": [s.clone() for s in data["data_samples"]]}


def configured(protocol: str, method: str) -> tuple[Config, dict[str, Any]]:
    """The method's config under the protocol, and its parameters there."""
    catalog = Catalog.load()
    found = catalog.protocol(catalog.task("longtail-seg"), protocol)
    spec = SPECS[found.name.partition(":")[0]]
    facts = Facts(
        classes=spec.classes,
        class_counts=(1,) * len(spec.classes),
        image_counts=(1,) * len(spec.classes),
        groups={"tail": spec.tail},
        iterations=1,
        batch=BATCH,
        unit="pixels",
    )
    params = catalog.resolve(method, found, {})
    cfg = Config(base_config(found.name, {"data_root": ""}))
    init_default_scope("mmseg")
    return catalog.source(method).load().configure(cfg, facts, **params), params


def seconds(call: Callable[[dict[str, Any]], object], batches: list[dict[str, Any]]) -> float:
    """Per batch."""
    copies = [fresh(data) for data in batches]
    began = time.perf_counter()
    for data in copies:
        call(data)
    return (time.perf_counter() - began) / len(batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", default="ade20k:segformer-b0")
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--fill", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with_bank, params = configured(options.protocol, "tmb")
    without, _ = configured(options.protocol, "ce")
    bank: Any = MODELS.build(with_bank.model.data_preprocessor)
    plain: Any = MODELS.build(without.model.data_preprocessor)
    network: Any = MODELS.build({**without.model, "data_preprocessor": None})
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), 6e-5)
    classes = without.model.decode_head.num_classes
    height, width = without.model.data_preprocessor.size
    draw = torch.Generator().manual_seed(1)

    def step(data: dict[str, Any]) -> None:
        ready = plain(data, training=True)
        losses = network(ready["inputs"], ready["data_samples"], mode="loss")
        sum(v for k, v in losses.items() if "loss" in k).backward()
        optimizer.step()
        optimizer.zero_grad()

    def held() -> tuple[int, int, int]:
        """Classes and crops in the bank, and their bytes."""
        crops = [crop for slots in bank.crops.values() for crop in slots]
        size = sum(part.numel() * part.element_size() for crop in crops for part in crop)
        return len(bank.crops), len(crops), size

    def line(when: str) -> None:
        known, crops, size = held()
        full = 13 * params["memory_size"] * len(bank.tail_classes) * height * width
        print(
            f"{when}: {crops} crops of {known} of {len(bank.tail_classes)} tail classes,"
            f" {size / 2**20:.0f} MiB (if every crop were the whole picture: {full / 2**20:.0f})"
        )

    print(f"{options.protocol}, {params}, {classes} classes, {BATCH} x {height}x{width}")
    for done in range(options.fill):
        bank(batch(classes, height, width, draw), training=True)
        if done == 99:
            line("after 100 batches")
    line(f"after {options.fill} batches")
    step(batch(classes, height, width, draw))
    times: dict[str, list[float]] = {"with bank": [], "without": [], "step": []}
    for _ in range(options.blocks):
        batches = [batch(classes, height, width, draw) for _ in range(10)]
        times["with bank"].append(seconds(lambda data: bank(data, training=True), batches))
        times["without"].append(seconds(lambda data: plain(data, training=True), batches))
        times["step"].append(seconds(step, batches[:1]))
    for name, values in times.items():
        print(f"{name:<10} {1000 * statistics.median(values):8.1f} ms a batch")
    shares = [(a - b) / c for a, b, c in zip(*(times[name] for name in times), strict=True)]
    low, middle, high = min(shares), statistics.median(shares), max(shares)
    print(f"bank / step: {100 * middle:.2f} % ({100 * low:.2f}-{100 * high:.2f})")


if __name__ == "__main__":
    main()
