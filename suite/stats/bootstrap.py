"""Bootstrap intervals: over replicates (seeds), and over the test units (images) of stored predictions.

One method for both, the expanded percentile interval: quantiles of the resampled means, at levels that
make up for the resamples' spread being too small by sqrt((n - 1) / n) and for the normal's short tails.
Source: Hesterberg (2015), "What Teachers Should Know About the Bootstrap", The American Statistician
69(4), section 5.3; plain percentiles: Efron (1979). For thousands of test images both are the same. BCa
would need a leave-one-out score per image, and corrects least where it matters here, at three to ten
seeds (coverage: benchmarks/intervals.py). Whatever its levels, an interval of resampled means lies
within the values' own range: at n = 3 it cannot cover more than three times in four.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.define.task import Ability, Predictions, Trained
from suite.stats.tests import LEVEL, Interval

if TYPE_CHECKING:
    import numpy as np

NAME = "expanded percentile bootstrap"
RESAMPLES = 1000
"""Of test images."""
SEED_RESAMPLES = 10_000
"""Of seeds: their levels lie further out, and a resample costs nothing."""
SEED = 0
"""Of the generator: the same command prints the same interval."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """The test units (images) of one run, for a bootstrap over them.

    Attributes:
        count: number of units N.
        score: weights (R, N), how often each of R resamples holds each unit, >= 0 -> metric key -> (R,)
            float64, NaN where a resample does not define it. Ones give the rows of `evaluate` exactly.
        digest: what the units are (their labels, in order): resamples of two runs are paired only if equal.
    """

    count: int
    score: Callable[["np.ndarray"], dict[str, "np.ndarray"]]
    digest: str


UnitsOf = Callable[[Predictions, Mapping[str, Any], Trained], Units]
"""(predictions, settings, trained) -> test units, for the metrics that can be weighted by unit. Pure."""
UNITS = Ability[UnitsOf]("units")


@dataclass(frozen=True)
class UnitScores:
    """Scores of a row over its test units.

    Attributes:
        points: metric key -> score of the test set itself, the mean over the row's runs.
        resampled: metric key -> (R,) scores of the resamples; NaN where one does not define it.
        count: number of units.
        runs: number of runs that the scores are means of.
        digest: of the units; two rows are paired only if theirs are equal.
    """

    points: Mapping[str, float]
    resampled: Mapping[str, "np.ndarray"]
    count: int
    runs: int
    digest: str


def generator(seed: int = SEED) -> "np.random.Generator":
    """A generator of its own: no global state is read or changed."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(seed))


def tail(n: int, level: float = LEVEL) -> float:
    """Share of resampled means left out on each side, Phi(-sqrt(n / (n - 1)) t(n - 1)); n >= 2."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(-((n / (n - 1)) ** 0.5) * stdtrit(n - 1, (1 + level) / 2)))


def bootstrap_interval(
    values: Sequence[float],
    resamples: int = RESAMPLES,
    rng: "np.random.Generator | None" = None,
    level: float = LEVEL,
) -> Interval:
    """Mean of `values` with the expanded percentile interval (None when n = 1).

    `rng` defaults to one of a fixed seed. Raises ValueError if `values` is empty or not finite.
    """
    import numpy as np

    sample = _sample(values)
    if len(sample) == 1:
        return Interval(float(sample[0]), None, None, 1)
    means = _means(sample, resamples, rng)
    share = tail(len(sample), level)
    low, high = np.quantile(means, [share, 1 - share])
    return Interval(float(sample.mean()), float(low), float(high), len(sample))


def bootstrap_p(
    values: Sequence[float],
    resamples: int = SEED_RESAMPLES,
    rng: "np.random.Generator | None" = None,
) -> float:
    """Two-sided p value of mean 0: one less the level at which the interval begins to hold 0.

    The share of resampled means beyond 0 counts as at least 1 / (resamples + 1); so three values never
    give a p below 0.05. Needs two values. Equal values are the limit: 1 if they are zero, else 0.
    """
    import numpy as np
    from scipy.special import ndtri, stdtr

    sample = _sample(values)
    n = len(sample)
    if n < 2:
        raise ValueError("a bootstrap test needs two or more values")
    if (sample == sample[0]).all():
        return 1.0 if sample[0] == 0 else 0.0
    means = _means(sample, resamples, rng)
    below = (np.sum(means < 0) + np.sum(means == 0) / 2 + 0.5) / (resamples + 1)
    share = min(max(float(min(below, 1 - below)), 1 / (resamples + 1)), 0.5)
    return float(2 * stdtr(n - 1, ndtri(share) / (n / (n - 1)) ** 0.5))


def unit_weights(
    count: int, resamples: int = RESAMPLES, rng: "np.random.Generator | None" = None
) -> "np.ndarray":
    """(R, N) int32: how often each of R resamples of size N, drawn with replacement, holds each unit.

    Rows are multinomial counts; drawing units and counting them is several times faster than drawing the
    counts.
    """
    import numpy as np

    if count < 1:
        raise ValueError("a resample needs units")
    rng = rng or generator()
    weights = np.empty((resamples, count), np.int32)
    for row in weights:
        row[:] = np.bincount(rng.integers(0, count, count), minlength=count)
    return weights


def unit_scores(runs: Sequence[Units], weights: "np.ndarray") -> UnitScores:
    """Scores of a row: the mean over its runs, all on the same resamples (`unit_weights`).

    Raises ValueError if the runs are of other units, or `weights` of another number of them.
    """
    import numpy as np

    first = runs[0]
    if any(run.digest != first.digest or run.count != first.count for run in runs):
        raise ValueError("runs of one row were tested on other units")
    if weights.shape[1] != first.count:
        raise ValueError(f"weights of {weights.shape[1]} units for {first.count}")
    ones = np.ones((1, first.count), weights.dtype)
    points = [run.score(ones) for run in runs]
    drawn = [run.score(weights) for run in runs]
    return UnitScores(
        points={key: float(np.mean([point[key][0] for point in points])) for key in points[0]},
        resampled={key: np.mean([scores[key] for scores in drawn], axis=0) for key in drawn[0]},
        count=first.count,
        runs=len(runs),
        digest=first.digest,
    )


def unit_interval(scores: UnitScores, key: str, level: float = LEVEL) -> Interval | None:
    """Interval of one metric over test units, n being their number; None where it is undefined.

    It holds for the models as they are trained: what another seed would change is not in it.
    """
    point = scores.points.get(key)
    if point is None or point != point or scores.count < 2:
        return None
    low, high = _quantiles(scores.resampled[key], scores.count, level)
    return Interval(point, low, high, scores.count)


def unit_difference(
    a: UnitScores, b: UnitScores, key: str, level: float = LEVEL
) -> tuple[Interval, float] | None:
    """(a - b with its interval, two-sided p), resamples paired; None where it is undefined.

    Both must be scores on the same `weights`. Raises ValueError for other units.
    """
    import numpy as np

    if a.digest != b.digest or a.count != b.count:
        raise ValueError("the two were tested on other units")
    if key not in a.points or key not in b.points:
        return None
    point = a.points[key] - b.points[key]
    if point != point:
        return None
    gap = a.resampled[key] - b.resampled[key]
    low, high = _quantiles(gap, a.count, level)
    gap = gap[np.isfinite(gap)]
    below = (np.sum(gap < 0) + np.sum(gap == 0) / 2 + 0.5) / (len(gap) + 1)
    p = min(1.0, 2 * max(float(min(below, 1 - below)), 1 / (len(gap) + 1)))
    if not gap.any():
        p = 1.0
    return Interval(point, low, high, a.count), p


def _quantiles(values: "np.ndarray", n: int, level: float) -> tuple[float | None, float | None]:
    import numpy as np

    known = values[np.isfinite(values)]
    if not len(known):
        return None, None
    share = tail(n, level)
    low, high = np.quantile(known, [share, 1 - share])
    return float(low), float(high)


def _sample(values: Sequence[float]) -> "np.ndarray":
    import numpy as np

    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
        raise ValueError("a bootstrap needs at least one value, all finite")
    return sample


def _means(sample: "np.ndarray", resamples: int, rng: "np.random.Generator | None") -> "np.ndarray":
    import numpy as np

    rng = rng or generator()
    drawn = sample[rng.integers(0, len(sample), (resamples, len(sample)))]
    # equal values must have equal means: rounding would give them a spread
    means: np.ndarray = np.clip(drawn.mean(axis=1), drawn.min(axis=1), drawn.max(axis=1))
    return means
