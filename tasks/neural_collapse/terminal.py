"""The terminal phase of training (TPT): from where all training images are right, and what it brings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from suite.define.metrics import MetricRow

FEWEST = 5
"""Tracked points of a terminal phase from which a rank correlation is given."""


@dataclass(frozen=True)
class Course:
    """What was tracked on the way, point by point; equal lengths, steps ascending, the last one the training's end.

    Attributes:
        steps: iterations done.
        train, test: share of the training and of the test images that are right.
        nc1: of the training images; None where it is undefined.
    """

    steps: tuple[int, ...]
    train: tuple[float, ...]
    test: tuple[float, ...]
    nc1: tuple[float | None, ...]

    @classmethod
    def of(cls, rows: Iterable[MetricRow]) -> Course:
        """From hook rows: steps at which both accuracies were tracked."""
        found: dict[str, dict[int, float | None]] = {"train": {}, "test": {}, "nc1": {}}
        for row in rows:
            name = _SERIES.get(row.key)
            if name is not None and row.step is not None and row.class_ is None:
                found[name][row.step] = row.value
        steps = sorted(
            step
            for step, value in found["train"].items()
            if value is not None and found["test"].get(step) is not None
        )
        return cls(
            tuple(steps),
            _values(found["train"], steps),
            _values(found["test"], steps),
            tuple(found["nc1"].get(step) for step in steps),
        )

    @property
    def start(self) -> int | None:
        """Place of the first point from which on all training images stay right; None where the last one is not so."""
        place = len(self.train)
        while place and self.train[place - 1] == 1:
            place -= 1
        return place if place < len(self.train) else None


_SERIES = {
    "top1[split=train]": "train",
    "top1[split=test]": "test",
    "top1": "test",
    "nc1[split=train]": "nc1",
}


def _values(found: Mapping[int, float | None], steps: Sequence[int]) -> tuple[float, ...]:
    return tuple(value for step in steps if (value := found[step]) is not None)


def terminal(rows: Iterable[MetricRow]) -> dict[str, float | None]:
    """`tpt_start`, `tpt_gain` and `tpt_rho` of a run's hook rows.

    `tpt_start`: share in (0, 1] of the training at the first tracked point with training accuracy 1 that is never left
    again; `tpt_gain`: test accuracy at the last point less that at this one, of the test images that are tracked, in
    [-1, 1]; `tpt_rho`: Spearman's correlation over the points from there on of log nc1 with the test accuracy, in
    [-1, 1]. All are None where the training set is never fitted for good, the last also with fewer than `FEWEST`
    points, an nc1 that is undefined or not above 0, and where one of the two does not change.
    """
    course = Course.of(rows)
    start = course.start
    if start is None:
        return {"tpt_start": None, "tpt_gain": None, "tpt_rho": None}
    return {
        "tpt_start": course.steps[start] / course.steps[-1],
        "tpt_gain": course.test[-1] - course.test[start],
        "tpt_rho": _rho(course.nc1[start:], course.test[start:]),
    }


def _rho(nc1: Sequence[float | None], test: Sequence[float]) -> float | None:
    known = [value for value in nc1 if value is not None and value > 0]
    if len(known) < max(len(nc1), FEWEST) or len(set(known)) < 2 or len(set(test)) < 2:
        return None
    from scipy.stats import spearmanr

    rho = float(spearmanr([math.log(value) for value in known], test).statistic)
    return rho if math.isfinite(rho) else None
