"""Statistics of one or two rows: intervals over replicates, t tests, Holm's correction.

Pure functions over plain numbers. What a board makes of all its rows: `suite.stats.ranking`.
numpy and scipy.special are imported inside the functions: a command that only reads must not pay for
them.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95
"""Confidence level of the intervals."""
ALPHA = 0.05
"""Family-wise error rate of a board."""
MIN_REPLICATES = 3
"""Fewer replicates make no ranked row."""
PAIRS_AT_ONCE = 200_000
"""Pairs tested in one vectorised step; bounds the memory of a board of thousands of rows."""


class Interval(NamedTuple):
    """Sample mean, t interval of the mean at `LEVEL` (None when n = 1), number of replicates."""

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean with the two-sided Student t interval, mean +- t(n - 1) s / sqrt(n).

    Source: Student (1908), "The probable error of a mean", Biometrika 6(1). The interval is not
    clipped to [0, 1]: a clipped one would hide how little a few seeds say. Raises ValueError if
    `values` is empty.
    """
    import numpy as np

    if not len(values):
        raise ValueError("a mean needs at least one value")
    sample = np.asarray(values, dtype=float)
    mean, variance = _moments(sample)
    if len(sample) == 1:
        return Interval(mean, None, None, 1)
    half = t_quantiles([len(sample)])[len(sample)] * float(np.sqrt(variance / len(sample)))
    return Interval(mean, mean - half, mean + half, len(sample))


def t_quantiles(counts: Iterable[int], level: float = LEVEL) -> dict[int, float]:
    """n -> half-width of the t interval in standard errors, for n >= 2 replicates."""
    import numpy as np
    from scipy.special import stdtrit

    n = np.array(sorted({count for count in counts if count >= 2}), dtype=float)
    return dict(zip(n.astype(int).tolist(), stdtrit(n - 1, (1 + level) / 2).tolist(), strict=True))


def welch(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p value of Welch's t test (unequal variances), for at least two values each.

    Source: Welch (1947), Biometrika 34(1-2); degrees of freedom by Satterthwaite (1946). Where both
    samples are constant the limit is taken: p = 1 if they are equal and p = 0 if they differ.
    """
    import numpy as np

    if min(len(a), len(b)) < 2:
        raise ValueError("Welch's t test needs two values in each sample")
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    (mean_x, variance_x), (mean_y, variance_y) = _moments(x), _moments(y)
    p = _welch_p(
        np.array([mean_x - mean_y]),
        np.array([variance_x / len(x)]),
        np.array([variance_y / len(y)]),
        np.array([len(x) - 1.0]),
        np.array([len(y) - 1.0]),
    )
    return float(p[0])


def paired(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p value of the paired t test, `a[i]` and `b[i]` being one replicate (n >= 2).

    Source: Student (1908). Constant differences are the limit: p = 1 if all are zero, else p = 0.
    """
    import numpy as np

    if len(a) != len(b) or len(a) < 2:
        raise ValueError("a paired t test needs two or more pairs")
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    mean, variance = _moments(difference)
    n = len(difference)
    p = _t_p(np.array([mean]), np.array([variance / n]), np.array([n - 1.0]))
    return float(p[0])


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given; reject where <= alpha.

    Controls the family-wise error rate under any dependence. Source: Holm (1979), "A simple
    sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2).
    """
    import numpy as np

    return [float(p) for p in _holm(np.asarray(p_values, dtype=float))]


def pairs_up(common: int, n_a: int, n_b: int) -> bool:
    """Whether two rows are compared with the paired test over their `common` replicates.

    Paired needs at least three common replicates that are at least half of either row's: below that
    pairing throws away more values than the shared seeds explain, and Welch's test over all
    replicates is used. The rule looks at the seeds only, never at the values.
    """
    return common >= MIN_REPLICATES and 2 * common >= max(n_a, n_b)


def pairwise(
    values: "np.ndarray", first: "np.ndarray", second: "np.ndarray"
) -> tuple["np.ndarray", "np.ndarray"]:
    """(p, mean difference) for pairs of rows of `values` (rows x replicates, NaN where missing), each by
    the test that `pairs_up` says."""
    import numpy as np

    present = np.isfinite(values)
    n = present.sum(axis=1).astype(float)
    mean, variance = moments_where(values, present)
    p = np.empty(len(first))
    difference = np.empty(len(first))
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        i, j = first[part], second[part]
        both = present[i] & present[j]
        common = both.sum(axis=1)
        pair = (common >= MIN_REPLICATES) & (2 * common >= np.maximum(n[i], n[j]))
        delta = mean[i] - mean[j]
        value = np.empty(len(i))
        w = ~pair
        value[w] = _welch_p(
            delta[w],
            variance[i[w]] / n[i[w]],
            variance[j[w]] / n[j[w]],
            n[i[w]] - 1,
            n[j[w]] - 1,
        )
        count = common[pair]
        # values are NaN where missing; 0 there is masked out by `both` again
        gap = np.where(both[pair], values[i[pair]] - values[j[pair]], 0.0)
        delta[pair], spread = moments_where(gap, both[pair])
        value[pair] = _t_p(delta[pair], spread / count, count - 1.0)
        p[part], difference[part] = value, delta
    return p, difference


def _moments(sample: "np.ndarray") -> tuple[float, float]:
    import numpy as np

    mean, variance = moments_where(sample[None, :], np.ones((1, len(sample)), dtype=bool))
    return float(mean[0]), float(variance[0])


def moments_where(values: "np.ndarray", present: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """Mean and unbiased variance of each row over its present values; variance 0 where n = 1."""
    import numpy as np

    n = present.sum(axis=1)
    low = np.where(present, values, np.inf).min(axis=1, initial=np.inf)
    high = np.where(present, values, -np.inf).max(axis=1, initial=-np.inf)
    constant = low == high
    # rounding must not give equal values a variance: t would be arbitrary instead of a limit
    mean = np.where(constant, low, np.where(present, values, 0.0).sum(axis=1) / n)
    deviation = np.where(present, values - mean[:, None], 0.0)
    variance = (deviation**2).sum(axis=1) / np.maximum(n - 1, 1)
    return mean, np.where(constant, 0.0, variance)


def _welch_p(
    delta: "np.ndarray", a: "np.ndarray", b: "np.ndarray", df_a: "np.ndarray", df_b: "np.ndarray"
) -> "np.ndarray":
    """`a` and `b` are the squared standard errors of the two means."""
    import numpy as np

    total = a + b
    share = np.divide(a, total, out=np.full_like(total, 0.5), where=total > 0)
    # in shares of the total, so that tiny variances do not underflow when squared
    df = 1 / (share**2 / df_a + (1 - share) ** 2 / df_b)
    return _t_p(delta, total, df)


def _t_p(delta: "np.ndarray", squared_error: "np.ndarray", df: "np.ndarray") -> "np.ndarray":
    import numpy as np
    from scipy.special import stdtr

    known = squared_error > 0
    t = np.divide(delta, np.sqrt(squared_error), out=np.zeros_like(delta), where=known)
    limit = np.where(delta == 0, 1.0, 0.0)
    return np.where(known, 2 * stdtr(df, -np.abs(t)), limit)


def _holm(p: "np.ndarray") -> "np.ndarray":
    import numpy as np

    order = np.argsort(p, kind="stable")
    scaled = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
