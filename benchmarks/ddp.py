"""What joining the outputs of several ranks costs, on gloo ranks of this machine.

    python benchmarks/ddp.py [--ranks 2] [--block 10] [--blocks 6] [--method aucseg] [--classes 13]
        [--size 64] [--batch 8]

Every rank trains the network of protocol `quick` on random pictures, with the suite's per-iteration
agreement of ranks in all cases: with losses and batch norm over all
ranks, with the losses only, with these computed by every rank on the gathered outputs of all (the way of
losses that cannot be shared), and with plain DDP, where each rank takes the loss of its own part. Blocks of
iterations alternate in the same processes, so all see the same machine; ratios are medians over pairs of
blocks. Beside them what one process takes for the whole batch, alone on the machine.
"""

import argparse
import importlib
import os
import socket
import statistics
import time
from multiprocessing import get_context
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from torch.distributed import TCPStore

from suite.define.catalog import Catalog
from suite.define.protocol import Facts
from suite.engine import ranks
from tasks.longtail_seg.recipes import base_config
from tasks.vision.data import segmentation as datasets  # noqa: F401 - registers

importlib.import_module("mmseg.models")  # after the data sets, which keep it from printing


JOIN = "tasks.longtail_seg.ranks"


class Trainer:
    """A segmentor that takes steps on pictures of its own."""

    def __init__(self, options: argparse.Namespace, batch: int, join: str | None) -> None:
        torch.manual_seed(0)
        cfg = Config(base_config("quick", {"cache_dir": ""}))
        cfg.model.decode_head.num_classes = options.classes
        cfg.model.data_preprocessor.size = (options.size, options.size)
        facts = Facts(
            classes=tuple(map(str, range(options.classes))),
            class_counts=(1,) * options.classes,
            image_counts=(1,) * options.classes,
            groups={"tail": (options.classes - 1,)},
            iterations=1,
            batch=batch,
            unit="pixels",
        )
        params = {"bank": False} if options.method == "aucseg" else {}
        cfg = Catalog.load().source(options.method).load().configure(cfg, facts, **params)
        from mmseg.registry import MODELS

        init_default_scope("mmseg")
        self.model: Any = MODELS.build(cfg.model)
        if join == "all":
            self.model = ranks.prepared(self.model, JOIN)
        elif join is not None:
            module = importlib.import_module(JOIN)
            shares = module._share
            if join == "gathered":
                module._share = lambda loss: None
            module.join(self.model)
            module._share = shares
        self.model.train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-3, fused=True)
        if ranks.numbers(0) != [0]:
            self.model = ranks.wrapped(self.model, torch.device("cpu"), unused=False)
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(batch, 3, options.size, options.size, generator=generator)
        # blocks of one class, as labels are
        small = torch.randint(options.classes, (batch, 1, 8, 8), generator=generator)
        side = options.size // 8
        self.labels = small.repeat_interleave(side, 2).repeat_interleave(side, 3)

    def steps(self, count: int) -> float:
        """Seconds an iteration."""
        from mmseg.structures import SegDataSample

        samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in self.labels]
        began = time.perf_counter()
        for _ in range(count):
            losses = self.model(self.images, samples, mode="loss")
            sum(v for k, v in losses.items() if "loss" in k).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            ranks.agree(0)
            ranks.agree(0)
        return (time.perf_counter() - began) / count


def rank_process(rank: int, port: int, options: argparse.Namespace, answer: Any) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = TCPStore("127.0.0.1", port, options.ranks, is_master=rank == 0, wait_for_workers=False)
    ranks.connect(rank, options.ranks, store, "cpu")
    batch = options.batch // options.ranks
    both = {
        "joined": Trainer(options, batch, "all"),
        "loss only": Trainer(options, batch, "loss"),
        "gathered": Trainer(options, batch, "gathered"),
        "plain": Trainer(options, batch, None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for trainer in both.values():
        trainer.steps(3)
    for _ in range(options.blocks):
        for name, trainer in both.items():
            seconds[name].append(trainer.steps(options.block))
    began = time.perf_counter()
    for _ in range(200):
        ranks.agree(0)
    agreed = (time.perf_counter() - began) / 200
    ranks.disconnect()
    if rank == 0:
        alone = Trainer(options, options.batch, None)
        alone.steps(3)
        whole = [alone.steps(options.block) for _ in range(options.blocks)]
        answer.put((seconds, whole, agreed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("ranks", 2),
        ("block", 10),
        ("blocks", 6),
        ("classes", 13),
        ("size", 64),
        ("batch", 8),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--method", default="aucseg", choices=("aucseg", "ce"))
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("spawn")
    answer = context.SimpleQueue()
    processes = [
        context.Process(target=rank_process, args=(rank, port, options, answer))
        for rank in range(options.ranks)
    ]
    for process in processes:
        process.start()
    while answer.empty():
        if any(process.exitcode for process in processes):
            raise SystemExit("a rank failed")
        time.sleep(0.1)
    seconds, whole, agreed = answer.get()
    for process in processes:
        process.join()
    for name, values in {**seconds, "one process": whole}.items():
        print(f"{name:<12} {1000 * statistics.median(values):8.1f} ms an iteration")
    for name in ("joined", "loss only", "gathered"):
        ratios = [a / b for a, b in zip(seconds[name], seconds["plain"], strict=True)]
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        print(f"{name} / plain DDP: {middle:.2f} ({low:.2f}-{high:.2f})")
    print(f"one agreement of all ranks: {1e6 * agreed:.0f} us")


if __name__ == "__main__":
    main()
