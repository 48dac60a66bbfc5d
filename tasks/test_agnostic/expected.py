"""Expected top-1 under any class shares, from stored recalls: sum over classes of share times recall.

With recalls over a whole test set this is the exact expectation over all test sets of these shares (`axis`).

Pure functions; `tasks.test_agnostic.recalls` reads what they take. Scores that a method adapts to its test set are
those of the uniform set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from suite.stats import tests as stats
from suite.stats.ranking import rank_rows
from suite.store.ranking import sample
from tasks.test_agnostic import axis

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MOST_DRAWS, LEAST_DRAWS, _DRAWN = 1000, 100, 40_000
"""Draws of a distribution: as many as make `_DRAWN` shares, within these bounds."""
CENTRAL = 0.9
"""Share of the draws that a band holds."""


@dataclass(frozen=True)
class Row:
    """A row of the board with its counted runs.

    `name` tells it from the other rows; `runs` go with `seeds`; `dependent`: its scores depend on the test
    set, so that they are exact on the uniform one alone.
    """

    name: str
    method: str
    params: Mapping[str, Any]
    digest: str
    flags: tuple[str, ...]
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    dependent: bool = False
    inputs: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Recalls:
    """Recalls of the runs under one protocol.

    Attributes:
        classes, counts: names and training counts (C,), as recorded.
        order: class ids by falling training count, int64 (C,).
        rows: by method and parameters.
        values: float64 (runs, C) in [0, 1], NaN where undefined; runs of a row stand together, in order.
        present: bool (C,): classes with test images, which some run has a recall of.
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    order: Array
    rows: tuple[Row, ...]
    values: Array
    present: Array

    @property
    def draws(self) -> int:
        """How many draws of a distribution are made: the more classes, the fewer."""
        return min(MOST_DRAWS, max(LEAST_DRAWS, _DRAWN // max(len(self.classes), 1)))

    def parts(self) -> list[slice]:
        """Where the runs of each row are."""
        made, start = [], 0
        for row in self.rows:
            made.append(slice(start, start + len(row.runs)))
            start += len(row.runs)
        return made


@dataclass(frozen=True)
class Curves:
    """Expected top-1 along the axis.

    Attributes:
        places: (P,).
        mean, low, high: (rows, P) fractions, NaN where undefined: mean over the runs, and its 95 % t
            interval or, with draws, the central 90 % of the draws' means over the runs.
        best: row with the highest mean at each place, of the ranked rows if there are any; -1 for none.
        tied: rows that share rank 1 at each place; 0 where no row is ranked.
    """

    places: tuple[float, ...]
    mean: Array
    low: Array
    high: Array
    best: tuple[int, ...]
    tied: tuple[int, ...]


@dataclass(frozen=True)
class Standing:
    """A row at one place. Fractions; None where undefined.

    `half` is the half-width of the 95 % t interval over runs, `worst` the mean of the worst tenth of the draws
    (mean over runs), `behind` the mean's difference to that of the best row (of the ranked, if any).
    """

    rank: int | None
    n: int
    mean: float | None
    half: float | None
    worst: float | None
    behind: float | None


@dataclass(frozen=True)
class Stretch:
    """Neighbouring places of the axis, `first` to `last` (their numbers), where one row has the highest mean;
    `least` to `most` rows share rank 1 there."""

    row: int
    first: int
    last: int
    least: int
    most: int


def curves(recalls: Recalls) -> Curves:
    """Every row along the axis."""
    import numpy as np

    places = axis.places()
    each = [axis.shares(recalls.order, place, recalls.present) for place in places]
    scores = expected(recalls, np.array(each))
    mean, half = _intervals(recalls, scores)
    best, tied = [], []
    for at in range(len(places)):
        ranks = _ranks(recalls, scores[:, at])
        best.append(_best(mean[:, at], ranks))
        tied.append(ranks.count(1))
    return Curves(places, mean, mean - half, mean + half, tuple(best), tuple(tied))


def straying(recalls: Recalls, along: Curves, alpha: float) -> Curves:
    """The curves with bands over draws of this concentration."""
    import numpy as np

    ends = [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2]
    low, high = np.empty_like(along.low), np.empty_like(along.high)
    for at, place in enumerate(along.places):
        prior = axis.shares(recalls.order, place, recalls.present)
        scores = expected(recalls, axis.drawn_shares(prior, alpha, recalls.draws))
        low[:, at], high[:, at] = np.quantile(_row_means(recalls, scores), ends, axis=1)
    return replace(along, low=low, high=high)


def standings(recalls: Recalls, place: float, alpha: float | None = None) -> list[Standing]:
    """Every row at a place, in the order of the rows."""
    import numpy as np

    prior = axis.shares(recalls.order, place, recalls.present)
    scores = expected(recalls, prior[None])
    (mean,), (half,) = (part.T for part in _intervals(recalls, scores))
    ranks = _ranks(recalls, scores[:, 0])
    worst = np.full(len(mean), np.nan)
    if alpha is not None:
        drawn = np.sort(expected(recalls, axis.drawn_shares(prior, alpha, recalls.draws)), axis=1)
        tenth = drawn[:, : max(1, drawn.shape[1] // 10)].mean(axis=1)
        worst = _row_means(recalls, tenth[:, None])[:, 0]
    best = _best(mean, ranks)
    return [
        Standing(
            rank=ranks[at],
            n=len(row.runs),
            mean=_number(mean[at]),
            half=_number(half[at]),
            worst=_number(worst[at]),
            behind=None if best < 0 else _number(mean[at] - mean[best]),
        )
        for at, row in enumerate(recalls.rows)
    ]


def expected(recalls: Recalls, priors: Array) -> Array:
    """Expected top-1 (runs, P) under shares (P, C); NaN for a run without the recall of a present class."""
    import numpy as np

    made: Array = np.where(recalls.present, recalls.values, 0.0) @ priors.T
    return made


def leading(found: Curves, most: int) -> list[int]:
    """Rows that come first somewhere, then those that come second, and so on: at most `most`.

    Among equals, those with the higher mean along the axis. Rows without a value are left out.
    """
    import numpy as np

    mean = np.where(np.isfinite(found.mean), found.mean, -np.inf)
    if not mean.size:
        return []
    place = np.argsort(np.argsort(-mean, axis=0, kind="stable"), axis=0).min(axis=1)
    rows = [at for at in range(len(mean)) if np.isfinite(mean[at]).all()]
    # what the strip shows belongs in the chart, too: a better row may be unranked
    winners = set(found.best)
    rows.sort(key=lambda at: (at not in winners, place[at], -mean[at].mean()))
    return rows[:most]


def stretches(found: Curves) -> list[Stretch]:
    """Who wins where, from forward to backward; places without a winner are left out."""
    made: list[Stretch] = []
    for at, (row, tied) in enumerate(zip(found.best, found.tied, strict=True)):
        if made and made[-1].row == row and made[-1].last == at - 1:
            last = made.pop()
            made.append(Stretch(row, last.first, at, min(last.least, tied), max(last.most, tied)))
        elif row >= 0:
            made.append(Stretch(row, at, at, tied, tied))
    return made


def _intervals(recalls: Recalls, scores: Array) -> tuple[Array, Array]:
    """(mean, half-width of the t interval) over the runs of each row: (rows, P), NaN where undefined.

    As `stats.mean_interval`, for all places at once.
    """
    import numpy as np

    parts = recalls.parts()
    quantile = _quantiles(tuple(sorted({part.stop - part.start for part in parts})))
    mean = np.full((len(parts), scores.shape[1]), np.nan)
    half = mean.copy()
    for at, part in enumerate(parts):
        values = scores[part]
        n = len(values)
        # rounding must not give equal values an interval
        same = values.max(axis=0) == values.min(axis=0)
        mean[at] = np.where(same, values[0], values.mean(axis=0))
        if n > 1:
            deviation = np.where(same, 0.0, values.std(axis=0, ddof=1))
            half[at] = np.where(np.isnan(mean[at]), np.nan, quantile[n] * deviation / math.sqrt(n))
    return mean, half


@lru_cache(maxsize=64)
def _quantiles(counts: tuple[int, ...]) -> dict[int, float]:
    return stats.t_quantiles(counts)


def _row_means(recalls: Recalls, scores: Array) -> Array:
    import numpy as np

    return np.array([scores[part].mean(axis=0) for part in recalls.parts()])


def _ranks(recalls: Recalls, scores: Array) -> list[int | None]:
    """Shared ranks of the rows by the scores (runs,) of their runs."""
    numbers = [None if math.isnan(score) else score for score in scores.tolist()]
    return rank_rows(
        [
            sample(row.seeds, row.runs, numbers[part])
            for row, part in zip(recalls.rows, recalls.parts(), strict=True)
        ],
        seeds=False,
    ).ranks


def _best(mean: Array, ranks: Sequence[int | None]) -> int:
    """The row with the highest mean, of the ranked ones if there are any; -1 for none."""
    import numpy as np

    ranked = [at for at, rank in enumerate(ranks) if rank is not None]
    among = ranked or np.flatnonzero(np.isfinite(mean)).tolist()
    return max(among, key=lambda at: float(mean[at]), default=-1)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
