"""All scores of `multilabel` from a stored set: time and memory, against sorting every row.

    python benchmarks/multilabel_measures.py [--samples 100_000] [--labels 1_000] [--repeats 3]

Labels are long-tailed (positives fall like 1 / rank, 3 of them a sample in the mean), scores normal, higher where
the label holds. CPU seconds of one process, which works in one thread; the repeats of `evaluate` and of a stable argsort
of every row, taken in the same blocks, alternate, and medians are printed. Peak memory is what the process held at its most, beside what it held before (the stored set, labels and
logits); the generator's is not in it. The bootstrap's time is printed for the scores that it has at this size.
"""

import argparse
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from suite.define.task import Trained
from suite.stats.bootstrap import unit_weights
from tasks.multilabel.evaluation import evaluate, units
from tasks.multilabel.stored import checked, store
from tasks.vision.stored import blocks

RELEVANT = 3.0
"""Labels a sample, in the mean."""


def stored_set(samples: int, labels: int) -> dict[str, np.ndarray]:
    """Made in blocks, so that the process never holds float64 scores of all."""
    generator = np.random.default_rng(0)
    frequency = 1 / np.arange(1, labels + 1)
    frequency = np.minimum(RELEVANT * frequency / frequency.sum(), 0.9)
    generator.shuffle(frequency)
    logits = np.empty((samples, labels), np.float32)
    relevant = np.empty((samples, labels), bool)
    for rows in blocks(samples, labels):
        shape = (rows.stop - rows.start, labels)
        relevant[rows] = generator.random(shape, np.float32) < frequency
        logits[rows] = generator.standard_normal(shape, np.float32) - 3
        logits[rows] += 2 * relevant[rows]
    return store(logits, relevant)


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak_of(call: Callable[[], object]) -> int:
    """The most bytes in memory while `call` works, looked at every 5 ms."""
    highest, over = resident(), threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(0.005):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        call()
    finally:
        over.set()
        watcher.join()
    return highest


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=1_000)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1_000)
    args = parser.parse_args()
    arrays = stored_set(args.samples, args.labels)
    names = [f"label {c}" for c in range(args.labels)]
    about = {"classes": names, "groups": {"tail": list(range(0, args.labels, 2))}, "k": args.k}
    found = checked(arrays, args.labels)

    def scored() -> None:
        evaluate({"test": arrays}, about, Trained())

    def sorted_() -> None:
        for rows in blocks(args.samples, args.labels):
            np.argsort(-found.scores(rows), axis=1, kind="stable")

    size = sum(array.nbytes for array in arrays.values())
    print(
        f"{args.samples:,} x {args.labels:,} scores, {arrays['logits'].dtype}, {size / 1e6:,.0f} MB stored; "
        f"median of {args.repeats}"
    )
    before = resident()
    peak = peak_of(scored)
    print(
        f"{'evaluate, memory at its most':34}{peak / 1e6:8,.0f} MB, {before / 1e6:,.0f} MB before"
    )
    taken: dict[str, list[float]] = {"evaluate": [], "argsort of every row": []}
    for _ in range(args.repeats):
        taken["evaluate"].append(seconds(scored))
        taken["argsort of every row"].append(seconds(sorted_))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    for name, value in medians.items():
        print(f"{name:34}{value:8.2f} s")
    print(f"{'ratio':34}{medians['evaluate'] / medians['argsort of every row']:8.2f}")
    if args.resamples:
        weights = unit_weights(args.samples, args.resamples)
        made = units({"test": arrays}, about, Trained())
        taken_by = seconds(lambda: made.score(weights))
        with_labels = "with" if "mAP" in made.score(weights[:1]) else "without"
        print(f"{f'{args.resamples:,} resamples, {with_labels} mAP':34}{taken_by:8.2f} s")


if __name__ == "__main__":
    main()
