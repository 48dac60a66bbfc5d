"""Losses of several labels a sample against binary cross entropy: time and extra memory of forward + backward.

    python benchmarks/multilabel_losses.py [--labels 10000] [--repeats 15] [--threads 1]

Input: logits (64, L) float32 and 5 to 30 relevant labels a row. Times are CPU time, medians over repeats in which
the losses take turns, in random order, in one process; the ratio is the median of a repeat's ratio to `bce`. Extra
memory is a fresh process's peak resident set (VmHWM, Linux) over one forward + backward less its resident set before,
after a warm-up on a small input; the gradient of the logits is part of it.
"""

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

BATCH, FEW, MANY, K = 64, 5, 30, 5
Loss = Callable[[Tensor, Tensor], Tensor]


def candidates(labels: int) -> dict[str, Loss]:
    """Method -> its loss with the card's defaults, and K of the protocol 5."""
    from baselines.multilabel.asl import AsymmetricLoss
    from baselines.multilabel.db import DistributionBalancedLoss
    from baselines.multilabel.lsep import LSEPLoss
    from baselines.multilabel.pairwise import PairwiseRankingLoss
    from baselines.multilabel.tkml import TKMLLoss
    from baselines.multilabel.tkpr import TKPRLoss
    from baselines.multilabel.warp import WARPLoss
    from baselines.multilabel.zlpr import ZLPRLoss
    from baselines.shared.focal_bce import LabelFocalLoss
    from tasks.vision.networks.labels import BinaryCrossEntropy

    return {
        "bce": BinaryCrossEntropy(),
        "focal-bce": LabelFocalLoss(2.0),
        "asl": AsymmetricLoss(),
        "db": DistributionBalancedLoss(range(1, labels + 1), 2 * labels),
        "lsep": LSEPLoss(),
        "zlpr": ZLPRLoss(),
        "tkml": TKMLLoss(K),
        "rank-u4": PairwiseRankingLoss("n+n-"),
        "rank-u4 hinge": PairwiseRankingLoss("n+n-", "hinge"),
        "warp": WARPLoss(),
        "tkpr-sq": TKPRLoss("square", K, "sigmoid"),
        "tkpr-exp": TKPRLoss("exp", K),
        "tkpr-log": TKPRLoss("logistic", K, alpha="one"),
        "tkpr-hinge": TKPRLoss("hinge", K),
        "tkpr-log all, softmax": TKPRLoss("logistic", K, "softmax", list="all"),
    }


def batch(labels: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(BATCH, labels, generator=generator).requires_grad_()
    targets = torch.zeros(BATCH, labels)
    for row in targets:
        number = int(torch.randint(FEW, MANY + 1, (), generator=generator))
        row[torch.randperm(labels, generator=generator)[:number]] = 1
    return scores, targets


def seconds(loss: Loss, scores: Tensor, targets: Tensor) -> float:
    scores.grad = None
    start = time.process_time()
    loss(scores, targets).backward()
    return time.process_time() - start


def resident_mib(field: str) -> float:
    """VmRSS (now) or VmHWM (peak since exec; ru_maxrss would count the parent's)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def peak_growth_mib(name: str, labels: int) -> float:
    """In this process, which must have done nothing else before."""
    seconds(candidates(100)[name], *batch(100))
    loss, (scores, targets) = candidates(labels)[name], batch(labels)
    before = resident_mib("VmRSS")
    seconds(loss, scores, targets)
    return resident_mib("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--labels", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(f"PEAK {peak_growth_mib(args.memory_of, args.labels)}")
        return

    losses, (scores, targets) = candidates(args.labels), batch(args.labels)
    times: dict[str, list[float]] = {name: [] for name in losses}
    order = list(losses)
    for repeat in range(args.repeats + 1):
        # another order each time: what ran before leaves caches and an allocator behind
        random.Random(repeat).shuffle(order)
        for name in order:
            taken = seconds(losses[name], scores, targets)
            if repeat:  # the first is the warm-up
                times[name].append(taken)
    print(
        f"({BATCH}, {args.labels}) float32, {int(targets.sum())} relevant labels, {args.threads} thread(s)"
    )
    print(f"{'loss':<24}{'ms':>8}{'x bce':>8}{'least':>8}{'most':>8}{'MiB':>8}")
    for name, taken in times.items():
        ratios = [one / base for one, base in zip(taken, times["bce"], strict=True)]
        command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), __file__]
        command += ["--memory-of", name, "--labels", str(args.labels)]
        command += ["--threads", str(args.threads)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        memory = float(output.rsplit("PEAK ", 1)[1])
        print(
            f"{name:<24}{statistics.median(taken) * 1e3:>8.1f}{statistics.median(ratios):>8.2f}"
            f"{min(ratios):>8.2f}{max(ratios):>8.2f}{memory:>8.0f}"
        )


if __name__ == "__main__":
    main()
