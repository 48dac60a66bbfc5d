"""Metric rows from stored predictions, without training."""

from __future__ import annotations

import math
import time

import msgspec

from suite.protocol import Protocol
from suite.record import Attempt, Evaluation, MetricRow
from suite.task import Task


def evaluate_attempt(
    attempt: Attempt, task: Task, protocol: Protocol, *, again: bool = False
) -> Evaluation | None:
    """Evaluate a finished attempt under `task` and store the result.

    Returns None where the evaluation exists already (`again` makes it anew). Raises RecordError if
    record or predictions are missing or damaged.
    """
    settings = task.evaluation(protocol)
    evaluation_hash = task.evaluation_hash(protocol)
    if attempt.evaluation_path(task.name, evaluation_hash).exists() and not again:
        return None
    rows = task.evaluate(attempt.predictions(), settings)
    evaluation = Evaluation(
        run_id=attempt.run_id,
        attempt=attempt.number,
        task=task.name,
        evaluation_hash=evaluation_hash,
        evaluation=settings,
        # NaN has no JSON form: an undefined value is null
        metrics=[_finite(row) for row in [*rows, *attempt.record().rows]],
        made=time.time(),
    )
    attempt.write_evaluation(evaluation)
    return evaluation


def _finite(row: MetricRow) -> MetricRow:
    if row.value is not None and not math.isfinite(row.value):
        return msgspec.structs.replace(row, value=None)
    return row
