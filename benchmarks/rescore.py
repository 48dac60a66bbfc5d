"""Speed of `rescore`: stored runs under a new test prior, as whole commands.

    python benchmarks/rescore.py [--runs 100] [--images 10000] [--repeat 5]

Runs of `ce` with other learning parameters, three seeds each, with random logits of ten classes, under a
protocol of `longtail-cls`. Medians, start of Python included; `python -c pass` and `rescore` with nothing
to score stand beside them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from suite.define.catalog import Catalog
from suite.records.attempt import Attempt
from suite.records.files import Cost, Record
from suite.records.inputs import digest_of

TASK, PROTOCOL, SEEDS = "test-agnostic", "r32-200:cifar10", 3


def write_runs(root: Path, runs: int, images: int) -> None:
    """Finished runs with predictions, as a worker leaves them but for weights and log."""
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task(TASK), PROTOCOL)
    classes = len(protocol.dataset.classes)
    label = np.arange(images, dtype=np.int32) % classes
    rng = np.random.default_rng(0)
    for number in range(runs):
        row, seed = divmod(number, SEEDS)
        # a parameter that no method has: rows of one method that differ
        spec = catalog.spec("ce", protocol, seed)
        spec = msgspec.structs.replace(spec, params={**spec.params, "row": row})
        logits = rng.normal(size=(images, classes)).astype(np.float32)
        logits[np.arange(images), label] += 2
        attempt = Attempt(root, spec.run_id, 1)
        attempt.create(spec)
        attempt.write_predictions({"test": {"label": label, "logits": logits}})
        record = Record(
            run_id=spec.run_id,
            attempt=1,
            spec=spec,
            digest=digest_of(root, catalog, spec),
            dataset=protocol.dataset.name,
            class_counts=[5000 // (c + 1) for c in range(classes)],
            cost=Cost(parameters=1, wall_seconds=1.0),
            curves={"loss": [(k, 1.0) for k in range(200)]},
            finished=1.0,
        )
        (attempt.path / "record.json").write_bytes(msgspec.json.encode(record))


def timed(repeat: int, call: Callable[[], object]) -> tuple[float, float]:
    """(median, best) wall seconds."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prior = folder / "mine.csv"
        prior.write_text("\n".join(str(share / 55) for share in range(1, 11)))
        write_runs(folder / "results", given.runs, given.images)

        def rescore(root: str, *asked: str) -> None:
            command = [sys.executable, "-m", "suite", "rescore", "--task", TASK, "--root", root]
            subprocess.run([*command, *asked], cwd=folder, stdout=subprocess.PIPE, check=True)

        what = f"{given.runs} runs x {given.images:,} x 10"
        lines = {
            "python -c pass": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
            "rescore, no runs": lambda: rescore("none", "--prior", str(prior)),
            f"{what}, a prior": lambda: rescore("results", "--prior", str(prior)),
            f"{what}, 10 Dirichlet draws": lambda: rescore("results", "--dirichlet", "1"),
        }
        for title, call in lines.items():
            median, best = timed(given.repeat, call)
            print(f"{title:44} {median:.2f} s (best {best:.2f})", flush=True)


if __name__ == "__main__":
    main()
