"""Accuracies of modalities over training: curves of records, their means over seeds, and where they end.

Pure functions of curves [(iteration, value), ...] as records have them: `top1` of the fused logits of training batches and
`top1_M` of a modality's own, each a mean over the iterations since the point before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from suite.records.describe import thinned
from suite.stats.tests import Interval, mean_interval

Curve = Sequence[tuple[int, float | None]]

END = 0.1
"""The share of training, at its end, over which accuracies are averaged."""
_FURTHEST = 1e15
_CLEAR = 1.0
"""Points: smaller differences are not told."""


def name_of(modality: str | None) -> str:
    """The curve of a modality, None for the fused logits."""
    return "top1" if modality is None else f"top1_{modality}"


def cleaned(curve: Curve) -> list[tuple[int, float]]:
    """Points at iterations in order, at most a thousand; those that are not finite, or come before the one at their left,
    are left out: the record may be a stranger's."""
    made: list[tuple[int, float]] = []
    for step, value in thinned(curve):
        known = value is not None and math.isfinite(value)
        if known and 0 <= step < _FURTHEST and (not made or step > made[-1][0]):
            made.append((step, float(value or 0.0)))
    return made


def smoothed(curve: Sequence[tuple[int, float]], share: float) -> list[tuple[int, float]]:
    """Each value the mean of those within `share` / 2 of the whole length on either side; at the ends of as many on both
    sides as there are, so that a line keeps its ends."""
    if not curve or share <= 0:
        return list(curve)
    half = share * curve[-1][0] / 2
    sums = [0.0]
    for _, value in curve:
        sums.append(sums[-1] + value)
    made = []
    left = right = 0
    for place, (step, _) in enumerate(curve):
        while curve[left][0] < step - half:
            left += 1
        while right + 1 < len(curve) and curve[right + 1][0] <= step + half:
            right += 1
        reach = min(place - left, right - place)
        first, last = place - reach, place + reach + 1
        made.append((step, (sums[last] - sums[first]) / (last - first)))
    return made


def mean(curves: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float, int]]:
    """(iteration, mean, of how many curves): at every iteration of those that have a point there."""
    found: dict[int, list[float]] = {}
    for curve in curves:
        for step, value in curve:
            found.setdefault(step, []).append(value)
    return [
        (step, sum(values) / len(values), len(values)) for step, values in sorted(found.items())
    ]


def end(curve: Sequence[tuple[int, float]]) -> float | None:
    """The mean over the last tenth of training, None of an empty curve."""
    if not curve:
        return None
    border = (1 - END) * curve[-1][0]
    values = [value for step, value in curve if step > border or step == curve[-1][0]]
    return sum(values) / len(values)


class End(NamedTuple):
    """Where a row's modality (`part`, as charts name it) ends: `own` over seeds, `alone` that of the modality trained on its
    own, and the difference over the seeds that both have."""

    row: str
    part: str
    own: Interval
    alone: Interval | None
    difference: Interval | None


def ended(
    row: str, part: str, own: Mapping[int, float], alone: Mapping[int, float] | None = None
) -> End | None:
    """Of accuracies by seed; None without any."""
    if not own:
        return None
    alone = alone or {}
    both = sorted(set(own) & set(alone))
    return End(
        row,
        part,
        mean_interval([own[seed] for seed in sorted(own)]),
        mean_interval([alone[seed] for seed in sorted(alone)]) if alone else None,
        mean_interval([own[seed] - alone[seed] for seed in both]) if both else None,
    )


def starved(ends: Sequence[End], reference: str) -> str:
    """In a sentence: which modality ends furthest below its training alone, and what the others of that row lose; "" where
    none can be told."""
    known = [one for one in ends if one.difference is not None and one.row != reference]
    if not known:
        return ""
    worst = min(known, key=_gap)
    if _gap(worst) > -_CLEAR:
        return f"No modality of these rows ends more than {_CLEAR:g} point below its training alone ({reference})."
    others = [
        f"{one.part} {_points(one)}" for one in known if one.row == worst.row and one is not worst
    ]
    beside = f"; the others of this row: {', '.join(others)}" if others else ""
    return (
        f"Starved most: {worst.part} under {worst.row}, which ends {-_gap(worst):.1f} points below its training alone "
        f"({reference}; {_sure(worst)}){beside}."
    )


def _gap(one: End) -> float:
    return 100 * one.difference.mean if one.difference else 0.0


def _points(one: End) -> str:
    return _signed(_gap(one))


def _sure(one: End) -> str:
    """How much the difference is worth."""
    found = one.difference
    if found is None or found.low is None or found.high is None:
        return "one seed"
    low, high = _signed(100 * found.low), _signed(100 * found.high)
    return f"95 % interval of the difference {low} to {high}, {found.n} seeds"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
