"""Whether measures agree on which methods are better: rank correlations of the orders that they put methods in.

An order is compared by Kendall's tau-b: of all pairs of methods, those that both measures put in the same order less
those in opposite orders, over the geometric mean of the pairs that each does not tie (Kendall, "The treatment of
ties in ranking problems", Biometrika 33(3):239-251, 1945). Without ties (1 - tau) / 2 is the share of pairs that
change order, which Spearman's coefficient does not say.

Pure functions on a matrix `values` (M methods, K measures), float64, of which more is better; NaN: no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LEAST_METHODS = 4
"""Of fewer methods there is nothing to say: three have six orders in all."""
_DIGITS = 12
"""Means are compared to so many decimals: what differs by rounding is equal."""


@dataclass(frozen=True)
class Agreement:
    """What K measures say of each other.

    Attributes:
        tau: (K, K) in [-1, 1], NaN where fewer than `LEAST_METHODS` methods have both values, or one of the measures
            gives all of these the same.
        methods: (K, K) int, methods with a value of both.
        swapped: (K, K) int, pairs of these methods that the two measures put in opposite orders.
        decided: (K, K) int, pairs that neither of the two ties.
    """

    tau: Array
    methods: Array
    swapped: Array
    decided: Array


@dataclass(frozen=True)
class Move:
    """A method's places by two measures, among the methods with both; the best is 1, equal ones share the better
    place."""

    method: int
    first: int
    second: int

    @property
    def size(self) -> int:
        return abs(self.first - self.second)


def higher_is_better(rows: Sequence[Sequence[float | None]], higher: Sequence[bool]) -> Array:
    """(M, K) of M rows of K values, turned so that more is better; NaN for None and for what is not finite.

    `higher`: of each measure, whether more is better as it is. Raises ValueError for a row of other length.
    """
    import numpy as np

    made = np.full((len(rows), len(higher)), np.nan)
    for line, row in zip(made, rows, strict=True):
        if len(row) != len(higher):
            raise ValueError(f"a row has {len(row)} values, expected {len(higher)}")
        line[:] = [np.nan if value is None else value for value in row]
    made[~np.isfinite(made)] = np.nan
    return np.round(made * np.where(higher, 1.0, -1.0), _DIGITS)


def agreement(values: Array) -> Agreement:
    """Kendall's tau-b of all pairs of measures, each over the methods with both. O(M^2 K^2)."""
    import numpy as np

    count, measures = values.shape
    first, second = np.triu_indices(count, 1)
    with np.errstate(invalid="ignore"):
        gaps = values[first] - values[second]
    known = np.isfinite(gaps)
    sign = np.where(known, np.sign(gaps), 0.0)
    untied = np.abs(sign)
    has = np.isfinite(values).astype(np.float64)
    # a pair of methods counts where both measures are known, tied or not
    product = sign.T @ sign
    decided = untied.T @ untied
    own = untied.T @ known.astype(
        np.float64
    )  # [i, j]: pairs with both values that measure i does not tie
    methods = (has.T @ has).astype(np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = product / np.sqrt(own * own.T)
    tau[methods < LEAST_METHODS] = np.nan
    tau[~np.isfinite(tau)] = np.nan
    swapped = np.rint((decided - product) / 2).astype(np.int64)
    assert tau.shape == (measures, measures)
    return Agreement(np.clip(tau, -1, 1), methods, swapped, np.rint(decided).astype(np.int64))


def widest(tau: Array) -> tuple[int, int] | None:
    """The two measures that agree least, the earlier one first; of equal pairs the first. None where no tau of two
    measures is known."""
    pairs = [
        (tau[a, b], a, b) for a, b in combinations(range(len(tau)), 2) if tau[a, b] == tau[a, b]
    ]
    if not pairs:
        return None
    _, a, b = min(pairs)
    return a, b


def places(values: Sequence[float] | Array) -> list[int | None]:
    """Place of each method by one measure, 1 + methods with more; None for one without a value."""
    known = [value for value in values if value == value]
    return [
        1 + sum(other > value for other in known) if value == value else None for value in values
    ]


def moves(values: Array, a: int, b: int) -> list[Move]:
    """Places of the methods with both measures, those that move furthest first, of equal ones the better by `a`."""
    both = [
        m
        for m in range(len(values))
        if values[m, a] == values[m, a] and values[m, b] == values[m, b]
    ]
    found = [
        Move(m, before, after)
        for m, before, after in zip(
            both, places(values[both, a]), places(values[both, b]), strict=True
        )
        if before is not None and after is not None
    ]
    return sorted(found, key=lambda move: (-move.size, move.first))


def between_seeds(seeds: Iterable[Array]) -> Array:
    """(K,) mean over pairs of seeds of the tau-b between a measure's orders in two seeds: how far it agrees with itself.

    `seeds`: (M, K) for each seed, of the same methods and measures. NaN where no pair has a tau.
    """
    import numpy as np

    found = list(seeds)
    if not found:
        return np.empty(0)
    total, pairs = np.zeros(found[0].shape[1]), np.zeros(found[0].shape[1])
    for one, other in combinations(found, 2):
        for k in range(len(total)):
            tau = agreement(np.stack([one[:, k], other[:, k]], axis=1)).tau[0, 1]
            if np.isfinite(tau):
                total[k] += tau
                pairs[k] += 1
    with np.errstate(invalid="ignore"):
        return total / pairs


def finding(
    values: Array,
    methods: Sequence[str],
    measures: Sequence[str],
    *,
    what: str = "methods",
    most: int = 3,
) -> str:
    """What is found, in two sentences: the two measures that agree least, and which methods that moves most.

    `methods` and `measures`: names; `what`: what the methods are called. Raises ValueError where no two measures can
    be compared.
    """
    found = agreement(values)
    pair = widest(found.tau)
    if pair is None:
        raise ValueError("no two measures can be compared")
    a, b = pair
    tau, swapped, decided = found.tau[a, b], found.swapped[a, b], found.decided[a, b]
    if not swapped:
        return (
            f"No two of these {len(measures)} measures put any two {what} in opposite orders "
            f"(smallest Kendall's tau-b {tau:.2f}, {measures[a]} and {measures[b]})."
        )
    told = (
        f"{measures[a]} and {measures[b]} disagree most: Kendall's tau-b {tau:.2f} over "
        f"{found.methods[a, b]} {what}; {swapped} of the {decided} pairs that neither ties change order."
    )
    furthest = [move for move in moves(values, a, b) if move.size][:most]
    if not furthest:
        return told
    texts = [f"{methods[move.method]} {move.first} → {move.second}" for move in furthest]
    return f"{told} Furthest moved, place by {measures[a]} → by {measures[b]}: {', '.join(texts)}."
