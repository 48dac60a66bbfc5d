"""Time and memory of all measures of neural collapse, against a loop over samples as released codes have it.

    OMP_NUM_THREADS=2 python benchmarks/collapse_measures.py [--samples 50000] [--dimensions 512] [--classes 100]

Gaussian features (float32) of classes of unequal size, with a classifier. Each side has a process of its own, so
that a peak is its alone (the kernel's high-water mark, with interpreter, libraries and features), and the two
take turns. `ours` goes from features to every metric row; the loop adds up the within-class scatter alone, one
outer product (D, D) a sample, over the first `--looped` samples, and its time is scaled up to all. Both give the
scatter's trace over those samples, which has to agree. Wall time is what a user waits for; processor time is what a busy
machine does not inflate.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from tasks.vision.geometry.rows import rows
from tasks.vision.geometry.stored import accumulate

SIDES = ("ours", "loop")


def drawn(options: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    draw = np.random.default_rng(0)
    label = draw.integers(0, options.classes, options.samples)
    label[: options.classes] = np.arange(options.classes)
    means = draw.standard_normal((options.classes, options.dimensions), dtype=np.float32)
    features = draw.standard_normal((options.samples, options.dimensions), dtype=np.float32)
    features *= 0.3
    for start in range(0, options.samples, 1000):
        features[start : start + 1000] += means[label[start : start + 1000]]
    return features, label, features @ means.T, means


def ours(options: argparse.Namespace, data: tuple[Any, Any, Any, Any]) -> int:
    arrays = accumulate(*data)
    half = options.classes // 2
    groups = {"head": range(half), "tail": range(half, options.classes)}
    return len(rows("collapse", arrays, [str(c) for c in range(options.classes)], groups))


def loop(options: argparse.Namespace, data: tuple[Any, Any, Any, Any]) -> Any:
    """S of the first samples, (D, D), and their class means."""
    features, label = data[0][: options.looped].astype(np.float64), data[1][: options.looped]
    mean = np.stack([features[label == c].mean(axis=0) for c in range(options.classes)])
    within = np.zeros((options.dimensions, options.dimensions))
    for h, c in zip(features, label, strict=True):
        away = (h - mean[c])[:, None]
        within += away @ away.T / len(label)
    return within, mean


def one(options: argparse.Namespace) -> None:
    data = drawn(options)
    before, busy = time.perf_counter(), time.process_time()
    made = {"ours": ours, "loop": loop}[options.side](options, data)
    found = {"wall": time.perf_counter() - before, "processor": time.process_time() - busy}
    found["bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # the same number of both, untimed
    few = slice(0, options.looped)
    if options.side == "ours":
        part = accumulate(data[0][few], data[1][few], data[2][few])
        found["trace"] = float(np.trace(part["within_sample"]))
    else:
        within, mean = made
        about = mean - np.bincount(data[1][few]) @ mean / options.looped
        found["trace"] = float(np.trace(about @ within @ about.T))
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--looped", type=int, default=2_000, help="samples that the loop goes over")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        one(options)
        return
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(options.repeat):
        for side in SIDES:
            command = [sys.executable, *sys.argv, "--side", side]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[side].append(json.loads(done.stdout))
    scale = options.samples / options.looped
    print(f"{options.samples} samples, D = {options.dimensions}, K = {options.classes}")
    median = {}
    for side in SIDES:
        for kind in ("wall", "processor"):
            value = statistics.median(one[kind] for one in found[side])
            median[side, kind] = value * (scale if side == "loop" else 1)
        peak = max(one["bytes"] for one in found[side]) / 1e9
        print(
            f"{side}: {median[side, 'wall']:.2f} s, {median[side, 'processor']:.2f} processor s"
            + (f" (scaled from {options.looped} samples)" if side == "loop" else f", {peak:.2f} GB")
        )
    for kind in ("wall", "processor"):
        print(f"{kind}: loop / ours = {median['loop', kind] / median['ours', kind]:.0f}")
    traces = {side: found[side][0]["trace"] for side in SIDES}
    print(f"traces agree: {np.isclose(*traces.values(), rtol=1e-8)}")


if __name__ == "__main__":
    main()
