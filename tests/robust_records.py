"""Runs of `robust-auc` that never ran: predictions that know a little, and their scores as the task makes them.

for seed in range(3):
    finished(root, "bce", seed, knows=2.0)
bring(root)
open_page(root, "robustness", catalog=strangers.catalog())
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import strangers

from suite.define.protocol import Protocol
from suite.records.attempt import Attempt
from suite.records.files import Cost, Record, Status
from suite.runs.evaluate import evaluate_attempt
from suite.store.ingest import ingest
from tasks.robust_auc.stored import store

SIZE = 50
"""Images of each class, negatives first, as those of `smoke`."""
LABEL = np.repeat([0, 1], SIZE)


def protocol(name: str = "smoke") -> Protocol:
    found = strangers.catalog()
    return found.protocol(found.task("robust-auc"), name)


def arrays(
    under: Protocol, seed: int, knows: float, *, noise: float = 1.0, shift: float = 0.0
) -> dict[str, dict[str, Any]]:
    """Stored sets of a protocol: of each one the more a model `knows` the better; the k-th corrupted set has `noise` times
    sqrt(k) the noise, and all its scores moved by k `shift`."""
    drawn = np.random.default_rng(seed)
    sets = {}
    for k, name in enumerate(under.prediction_sets):
        size = 1.0 if not k else 1.0 + noise * k**0.5
        score = knows * LABEL + size * drawn.normal(size=len(LABEL)) + k * shift
        sets[name] = store(score, LABEL)
    return sets


def finished(
    root: Path,
    method: str,
    seed: int = 0,
    *,
    under: str = "smoke",
    sets: Mapping[str, Any] | None = None,
    kept: bool = True,
    scored: bool = True,
    **how: float,
) -> Attempt:
    """A finished run; `how`: arguments of `arrays`. Not `kept`: its predictions are gone; not `scored`: they are new."""
    found = strangers.catalog()
    of, by = found.task("robust-auc"), protocol(under)
    assert by.budget is not None
    spec = found.spec(method, by, seed)
    attempt = Attempt(root, spec.run_id, 1)
    attempt.create(spec)
    made = sets or arrays(by, seed + 10 * len(method), **{"knows": 2.0, **how})
    attempt.write_predictions(made)
    digest = found.digest(spec)
    attempt.write_record(
        Record(
            run_id=spec.run_id,
            attempt=1,
            spec=spec,
            digest=digest,
            files=found.method(spec).files,
            dataset=by.dataset.name,
            class_counts=[651, 72],
            classes=list(by.dataset.classes),
            cost=Cost(parameters=1000, iterations=by.budget.iterations, wall_seconds=2.0),
            finished=1000.0 + seed,
        )
    )
    if scored:
        evaluate_attempt(attempt, of, by, found)
    attempt.write_status(
        Status(state="done", digest=digest, started=1.0, heartbeat=2.0), durable=False
    )
    if not kept:
        (attempt.path / "predictions.npz").unlink()
    return attempt


def bring(root: Path) -> None:
    found = strangers.catalog()
    ingest(root, found.tasks(), found.code)
