"""Spearman's rank correlation of independent points, with its interval, and what size of it could have been seen.

Points are means of rows or of arms: of runs, replicates of one row are no independent points.

Pure functions over plain numbers; numpy and scipy are imported inside them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from suite.stats.tests import ALPHA, LEVEL

EXACT = 7
"""Up to so many points p is over all orders of them: 5,040."""
LEAST = 4
"""Fewer points have no interval."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho of n points.

    `low`, `high`: 95 % interval by Fisher's transform; None below `LEAST` points. `p`: two-sided. All are None where
    one of the two takes a single value.
    """

    rho: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Rank correlation of pairs; ties share their mean rank.

    The interval is tanh(atanh rho +- z sqrt((1 + rho^2 / 2) / (n - 3))) (Bonett and Wright 2000, "Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations", Psychometrika 65(1)). p is exact over all
    orders up to `EXACT` points, above by Student's t with n - 2 degrees of freedom.

    Raises ValueError for other lengths, or what is not finite.
    """
    import numpy as np
    from scipy.stats import rankdata

    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} values are no pairs")
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a rank correlation needs finite values")
    n = len(a)
    if n < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(None, None, None, None, n)
    ranks = [rankdata(v) - (n + 1) / 2 for v in (a, b)]
    size = math.sqrt(float((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    rho = min(1.0, max(-1.0, float(ranks[0] @ ranks[1]) / size))
    low, high = _interval(rho, n)
    if n <= EXACT:
        orders = np.array(list(permutations(range(n))))
        others = ranks[1][orders] @ ranks[0] / size
        p = float((np.abs(others) >= abs(rho) - 1e-9).mean())
    else:
        p = _t_p(rho, n)
    return Correlation(rho, low, high, p, n)


def power(rho: float, n: int) -> float:
    """Probability that the two-sided test at 5 % finds a true rank correlation `rho` in n >= `LEAST` points, by Fisher's
    transform with the variance of the interval."""
    from scipy.special import ndtr, stdtrit

    if n < LEAST:
        return 0.0
    t = float(stdtrit(n - 2, 1 - ALPHA / 2))
    bar = math.atanh(t / math.sqrt(t * t + n - 2))
    shift = math.atanh(min(abs(rho), 1 - 1e-12))
    error = math.sqrt((1 + rho * rho / 2) / (n - 3))
    return float(ndtr((shift - bar) / error) + ndtr((-shift - bar) / error))


def _interval(rho: float, n: int) -> tuple[float | None, float | None]:
    from scipy.special import ndtri

    if n < LEAST:
        return None, None
    if abs(rho) == 1:
        # the transform is infinite there: no more is known than that the ranks agree
        return rho, rho
    half = float(ndtri((1 + LEVEL) / 2)) * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)


def _t_p(rho: float, n: int) -> float:
    from scipy.special import stdtr

    if abs(rho) == 1:
        return 0.0
    t = rho * math.sqrt((n - 2) / (1 - rho * rho))
    return float(2 * stdtr(n - 2, -abs(t)))
