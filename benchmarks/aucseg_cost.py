"""Time and memory of a training step of AUCSeg against cross entropy, on random scenes.

    python benchmarks/aucseg_cost.py [--protocol ade20k:segnext-l] [--device cuda] [--steps 20]

The protocol's own network and crop, batches of four (`memory_bank.py` draws them), whole steps with AdamW.
Each method has a process of its own, so that a peak is its alone: on a GPU PyTorch's largest allocation, on
the CPU the kernel's high-water mark. The first two steps are not timed. AUCSeg's paper gives 13.29 G for the
baseline and 15.45 G with AUC and bank for SegNeXt-L on ADE20K.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

METHODS = ("ce", "aucseg-nobank", "aucseg")
UNTIMED = 2


def one(method: str, options: argparse.Namespace) -> None:
    import torch
    from memory_bank import MODELS, batch, configured

    from suite.engine.run import _peak_memory, _reset_peak_memory

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    cfg, _ = configured(options.protocol, method)
    model: Any = MODELS.build(cfg.model).to(options.device)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 6e-5)
    on_gpu = options.device != "cpu"
    draw = torch.Generator().manual_seed(1)
    size = cfg.model.data_preprocessor.size
    seconds = []
    for k in range(UNTIMED + options.steps):
        data = batch(cfg.model.decode_head.num_classes, *size, draw)
        if k == 1:
            _reset_peak_memory(on_gpu)
        began = time.perf_counter()
        ready = model.data_preprocessor(data, training=True)
        losses = model(**ready, mode="loss")
        sum(v for name, v in losses.items() if "loss" in name).backward()
        optimizer.step()
        optimizer.zero_grad()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds[UNTIMED:], "bytes": _peak_memory(on_gpu)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", default="ade20k:segnext-l")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one, options)
        return
    print(f"{options.protocol} on {options.device}, {options.steps} steps")
    plain: dict[str, float] = {}
    for method in METHODS:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--one", method],
            stdout=subprocess.PIPE, check=True, text=True,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        took, peak = statistics.median(found["seconds"]), found["bytes"]
        plain = plain or {"seconds": took, "bytes": peak}
        print(
            f"{method:<14} {took:8.3f} s a step ({took / plain['seconds']:.3f} of ce), "
            f"{peak / 2**30:6.2f} GiB ({(peak - plain['bytes']) / 2**30:+.2f})"
        )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
