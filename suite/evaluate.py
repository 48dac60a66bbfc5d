"""Metric rows from stored predictions, without training."""

from __future__ import annotations

import math
import time
from collections import Counter
from pathlib import Path

import msgspec

from suite.errors import RecordError
from suite.protocol import Protocol
from suite.record import Attempt, Evaluation, MetricRow, read
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
    if not again and _readable(attempt.evaluation_path(task.name, evaluation_hash)):
        return None
    # rows made during training are repeated beside those made from the arrays
    rows = [*task.evaluate(attempt.predictions(), settings), *attempt.record().rows]
    keys = Counter((row.metric, row.subset, row.class_, row.step) for row in rows)
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        raise RecordError(f"{attempt.path}: two rows for {twice[0]}; a hook must use other names")
    evaluation = Evaluation(
        run_id=attempt.run_id,
        attempt=attempt.number,
        task=task.name,
        evaluation_hash=evaluation_hash,
        evaluation=settings,
        # NaN has no JSON form: an undefined value is null
        metrics=[_finite(row) for row in rows],
        made=time.time(),
    )
    attempt.write_evaluation(evaluation)
    return evaluation


def _readable(path: Path) -> bool:
    try:
        read(Evaluation, path)
    except (FileNotFoundError, RecordError):
        return False
    return True


def _finite(row: MetricRow) -> MetricRow:
    if row.value is not None and not math.isfinite(row.value):
        return msgspec.structs.replace(row, value=None)
    return row
