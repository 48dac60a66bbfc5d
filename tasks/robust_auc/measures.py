"""Measures of a binary ranking: the area under the ROC curve, exact and weighted, DeLong's interval of it, a part of
that area, average precision. Pure numpy, one sort a ranking.

The AUC is the probability that a positive scores higher than a negative, ties one half. It is undefined, NaN, where
one class has no sample (or no weight), and where all scores are equal: such scores rank nothing, and the .5 that ties
would make of them would read as a ranking that fails. The other measures are undefined where the AUC is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from suite.stats.tests import LEVEL, Interval

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_FPR = 0.3
"""Of the partial AUC."""
_BLOCK = 1 << 16  # numbers worked on at a time: a block stays in a core's cache


@dataclass(frozen=True, eq=False)
class Ranking:
    """N scores of binary labels in their order, to be measured under any weights. `ranking` makes it.

    Weights are those of `units` test units: of the samples themselves, or of images of which each has several
    scores. They are (R, units), >= 0, R resamples at once; of None each unit counts once, R = 1. What is measured
    is (R,) float64. Whole numbers give the same number in any order and on any machine: they are summed as integers.

    Attributes:
        units: number of units.
        order: (N,) the unit of each score, in ascending order of the scores.
        positive: (N,) bool, in this order.
        begins: (G,) where each run of equal scores begins in it.
        below, reached: (N+,) for each positive, in ascending order, how many negatives score less, and not more.
    """

    units: int
    order: Array
    positive: Array
    begins: Array
    below: Array
    reached: Array

    def auc(self, weights: Array | None = None) -> Array:
        """Mann and Whitney's U over the pairs: sum over (i positive, j negative) of w_i w_j ([s_i > s_j] +
        [s_i = s_j] / 2), over the sum of w_i w_j; in [0, 1].

        O(N log N) once and O(N) a resample, from cumulated weights of the negatives.
        """
        import numpy as np

        own, other = self.order[self.positive], self.order[~self.positive]
        tied = np.flatnonzero(self.below != self.reached)

        def of(weight: Array) -> Array:
            won = _take(weight, own)
            lost = np.zeros((len(weight), len(other) + 1), weight.dtype)
            _take(weight, other).cumsum(axis=1, out=lost[:, 1:])
            pairs = won.sum(axis=1) * lost[:, -1]
            less = np.einsum("rp,rp->r", won, _take(lost, self.below))
            if not len(tied):
                return _share(less, pairs)
            reached = _take(lost, self.reached[tied])
            equal = reached - _take(lost, self.below[tied])
            some = _take(won, tied)
            value = _share(2 * less + np.einsum("rp,rp->r", some, equal), 2 * pairs)
            # ties alone: no pair in the right order, and none in the wrong one
            for row in np.flatnonzero(less == 0):
                more = lost[row, -1] - lost[row].take(self.reached)
                if not (won[row] * more).any():
                    value[row] = np.nan
            return value

        return self._by_rows(weights, of)

    def partial_auc(self, weights: Array | None = None, max_fpr: float = MAX_FPR) -> Array:
        """Area under the ROC curve at false positive rates up to `max_fpr`, standardised: .5 of a ranking by
        chance and 1 of a perfect one. `max_fpr` in (0, 1]; 1 gives the AUC.

        (1 + (A - m^2 / 2) / (m - m^2 / 2)) / 2 with A the area up to m, where the curve is a line between its
        points: McClish, "Analyzing a Portion of the ROC Curve", Medical Decision Making 9(3), 1989. This is
        scikit-learn's `roc_auc_score(max_fpr=m)`. Below chance it may be negative.
        """
        import numpy as np

        if not 0 < max_fpr <= 1:
            raise ValueError(f"a false positive rate of {max_fpr} is not in (0, 1]")

        def of(positive: Array, negative: Array) -> Array:
            all_positive, all_negative = positive.sum(axis=1), negative.sum(axis=1)
            # from the highest score on: true positives before each threshold, and false ones after it
            before = all_positive[:, None] - positive.cumsum(axis=1)
            after = negative[:, ::-1].cumsum(axis=1)[:, ::-1]
            last = max_fpr * all_negative[:, None]
            width = np.clip(last - (after - negative), 0, negative)
            with np.errstate(divide="ignore", invalid="ignore"):
                # where the last part is cut, so is the rise over it
                rise = positive * np.where(negative > 0, width / negative, 0)
                area = (width * (before + rise / 2)).sum(axis=1) / (all_positive * all_negative)
            chance = max_fpr**2 / 2
            value: Array = (1 + (area - chance) / (max_fpr - chance)) / 2
            return value

        return self._by_threshold(weights, of)

    def average_precision(self, weights: Array | None = None) -> Array:
        """Sum over thresholds of (recall_k - recall_{k-1}) precision_k, equal scores at one threshold, without
        interpolation; in (0, 1]. This is scikit-learn's `average_precision_score`."""
        import numpy as np

        def of(positive: Array, negative: Array) -> Array:
            true = positive[:, ::-1].cumsum(axis=1)[:, ::-1]
            false = negative[:, ::-1].cumsum(axis=1)[:, ::-1]
            with np.errstate(divide="ignore", invalid="ignore"):
                precision = np.where(positive > 0, true / (true + false), 0)
                value: Array = (positive * precision).sum(axis=1) / positive.sum(axis=1)
            return value

        return self._by_threshold(weights, of)

    def _by_threshold(
        self, weights: Array | None, measure: Callable[[Array, Array], Array]
    ) -> Array:
        """`measure` of the weights of positives and negatives at each distinct score, (R, G) each, ascending."""
        import numpy as np

        def of(weight: Array) -> Array:
            ordered = _take(weight, self.order)
            # every run begins somewhere, so none of these sums is of nothing
            total = np.add.reduceat(ordered, self.begins, axis=1)
            positive = np.add.reduceat(ordered * self.positive, self.begins, axis=1)
            negative = np.add.reduceat(ordered * ~self.positive, self.begins, axis=1)
            value = measure(positive, negative)
            defined = (total > 0).sum(axis=1) > 1
            defined &= positive.any(axis=1) & negative.any(axis=1)
            return np.where(defined, value, np.nan)

        return self._by_rows(weights, of)

    def _by_rows(self, weights: Array | None, of: Callable[[Array], Array]) -> Array:
        """`of` blocks of weights, int64 or float64. Raises ValueError for weights of another form."""
        import numpy as np

        if weights is None:
            weights = np.ones((1, self.units), np.int64)
        if weights.ndim != 2 or weights.shape[1] != self.units or weights.dtype.kind not in "iufb":
            raise ValueError(
                f"weights are {weights.dtype} of shape {weights.shape}, expected numbers of shape "
                f"(R, {self.units})"
            )
        kind = np.float64 if weights.dtype.kind == "f" else np.int64
        step = max(1, _BLOCK // len(self.order))
        found = np.empty(len(weights))
        for start in range(0, len(weights), step):
            rows = weights[start : start + step].astype(kind)
            if not rows.min() >= 0:
                raise ValueError("a weight is negative or NaN")
            found[start : start + step] = of(rows)
        return found


def ranking(label: Array, score: Array, unit: Array | None = None) -> Ranking:
    """Of `label` (N,), 0 negative and 1 positive (integers or bool), and `score` (N,) floating, the higher the more
    positive, N >= 1. Infinite scores are ranked.

    `unit` (N,) says which unit's weight each score has, 0..U-1; by default each sample is one. Raises RecordError
    for arrays of another form, other labels and NaN.
    """
    import numpy as np

    label, score = np.asarray(label), np.asarray(score)
    if label.ndim != 1 or label.dtype.kind not in "iub" or not len(label):
        raise RecordError(
            f"labels are {label.dtype} of shape {label.shape}, expected integers 0 and 1 of shape (N,), N >= 1"
        )
    if score.shape != label.shape or score.dtype.kind != "f":
        raise RecordError(
            f"scores are {score.dtype} of shape {score.shape}, expected floats of shape {label.shape}"
        )
    if not np.isin(label, (0, 1)).all():
        raise RecordError(f"labels lie in {label.min()}..{label.max()}, expected 0 and 1")
    if np.isnan(score).any():
        raise RecordError(f"{np.isnan(score).sum()} of {len(score)} scores are NaN")
    order = np.argsort(score, kind="stable")
    ordered, positive = score[order], label[order] == 1
    own, other = ordered[positive], ordered[~positive]
    return Ranking(
        units=len(label) if unit is None else int(unit.max()) + 1,
        order=order if unit is None else unit[order].astype(np.intp),
        positive=positive,
        begins=np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])),
        below=np.searchsorted(other, own, "left"),
        reached=np.searchsorted(other, own, "right"),
    )


def auc(label: Array, score: Array, weight: Array | None = None) -> float:
    """Area under the ROC curve of one set; `weight` (N,) of its samples. See `Ranking.auc` and `ranking`."""
    return float(ranking(label, score).auc(_one(weight))[0])


def partial_auc(
    label: Array, score: Array, weight: Array | None = None, max_fpr: float = MAX_FPR
) -> float:
    """Standardised area up to a false positive rate, of one set. See `Ranking.partial_auc` and `ranking`."""
    return float(ranking(label, score).partial_auc(_one(weight), max_fpr)[0])


def average_precision(label: Array, score: Array, weight: Array | None = None) -> float:
    """Average precision of one set. See `Ranking.average_precision` and `ranking`."""
    return float(ranking(label, score).average_precision(_one(weight))[0])


def delong(label: Array, score: Array, level: float = LEVEL) -> Interval:
    """AUC of one set with DeLong's interval, AUC +- z sqrt(S10 / N+ + S01 / N-), n = N.

    S10 is the variance (with N+ - 1) over positives of the share of negatives that they beat, S01 the one over
    negatives, ties one half: DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated
    Receiver Operating Characteristic Curves", Biometrics 44(3), 1988, eq. 2-5. The shares come from ranks, in
    O(N log N): Sun and Xu, "Fast Implementation of DeLong's Algorithm for Comparing the Areas Under Correlated
    Receiver Operating Characteristic Curves", IEEE Signal Processing Letters 21(11), 2014.

    As other intervals here it is not clipped to [0, 1]. It is symmetric, and too narrow where the AUC is near 1 or a
    class has few samples: of 500 balanced images it covers an AUC of .99 in 91 of 100 cases, with 25 positives among
    them in 75 (benchmarks/robust_auc_bootstrap.py). It has no bounds where it says nothing: fewer than two
    samples of a class, or a variance of 0, as of a set that is ranked without fault, which would be certain of its
    AUC from any number of samples. An undefined AUC is NaN. Arguments and errors as those of `ranking`.
    """
    import numpy as np

    value = auc(label, score)
    own, other = np.sort(score[label == 1]), np.sort(score[label == 0])
    if math.isnan(value) or min(len(own), len(other)) < 2:
        return Interval(value, None, None, len(label))
    beaten, lost = _share_below(own, other), 1 - _share_below(other, own)
    variance = float(beaten.var(ddof=1) / len(own) + lost.var(ddof=1) / len(other))
    # of equal shares there may be a spread of rounding
    if np.ptp(beaten) == 0 and np.ptp(lost) == 0:
        return Interval(value, None, None, len(label))
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance)
    return Interval(value, value - half, value + half, len(label))


def _take(values: Array, columns: Array) -> Array:
    """`values` (R, N) at `columns`, which are known to lie in 0..N-1: looking again takes a third of the time."""
    return values.take(columns, axis=1, mode="clip")


def _share_below(values: Array, others: Array) -> Array:
    """For each of `values` the share of `others`, ascending, that are smaller, ties one half."""
    import numpy as np

    twice = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    share: Array = twice / (2 * len(others))
    return share


def _share(part: Array, whole: Array) -> Array:
    """part / whole, NaN where the whole is 0."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        share: Array = part / whole
    return share


def _one(weight: Array | None) -> Array | None:
    return None if weight is None else weight[None]
