"""Two rows compared over resamples of the test images of their stored predictions, for the models as trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import UserError
from suite.boards.comparison import Line, finding_of, summary, verdict_of
from suite.define.catalog import Catalog
from suite.define.task import Task
from suite.records.attempt import Attempt
from suite.store.rows import Side

if TYPE_CHECKING:
    from suite.stats.bootstrap import UnitScores


def unit_scores_of(
    root: Path,
    catalog: Catalog,
    task: Task,
    side: Side,
    weights: dict[int, Any],
    resamples: int,
) -> UnitScores:
    """Scores of a row on resamples of the test images, from the stored predictions of its runs.

    `weights` keeps the resamples by number of images: rows that share it are paired. Raises UserError where
    the task has no such bootstrap; RecordError for missing or damaged predictions.
    """
    from suite.runs.evaluate import trained
    from suite.stats import bootstrap

    units_of = bootstrap.UNITS.of(task)
    if units_of is None:
        raise UserError(f"task {task.name} offers no bootstrap over test images; use --over seeds")
    protocol = task.protocols[side.protocol]
    units = []
    for run in side.runs:
        attempt = Attempt(root, run.run_id, run.attempt)
        predictions = attempt.predictions()
        about = trained(attempt, attempt.record(), predictions, task, catalog)
        units.append(units_of(predictions, task.evaluation(protocol), about))
    count = units[0].count
    if count not in weights:
        weights[count] = bootstrap.unit_weights(count, resamples)
    try:
        return bootstrap.unit_scores(units, weights[count])
    except ValueError as error:
        raise UserError(f"{side.method} under {side.protocol}: {error}") from None


def line_over_images(
    root: Path,
    catalog: Catalog,
    task: Task,
    a: Side,
    b: Side,
    key: str,
    higher: bool,
    show: Callable[[float], str],
) -> Line:
    from suite.stats import bootstrap

    weights: dict[int, Any] = {}
    x, y = (
        unit_scores_of(root, catalog, task, side, weights, bootstrap.RESAMPLES) for side in (a, b)
    )
    if key not in x.points:
        raise UserError(
            f"--over images: {key} cannot be resampled; these can: {', '.join(x.points)}"
        )
    try:
        found = bootstrap.unit_difference(x, y, key)
    except ValueError as error:
        raise UserError(f"{a.protocol}: {error}") from None
    common = sorted({run.seed for run in a.runs} & {run.seed for run in b.runs})
    test = f"paired {bootstrap.NAME} over test images"
    interval, p = found if found is not None else (None, None)
    verdict = verdict_of(p, interval, higher)
    words = "undefined on these images: no conclusion"
    if interval is not None and p is not None:
        words = finding_of(a, b, interval, p, verdict, test, show)
        words += f", for the {len(a.runs)} and {len(b.runs)} model(s) as trained"
    return Line(
        protocol=a.protocol,
        protocol_hash=a.protocol_hash,
        evaluation_hash=a.evaluation_hash,
        dataset=a.dataset,
        a=summary(a, bootstrap.unit_interval(x, key)),
        b=summary(b, bootstrap.unit_interval(y, key)),
        common_seeds=tuple(common),
        test=test,
        n=x.count,
        difference=interval.mean if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p=p,
        verdict=verdict,
        finding=words,
        next=None,
    )
