"""Level and drop of the AUC under corruption, and whether mean and pooled AUC order rows alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

_MOST_LINES = 8
_EQUAL = 1e-9


@dataclass(frozen=True)
class Level:
    """A row's AUCs, in [0, 1]; None where one is undefined.

    Attributes:
        clean: of the clean test set.
        mean: `auc_corrupted`, the mean over all conditions.
        pooled: `auc_pooled`, one AUC over all their scores.
    """

    name: str
    clean: float | None
    mean: float | None
    pooled: float | None


@dataclass(frozen=True)
class Swap:
    """Two rows that mean and pooled AUC order differently: `a` is ahead by the mean, `b` by the pooled AUC."""

    a: Level
    b: Level

    @property
    def size(self) -> float:
        """The smaller of the two leads."""
        return min(_gap(self.a.mean, self.b.mean), _gap(self.b.pooled, self.a.pooled))


@dataclass(frozen=True)
class Orders:
    """Pairs of rows by their mean and pooled AUC.

    Attributes:
        pairs: how many have both, and are no ties.
        swaps: those in opposite orders, the clearest first.
    """

    pairs: int
    swaps: tuple[Swap, ...]


def orders(levels: Sequence[Level]) -> Orders:
    """Of all pairs of rows that have both AUCs. What differs by rounding is a tie, and in no order."""
    known = [one for one in levels if one.mean is not None and one.pooled is not None]
    pairs, swaps = 0, []
    for a, b in combinations(known, 2):
        mean, pooled = _gap(a.mean, b.mean), _gap(a.pooled, b.pooled)
        if abs(mean) < _EQUAL or abs(pooled) < _EQUAL:
            continue
        pairs += 1
        if mean * pooled < 0:
            swaps.append(Swap(a, b) if mean > 0 else Swap(b, a))
    return Orders(pairs, tuple(sorted(swaps, key=lambda one: -one.size)))


def finding(found: Orders) -> str:
    """In a sentence; "" where there is no pair."""
    if not found.pairs:
        return ""
    if not found.swaps:
        alike = "rows alike" if found.pairs > 1 else "the two rows alike"
        return f"Mean and pooled AUC order {alike}."
    first = found.swaps[0]
    of = f"{len(found.swaps)} of {found.pairs} pairs of rows" if found.pairs > 1 else "the two rows"
    widest = "; the clearest: " if len(found.swaps) > 1 else ": "
    return (
        f"Mean and pooled AUC order {of} differently{widest}{first.a.name} is ahead of {first.b.name} by the mean "
        f"({_percent(first.a.mean)} against {_percent(first.b.mean)} %), and behind it by the pooled AUC "
        f"({_percent(first.a.pooled)} against {_percent(first.b.pooled)} %)."
    )


def places(values: Sequence[float | None]) -> list[int | None]:
    """Of each value its place, 1 the highest; equal ones share the better place, None has none."""
    known = [value for value in values if value is not None]
    return [
        None if value is None else 1 + sum(other > value + _EQUAL for other in known)
        for value in values
    ]


@dataclass(frozen=True)
class Line:
    """Where the drop from the clean AUC (x) to the corrupted one (y) is `drop`: y = x - drop, cut to a rectangle."""

    drop: float
    x: tuple[float, float]
    y: tuple[float, float]


def equal_drops(x: tuple[float, float], y: tuple[float, float]) -> list[Line]:
    """Lines of equal drop through the rectangle of x and y (low, high), at round steps; in the unit of these."""
    low, high = x[0] - y[1], x[1] - y[0]
    step = _step((high - low) / _MOST_LINES)
    lines = []
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        drop = number * step
        left, right = max(x[0], y[0] + drop), min(x[1], y[1] + drop)
        # one that only touches a corner says nothing
        if right - left > 0.02 * min(x[1] - x[0], y[1] - y[0]):
            lines.append(Line(drop, (left, right), (left - drop, right - drop)))
    return lines


def _step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    if not least > 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= least * (1 - _EQUAL))


def _gap(one: float | None, other: float | None) -> float:
    return (one or 0.0) - (other or 0.0)


def _percent(value: float | None) -> str:
    return f"{100 * (value or 0.0):.2f}"
