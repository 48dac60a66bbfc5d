"""Bootstrap of the AUC over test images, clean and under every corruption: time, and the same by plain sorting.

    OMP_NUM_THREADS=1 python benchmarks/robust_auc_bootstrap.py [--images 10_000] [--corruptions 19] [--severities 5]
        [--resamples 1000] [--repeats 3] [--coverage 2000]

All keys of `robust-auc` at once, from predictions in memory: the AUC of each condition, their means, and the pooled
AUC of all scores together. CPU and wall seconds of one process on one core, medians. The plain side is scikit-learn's
`roc_auc_score` with the weights of a resample as sample weights, timed on a few and scaled up; the largest difference is
printed. Then the coverage of DeLong's 95 % interval and of the bootstrap's of the clean AUC, by simulation; a sample that has no
interval of DeLong's, being ranked without fault, counts as missed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from suite.define.task import Predictions, Trained
from suite.stats import bootstrap
from tasks.robust_auc.evaluation import Images, corrupted_sets, units
from tasks.robust_auc.measures import delong, ranking
from tasks.robust_auc.stored import store

PLAIN = 3
"""Resamples that scikit-learn is timed on."""


def made(images: int, settings: dict[str, list]) -> Predictions:
    """Scores of a balanced test set; a corruption blurs them more the severer it is, and shifts them all."""
    rng = np.random.default_rng(0)
    label = rng.random(images) < 0.5
    clean = rng.normal(2.0 * label)
    sets = {"test": store(clean, label)}
    for number, name in enumerate(corrupted_sets(settings)):
        noise = 1 + number % max(1, len(settings["severities"]))
        sets[name] = store(clean + rng.normal(0.3 * number, noise, images), label)
    return sets


def timed(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """(CPU, wall) seconds, medians."""
    cpu, wall = [], []
    for _ in range(repeats):
        before = time.process_time(), time.perf_counter()
        call()
        cpu.append(time.process_time() - before[0])
        wall.append(time.perf_counter() - before[1])
    return statistics.median(cpu), statistics.median(wall)


def speed(settings: dict[str, list], images: int, resamples: int, repeats: int) -> None:
    from sklearn.metrics import roc_auc_score

    predictions = made(images, settings)
    weights = bootstrap.unit_weights(images, resamples)
    conditions = len(predictions) - 1
    print(f"{images:,} images x {conditions} conditions x {resamples:,} resamples, one core")
    print(f"{'':<34}{'CPU s':>9}{'wall s':>9}")

    def line(name: str, call: Callable[[], object], repeats: int = repeats) -> None:
        print(f"{name:<34}{'{:>9.2f}{:>9.2f}'.format(*timed(call, repeats))}", flush=True)

    line("read, checked and sorted", lambda: units(predictions, settings, Trained()))
    read = Images.read(predictions, settings)
    line("clean: auc, partial auc, ap", lambda: [*_clean(read, weights)])
    line("each condition", lambda: [one.auc(weights) for one in read.corrupted.values()])
    pooled = read.pooled
    assert pooled is not None
    line("pooled", lambda: pooled.auc(weights))
    run = units(predictions, settings, Trained())
    line("all keys, as compare asks", lambda: bootstrap.unit_scores([run], weights))
    scores = run.score(weights[:PLAIN])

    def plain() -> list[list[float]]:
        sets = [predictions[name] for name in corrupted_sets(settings)]
        return [
            [roc_auc_score(one["label"], one["score"], sample_weight=weight) for one in sets]
            for weight in weights[:PLAIN]
        ]

    cpu, wall = timed(plain, 1)
    share = resamples / PLAIN
    print(f"{'each condition by scikit-learn':<34}{cpu * share:>9.0f}{wall * share:>9.0f}")
    worst = max(
        abs(value - scores[f"auc[{name}]"][row])
        for row, values in enumerate(plain())
        for name, value in zip(corrupted_sets(settings), values, strict=True)
    )
    print(f"largest difference to it: {worst:.1e}\n")


def _clean(read: Images, weights: np.ndarray) -> list[np.ndarray]:
    one = read.clean
    return [one.auc(weights), one.partial_auc(weights), one.average_precision(weights)]


def coverage(samples: int) -> None:
    """Normal scores whose AUC is known: Phi(d / sqrt 2) of a shift d."""
    print(f"coverage of 95 % intervals of one AUC, {samples:,} samples each (bootstrap: a tenth)")
    print(f"{'AUC':>6}{'images':>8}{'positives':>11}{'DeLong':>9}{'bootstrap':>11}")
    rng = np.random.default_rng(1)
    for truth in (0.75, 0.95, 0.99):
        shift = 2**0.5 * statistics.NormalDist().inv_cdf(truth)
        for images, positives in ((200, 100), (500, 250), (500, 25), (2000, 1000)):
            label = np.arange(images) < positives
            weights = bootstrap.unit_weights(images)
            tail = bootstrap.tail(images)
            hits = np.zeros(2)
            for sample in range(samples):
                score = rng.normal(shift * label)
                found = delong(label, score)
                if found.low is not None and found.high is not None:
                    hits[0] += found.low <= truth <= found.high
                if sample % 10 == 0:
                    drawn = ranking(label, score).auc(weights)
                    low, high = np.nanquantile(drawn, [tail, 1 - tail])
                    hits[1] += low <= truth <= high
            rates = hits / [samples, len(range(0, samples, 10))]
            print(
                f"{truth:>6}{images:>8}{positives:>11}{rates[0]:>9.1%}{rates[1]:>11.1%}", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--corruptions", type=int, default=19)
    parser.add_argument("--severities", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=bootstrap.RESAMPLES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--coverage", type=int, default=2000)
    args = parser.parse_args()
    settings: dict[str, list] = {
        "classes": ["negative", "positive"],
        "corruptions": [f"c{number}" for number in range(args.corruptions)],
        "severities": list(range(1, args.severities + 1)),
        "shifts": [],
    }
    speed(settings, args.images, args.resamples, args.repeats)
    if args.coverage:
        coverage(args.coverage)


if __name__ == "__main__":
    main()
