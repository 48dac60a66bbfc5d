"""Streaming pixel AUC against exact sorting: time, error, reported bound, memory.

    python benchmarks/pixel_auc_metric.py [--pixels 10_000_000] [--classes 19] [--repeats 3]

Softmax scores of long-tailed classes at three temperatures (near-uniform, soft, confident), fed in
batches of 500,000 pixels; CPU seconds of one thread. The exact side sorts each channel once within
each class (numpy's sort) and merges the sorted lists, ties 1/2. Repeats alternate; medians are
printed.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from tasks.longtail_seg.pixel_auc import PixelAUC, PixelAUCResult

BATCH = 500_000


def exact(scores: np.ndarray, label: np.ndarray) -> float:
    """Mean over ordered class pairs by sorting."""
    members = [np.flatnonzero(label == index) for index in range(len(scores))]
    values = []
    for i, channel in enumerate(scores):
        lists = [np.sort(channel[member]) for member in members]
        for j, other in enumerate(lists):
            if i != j and len(other) and len(lists[i]):
                below = np.searchsorted(other, lists[i], "left").mean()
                upto = np.searchsorted(other, lists[i], "right").mean()
                values.append((below + upto) / 2 / len(other))
    return float(np.mean(values))


def streamed(scores: torch.Tensor, label: torch.Tensor) -> tuple[PixelAUC, PixelAUCResult]:
    metric = PixelAUC(len(scores))
    for start in range(0, label.numel(), BATCH):
        metric.update(scores[:, start : start + BATCH], label[start : start + BATCH])
    return metric, metric.compute()


def pixels(classes: int, count: int, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax scores (C, P); class frequencies fall like 1 / rank^1.5."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.arange(1, classes + 1) ** -1.5
    label = torch.multinomial(frequency, count, True, generator=generator)
    logits = torch.randn(classes, count, generator=generator)
    logits[label, torch.arange(count)] += 1.5
    return logits.mul_(temperature).softmax(0), label


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pixels", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{args.pixels:,} pixels, {args.classes} classes, 1 thread, median of {args.repeats}")
    header = ("scores", "exact s", "stream s", "faster", "bound", "error", "counts MB")
    print("".join(f"{name:>12}" for name in header))
    for name, temperature in (("uniform", 0.02), ("soft", 1.0), ("confident", 20.0)):
        scores, label = pixels(args.classes, args.pixels, temperature)
        streamed(scores[:, :BATCH], label[:BATCH])  # warm-up
        taken: dict[str, list[float]] = {"exact": [], "stream": []}
        for _ in range(args.repeats):
            start = time.process_time()
            truth = exact(scores.numpy(), label.numpy())
            middle = time.process_time()
            metric, result = streamed(scores, label)
            taken["exact"].append(middle - start)
            taken["stream"].append(time.process_time() - middle)
        slow, fast = (statistics.median(values) for values in taken.values())
        size = metric.counts_bytes / 1e6
        print(
            f"{name:>12}{slow:>12.2f}{fast:>12.2f}{slow / fast:>12.1f}"
            f"{result.error_bound:>12.1e}{abs(result.value - truth):>12.1e}{size:>12.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
