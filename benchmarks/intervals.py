"""Coverage of the 95 % intervals by simulation, and speed of the bootstrap and of `compare`.

    OMP_NUM_THREADS=1 python benchmarks/intervals.py [--samples 20000] [--runs 0] [--folder DIR]

Coverage: share of simulated sets of seeds whose interval holds the true mean, normal and skewed
(exponential) values. Board: ten rows of stored logits, 10,000 images, 1,000 resamples shared by all,
predictions in memory. With `--runs 100000` a store of so many runs and ten times as many
metric rows is generated as benchmarks/store.py does, and `compare` is timed on it.
"""

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from suite.define.task import Trained
from suite.stats import bootstrap
from suite.stats import tests as stats


def coverage(samples: int) -> None:
    print(f"coverage of 95 % intervals of a mean, {samples:,} samples each")
    print(f"{'values':<12} {'n':>3} {'t':>7} {'bootstrap':>10} {'percentile':>11}")
    rng = np.random.default_rng(1)
    draw: dict[str, tuple[Callable[..., np.ndarray], float]] = {
        "normal": (rng.standard_normal, 0.0),
        "exponential": (rng.standard_exponential, 1.0),
    }
    for name, (values, truth) in draw.items():
        for n in (3, 5, 10):
            hits = np.zeros(3)
            of_bootstrap = max(1, samples // 10)
            for _ in range(samples):
                found = stats.mean_interval(values(n))
                hits[0] += _holds(found.low, found.high, truth)
            share = bootstrap.tail(n)
            for _ in range(of_bootstrap):
                sample = values(n)
                means = sample[rng.integers(0, n, (bootstrap.SEED_RESAMPLES, n))].mean(axis=1)
                low, high, low_plain, high_plain = np.quantile(
                    means, [share, 1 - share, 0.025, 0.975]
                )
                hits[1] += _holds(low, high, truth)
                hits[2] += _holds(low_plain, high_plain, truth)
            rates = hits / [samples, of_bootstrap, of_bootstrap]
            print(f"{name:<12} {n:>3} {rates[0]:>7.1%} {rates[1]:>10.1%} {rates[2]:>11.1%}")


def _holds(low: float | None, high: float | None, truth: float) -> bool:
    return low is not None and high is not None and low <= truth <= high


def images(samples: int) -> None:
    """Over test images: intervals of accuracy, of 1,000 images of which some share is right."""
    rng = np.random.default_rng(2)
    count, truth = 1000, 0.7
    weights = bootstrap.unit_weights(count, bootstrap.RESAMPLES).astype(np.float32)
    share = bootstrap.tail(count)
    right = (rng.random((samples, count)) < truth).astype(np.float32)
    scores = weights @ right.T / count
    low, high = np.quantile(scores, [share, 1 - share], axis=0)
    hits = np.mean((low <= truth) & (truth <= high))
    print(f"over {count:,} test images, accuracy {truth:.0%}, {samples:,} samples: {hits:.1%}\n")


def board(rows: int = 10, count: int = 10_000) -> None:
    from tasks.vision.per_class import units

    rng = np.random.default_rng(0)
    for classes in (10, 100):
        settings = {
            "classes": [str(c) for c in range(classes)],
            "groups": {
                "head": list(range(classes // 2)),
                "tail": list(range(classes // 2, classes)),
            },
        }
        label = rng.integers(0, classes, count).astype(np.int32)
        stored = []
        for _ in range(rows):
            logits = rng.normal(size=(count, classes)).astype(np.float32)
            logits[np.arange(count), label] += 2
            stored.append({"test": {"label": label, "logits": logits}})
        begun = time.perf_counter()
        weights = bootstrap.unit_weights(count)
        drawn = time.perf_counter() - begun
        for predictions in stored:
            scores = bootstrap.unit_scores([units(predictions, settings, Trained())], weights)
            for key in scores.points:
                assert bootstrap.unit_interval(scores, key) is not None
        seconds = time.perf_counter() - begun
        print(
            f"board of {rows} rows x {count:,} images x {len(weights):,} resamples, {classes} classes, "
            f"{len(scores.points)} metrics: {seconds:.2f} s ({drawn:.2f} s of it drawing)"
        )


def _neighbour(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def large(runs: int, folder: Path | None) -> None:
    from suite.boards.compare import compare
    from suite.boards.overview import overview
    from suite.boards.power import needed
    from suite.define.catalog import Catalog
    from suite.define.digest import Code
    from suite.store.ingest import ingest

    store = _neighbour("store")
    task = store.make_task(-(-runs // (store.SEEDS * store.BOARD)))
    today = Code({f"method-{k}": "d1" for k in range(store.BOARD)})
    catalog = Catalog({task.name: task}, {})
    with tempfile.TemporaryDirectory(dir=folder) as made:
        root = Path(made)
        store.write_runs(root, task, runs, 10)
        seconds, _ = store.timed(1, lambda: ingest(root, {task.name: task}, today))
        print(f"{runs:,} runs, {runs * 10:,} metric rows; ingest {seconds:.1f} s")
        protocol = task.protocols[0]
        calls: dict[str, Callable[[], object]] = {
            "ingest, nothing new": lambda: ingest(root, {task.name: task}, today),
            "compare, all protocols": lambda: compare(root, catalog, task, "method-1", "method-2"),
            "compare, one protocol": lambda: compare(
                root, catalog, task, "method-1", "method-2", only=protocol
            ),
            "compare --all, one protocol": lambda: overview(
                root, catalog, task, only=protocol, reference="method-0"
            ),
            "compare --all": lambda: overview(root, catalog, task, reference="method-0"),
            "power": lambda: needed(root, catalog, task, "method-1", "method-2", protocol=protocol),
        }
        for name, call in calls.items():
            median, worst = store.timed(3, call)
            print(f"{name:28} {median * 1000:.0f} ms (worst {worst * 1000:.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the store is made (default: /tmp)")
    given = parser.parse_args()
    coverage(given.samples)
    images(min(given.samples, 2000))
    board()
    if given.runs:
        large(given.runs, given.folder)


if __name__ == "__main__":
    main()
