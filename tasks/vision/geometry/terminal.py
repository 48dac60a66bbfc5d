"""The terminal phase of a training: from when the training set is fitted for good (Papyan, Han and Donoho, 2020).

Pure functions of tracked points in the order of training.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_POINTS = 5
"""Fewer points of the terminal phase have no rank correlation."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A tracked point. `share` of the training done, in [0, 1]; `train` and `test` top-1 accuracy, in [0, 1]; `nc1` of
    the training images, None where undefined."""

    share: float
    train: float
    test: float
    nc1: float | None = None


def fitted(points: Sequence[Point]) -> int | None:
    """Place of the first point with training accuracy 1 that is never left again; None if there is none."""
    first = None
    for place, point in enumerate(points):
        if point.train < 1:
            first = None
        elif first is None:
            first = place
    return first


def tpt_start(points: Sequence[Point]) -> float | None:
    """Share of the training at which the training set was fitted for good, in [0, 1]."""
    first = fitted(points)
    return None if first is None else points[first].share


def tpt_gain(points: Sequence[Point]) -> float | None:
    """Test accuracy at the last point less that at `fitted`, in [-1, 1]; 0 where they are the same point."""
    first = fitted(points)
    return None if first is None else points[-1].test - points[first].test


def tpt_rho(points: Sequence[Point]) -> float | None:
    """Spearman's correlation of log nc1 with test accuracy over the points of the terminal phase, in [-1, 1].

    Points whose nc1 is None or 0 are left out. None for fewer than `LEAST_POINTS`, and where either is constant.
    """
    first = fitted(points)
    if first is None:
        return None
    pairs = [(math.log(p.nc1), p.test) for p in points[first:] if p.nc1]
    if len(pairs) < LEAST_POINTS or any(
        len(set(values)) < 2 for values in zip(*pairs, strict=True)
    ):
        return None
    a, b = (_ranks(values) for values in zip(*pairs, strict=True))
    return statistics.correlation(a, b)


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1 on, of equal values their mean."""
    ordered = sorted(values)
    return [ordered.index(v) + (ordered.count(v) + 1) / 2 for v in values]
