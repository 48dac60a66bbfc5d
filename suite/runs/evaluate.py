"""Metric rows from stored predictions, without training."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from suite.base.aside import aside
from suite.base.command import Command
from suite.base.errors import RecordError, UserError
from suite.base.raised import raised
from suite.define.catalog import Catalog
from suite.define.method import Method
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.task import Predictions, Task, Trained
from suite.records.again import train_again
from suite.records.attempt import Attempt
from suite.records.files import Evaluation, Record, read
from suite.records.inputs import digest_of


def evaluate_attempt(
    attempt: Attempt, task: Task, protocol: Protocol, catalog: Catalog, *, again: bool = False
) -> Evaluation | None:
    """Evaluate a finished attempt under `task` and store the result.

    Returns None where the evaluation exists already (`again` makes it anew). Raises RecordError if
    record or predictions are missing or damaged, or if the scores need a method's `infer` and that
    method is not here as it was when the run was trained.
    """
    settings = task.evaluation(protocol)
    evaluation_hash = task.evaluation_hash(protocol)
    if not again and _readable(attempt.evaluation_path(task.name, evaluation_hash)):
        return None
    record = attempt.record()
    predictions = stored_predictions(attempt, protocol, catalog)
    rows = metric_rows(attempt, record, predictions, task, settings, catalog)
    evaluation = Evaluation(
        run_id=attempt.run_id,
        attempt=attempt.number,
        task=task.name,
        evaluation_hash=evaluation_hash,
        evaluation=settings,
        metrics=rows,
        made=time.time(),
    )
    attempt.write_evaluation(evaluation)
    return evaluation


def stored_predictions(attempt: Attempt, protocol: Protocol, catalog: Catalog) -> Predictions:
    """Every stored set. Raises RecordError, with what to type, where those that every run stores are not
    there."""
    try:
        predictions = attempt.predictions()
        lost = [name for name in protocol.prediction_sets if name not in predictions]
        if not lost:
            return predictions
        problem = f"{attempt.path / 'predictions.npz'}: holds no set {lost[0]!r}"
    except RecordError as error:
        problem, lost = str(error), list(protocol.prediction_sets)
    if lost and protocol.predict is not None and attempt.weights.is_file():
        again = f"; type `{Command('predict', attempt.run_id, '--set', lost[0])}`"
    else:
        again = train_again(attempt.root, catalog, attempt.run_id, "--fresh")
    raise RecordError(f"{problem}{again}")


def metric_rows(
    attempt: Attempt,
    record: Record,
    predictions: Predictions,
    task: Task,
    settings: Mapping[str, Any],
    catalog: Catalog,
) -> list[MetricRow]:
    """Rows of a finished attempt under `settings` of the task (`Task.evaluation`); nothing is stored.

    Raises RecordError: damaged predictions, a needed `infer` that is not here as it was, two rows for one
    value.
    """
    about = trained(attempt, record, predictions, task, catalog)
    # rows made during training are repeated beside those made from the arrays
    with aside():
        rows = [*task.evaluate(predictions, settings, about), *record.rows]
    keys = Counter((row.metric, row.subset, row.class_, row.step) for row in rows)
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        raise RecordError(f"{attempt.path}: two rows for {twice[0]}; a hook must use other names")
    # NaN has no JSON form: an undefined value is null
    return [_finite(row) for row in rows]


def trained(
    attempt: Attempt, record: Record, predictions: Predictions, task: Task, catalog: Catalog
) -> Trained:
    """What the scores of a finished attempt may depend on besides its predictions.

    Raises RecordError if they need a method's `infer` that is not here as it was when the run was trained,
    or views of the test inputs that are not stored.
    """
    counts, rows = tuple(record.class_counts), tuple(record.rows)
    if not record.infers:
        return Trained(class_counts=counts, rows=rows)
    name = record.spec.method
    if not task.infers:
        raise RecordError(
            f"{attempt.path}: {name!r} adapts stored scores, which task {task.name!r} does not offer"
        )
    try:
        method = catalog.method(record.spec)
        digest = digest_of(attempt.root, catalog, record.spec)
    except UserError as error:
        raise RecordError(
            f"{attempt.path}: its scores need the code of its method: {error}"
        ) from None
    if not catalog.code.same(record.digest, digest):
        again = train_again(attempt.root, catalog, attempt.run_id, "--stale")
        raise RecordError(
            f"{attempt.path}: was trained with other code of {name!r} than today's{again}"
        )
    if not method.infers:
        raise RecordError(f"{attempt.path}: says that {name!r} has an infer(), which it has not")
    protocol = catalog.protocol_with(record.spec.protocol_hash, record.spec.protocol)
    for view in protocol.views if protocol and method.adapts else ():
        if view not in predictions:
            raise RecordError(
                f"{attempt.path}: {name!r} adapts to views of the test inputs, which are not all stored: "
                f"{Command('predict', attempt.run_id, '--set', view)}"
            )
    infer = _told(method, method.infer(counts))
    return Trained(class_counts=counts, infer=infer, adapts=method.adapts, rows=rows)


def _told(method: Method, infer: Callable[..., Any]) -> Callable[..., Any]:
    """`infer`, whose exceptions are told in a line: it may be the user's own."""

    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return infer(*arguments, **options)
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:
            if "out of memory" in str(error):
                raise
            own = [part.source.path for part in method.parts]
            raise RecordError(f"infer() of {method.name!r}: {raised(error, own)}") from error

    return call


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
