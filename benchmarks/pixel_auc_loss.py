"""Pixel AUC loss against cross-entropy: time and extra memory of forward + backward.

    python benchmarks/pixel_auc_loss.py [--repeats 9] [--threads 2]

Input as in an ADE20K batch: logits (2, 150, 256, 256) float32, labels constant on 16 x 16 blocks.
Times are medians over repeats that alternate between the candidates in one process. Extra memory is
a fresh process's peak resident set (VmHWM, Linux) over one forward + backward less its resident set
before, the gradient of the logits (75 MiB) included, after a warm-up on a tiny input.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor

CLASSES, BLOCK = 150, 16


def one_hot_square(logits: Tensor, label: Tensor) -> Tensor:
    """The straightforward design: flatten to P x C, one-hot labels, two matrix products."""
    classes = logits.shape[1]
    scores = logits.permute(0, 2, 3, 1).reshape(-1, classes).sigmoid()
    member = F.one_hot(label.flatten(), classes).to(scores.dtype)
    counts = member.sum(0)
    kept = counts.nonzero()[:, 0]
    mean, square = (
        ((value.t() @ member) / counts.clamp(min=1))[kept][:, kept]
        for value in (scores, scores * scores)
    )
    variance = square - mean**2
    own, own_variance = mean.diagonal()[:, None], variance.diagonal()[:, None]
    risk = (1 - own + mean) ** 2 + own_variance + variance
    pairs = len(kept) * (len(kept) - 1)
    return (risk.sum() - risk.diagonal().sum()) / pairs


def candidates() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    from baselines.segmentation.aucseg import PixelAUCLoss

    return {
        "cross_entropy": F.cross_entropy,
        "square": PixelAUCLoss(CLASSES, "square"),
        "hinge": PixelAUCLoss(CLASSES, "hinge"),
        "exp": PixelAUCLoss(CLASSES, "exp"),
        "square, softmax": PixelAUCLoss(CLASSES, "square", activation="softmax"),
        "square, one-hot": one_hot_square,
    }


def batch(side: int, random_labels: bool = False) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(2, CLASSES, side, side, requires_grad=True)
    block = 1 if random_labels else BLOCK
    label = torch.randint(CLASSES, (2, side // block, side // block))
    return logits, label.repeat_interleave(block, 1).repeat_interleave(block, 2)


def seconds(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, label: Tensor) -> float:
    logits.grad = None
    start = time.perf_counter()
    loss(logits, label).backward()
    return time.perf_counter() - start


def resident_mib(field: str) -> float:
    """VmRSS (now) or VmHWM (peak since exec; ru_maxrss would count the parent's)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def peak_growth_mib(name: str) -> float:
    """In this process, which must have done nothing else before."""
    loss = candidates()[name]
    seconds(loss, *batch(32))
    logits, label = batch(256)
    before = resident_mib("VmRSS")
    seconds(loss, logits, label)
    return resident_mib("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(f"PEAK {peak_growth_mib(args.memory_of)}")
        return

    losses = candidates()
    logits, label = batch(256)
    scattered = batch(256, random_labels=True)[1]
    times: dict[str, list[float]] = {name: [] for name in losses}
    scattered_times: dict[str, list[float]] = {name: [] for name in losses}
    for repeat in range(args.repeats + 1):
        for name, loss in losses.items():
            taken = seconds(loss, logits, label), seconds(loss, logits, scattered)
            if repeat:  # the first is the warm-up
                times[name].append(taken[0])
                scattered_times[name].append(taken[1])
    memory = {}
    for name in losses:
        command = [sys.executable, __file__, "--memory-of", name, "--threads", str(args.threads)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        memory[name] = float(output.rsplit("PEAK ", 1)[1])

    print(f"(2, 150, 256, 256) float32, {args.threads} threads, median of {args.repeats}")
    print(f"{'loss':<18}{'ms':>8}{'x CE':>7}{'random labels, x CE':>22}{'MiB':>7}{'x CE':>7}")
    base, base_scattered = (
        statistics.median(table["cross_entropy"]) for table in (times, scattered_times)
    )
    for name in losses:
        median = statistics.median(times[name])
        print(
            f"{name:<18}{median * 1e3:>8.0f}{median / base:>7.2f}"
            f"{statistics.median(scattered_times[name]) / base_scattered:>22.2f}"
            f"{memory[name]:>7.0f}{memory[name] / memory['cross_entropy']:>7.2f}"
        )


if __name__ == "__main__":
    main()
