"""The moderated t test: rows of a board lend each other what they know of their spread.

A row of three seeds knows its standard deviation hardly at all, but a board has twenty of them. Each row's
variance is taken for a draw from a scaled inverse chi-square distribution, which is fitted to all rows;
what a row's own seeds say is combined with it (Smyth 2004, "Linear Models and Empirical Bayes Methods for
Assessing Differential Expression in Microarray Experiments", doi 10.2202/1544-6115.1027). Two things differ
from there, both because a board has twenty rows and not twenty thousand:

- the prior's degrees of freedom are not taken for known: p values are means over `PRIOR_DF`, weighted by
  the marginal likelihood of the rows' variances, and never above the largest of them;
- every row has a variance of its own, so a difference of two means follows no t distribution but that of
  Behrens and Fisher (Fisher 1935, "The fiducial argument in statistical inference"), which is integrated.

How often it errs and what it finds: `benchmarks/ranks.py`. numpy and scipy.special are imported inside the
functions, see `suite.stats.tests`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from suite.stats.tests import LEVEL, MIN_REPLICATES, moments_where

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

MIN_ROWS = 5
"""Fewer rows that vary say too little about a common spread."""
PRIOR_DF = (1.5, 3.0, 6.0, 20.0)
"""Degrees of freedom that the prior may have, each as likely as the other."""
PAIRS_AT_ONCE = 20_000
"""Pairs tested in one vectorised step; bounds the memory of a board of thousands of rows."""
_LEAST_WEIGHT = 1e-4
_NODES = 24


@dataclass(frozen=True)
class Prior:
    """One prior of the rows' variances: its probability, degrees of freedom and scale."""

    weight: float
    df: float
    variance: float


@dataclass(frozen=True)
class Moderated:
    """Rows of a board, ready to be compared; arrays have a value a row.

    Attributes:
        mean, n: over the row's replicates.
        variance, df: of one replicate, without what the replicates shift in all rows; `df` >= 0.25 (n - 1).
        priors: probabilities add up to 1.
    """

    mean: Array
    n: Array
    variance: Array
    df: Array
    priors: tuple[Prior, ...]

    def p_values(self, first: Array, second: Array, worth: float = 1.0) -> Array:
        """Two-sided p values of the rows `first[k]` and `second[k]` having equal means.

        Above `worth` only a lower bound that is above it, too, is computed: Holm's procedure needs no more,
        and most pairs of a board are such.
        """
        import numpy as np

        p = np.empty(len(first))
        for start in range(0, len(first), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            p[part] = self._p(first[part], second[part], worth)
        return p

    def interval(self, a: int, b: int, level: float = LEVEL) -> tuple[float, float]:
        """Interval of the difference of means a - b: those differences that the test would not reject."""
        import numpy as np

        pair = np.array([a]), np.array([b])
        delta = float(self.mean[a] - self.mean[b])
        low = 0.0
        high = float(np.sqrt(sum(self._squared_error(*pair)))[0]) or 1e-300
        while self._p(*pair, gap=np.array([high]))[0] > 1 - level:
            low, high = high, 2 * high
        for _ in range(50):
            middle = (low + high) / 2
            if self._p(*pair, gap=np.array([middle]))[0] > 1 - level:
                low = middle
            else:
                high = middle
        return delta - high, delta + high

    def spread(self, row: int) -> float:
        """Variance of one replicate of the row, as the board has it: the posterior's scale."""
        return float(
            sum(
                one.weight
                * (one.df * one.variance + self.df[row] * self.variance[row])
                / (one.df + self.df[row])
                for one in self.priors
            )
        )

    @property
    def prior_df(self) -> float:
        """Mean degrees of freedom of the prior."""
        return sum(one.weight * one.df for one in self.priors)

    def _squared_error(self, first: Array, second: Array) -> tuple[Array, Array]:
        import numpy as np

        spread = np.array([self.spread(row) for row in (*first, *second)])
        rows = np.concatenate([first, second])
        parts = spread / self.n[rows]
        return parts[: len(first)], parts[len(first) :]

    def _p(
        self, first: Array, second: Array, worth: float = 1.0, gap: Array | None = None
    ) -> Array:
        import numpy as np

        if gap is None:
            gap = np.abs(self.mean[first] - self.mean[second])
        parts = [self._under(one, first, second) for one in self.priors]
        bound = sum(
            (
                one.weight * _least_p(gap, *part)
                for one, part in zip(self.priors, parts, strict=True)
            ),
            np.zeros(len(gap)),
        )
        p = np.minimum(bound, 1.0)
        near = np.flatnonzero(p <= worth)
        p[near] = sum(
            (
                one.weight * _behrens_fisher(gap[near], *(values[near] for values in part))
                for one, part in zip(self.priors, parts, strict=True)
            ),
            np.zeros(len(near)),
        )
        return np.minimum(p, 1.0)

    def _under(self, prior: Prior, first: Array, second: Array) -> tuple[Array, ...]:
        """Squared standard errors of the two means under a prior, and their degrees of freedom."""
        freedom = prior.df + self.df
        error = (prior.df * prior.variance + self.df * self.variance) / freedom / self.n
        return error[first], error[second], freedom[first], freedom[second]


def moderate(values: Array) -> Moderated | None:
    """Fit the board `values` (rows x replicates, NaN where missing), two or more values a row.

    Replicates that all rows have (three or more) are blocks: what such a seed shifts in all rows alike is
    removed from their variances. It is estimated with weights, so that a row that scatters wildly does not
    pass its noise on to the others. Means stay the rows' own: a shift that all share leaves differences as
    they are. A row of constant values takes no part in the fit and gets its spread from the others. None
    where fewer than `MIN_ROWS` rows vary.
    """
    import numpy as np

    present = np.isfinite(values)
    mean, plain = moments_where(values, present)
    varies = plain > 0
    if varies.sum() < MIN_ROWS:
        return None
    n = present.sum(axis=1).astype(float)
    residual = np.where(present, values - mean[:, None], 0.0)
    variance, df = _variances(residual, present, n, varies)
    return Moderated(mean, n, variance, df, _priors(variance[varies], df[varies]))


def _variances(residual: Array, present: Array, n: Array, varies: Array) -> tuple[Array, Array]:
    """Variance of a replicate of each row and its degrees of freedom, blocks removed."""
    import numpy as np

    variance = (residual**2).sum(axis=1) / (n - 1)
    df = n - 1
    # rows that all shift alike leave nothing but rounding
    least = 1e-12 * variance
    blocks = present.all(axis=0)
    count = int(blocks.sum())
    if count < MIN_REPLICATES:
        return variance, df
    for _ in range(4):
        typical = np.exp(np.log(variance[varies]).mean())
        # shrunk, so that no row of three seeds is taken for exact by chance
        weight = np.where(varies, 1 / (2 * variance + 3 * typical), 0.0)
        weight /= weight.sum()
        left = residual.copy()
        shift = weight @ residual[:, blocks]
        left[:, blocks] -= shift - shift.mean()
        df = np.where(varies, (n - 1) - (count - 1) * weight, n - 1)
        variance = np.where(varies, np.maximum((left**2).sum(axis=1) / df, least), 0.0)
    return variance, df


def _priors(variance: Array, df: Array) -> tuple[Prior, ...]:
    """Priors with their probabilities, from the variances of rows that vary.

    A row's variance over the prior's scale follows F(row's df, prior's df). The scale is integrated over a
    grid around the rows' geometric mean and then taken at its mean logarithm.
    """
    import numpy as np
    from scipy.special import gammaln

    prior = np.array(PRIOR_DF)[:, None, None]
    logs = np.log(variance)
    shifts = np.linspace(-2.5, 2.5, 21)
    ratio = logs - logs.mean() - shifts[:, None]
    half, sum_half = df / 2, (df + prior) / 2
    density = (
        gammaln(sum_half)
        - gammaln(half)
        - gammaln(prior / 2)
        + half * (np.log(df / prior) + ratio)
        - sum_half * np.log1p(df / prior * np.exp(ratio))
    ).sum(axis=2)
    weight = np.exp(density - density.max())
    of_df = weight.sum(axis=1)
    scale = np.exp(logs.mean() + weight @ shifts / of_df)
    of_df = np.where(of_df >= _LEAST_WEIGHT * of_df.sum(), of_df, 0.0)
    of_df /= of_df.sum()
    return tuple(
        Prior(float(share), df_of, float(variance_of))
        for share, df_of, variance_of in zip(of_df, PRIOR_DF, scale, strict=True)
        if share
    )


def _least_p(gap: Array, a: Array, b: Array, f: Array, g: Array) -> Array:
    """A lower bound of `_behrens_fisher`: its integrand at the smallest variance of the difference."""
    import numpy as np
    from scipy.special import stdtr

    t = gap * np.sqrt(f + g) / (np.sqrt(a * f) + np.sqrt(b * g))
    return np.asarray(2 * stdtr(f + g, -t))


def _behrens_fisher(gap: Array, a: Array, b: Array, f: Array, g: Array) -> Array:
    """P(|difference| >= gap) of two means with squared standard errors a, b at f, g degrees of freedom.

    The variance is a f / X + b g / Y with X, Y chi-square; X + Y and B = X / (X + Y) are independent, so the
    difference is a t variate of f + g degrees of freedom given B, and B is Beta(f / 2, g / 2). The integral
    over the logit of B, whose integrand is smooth and decays exponentially, goes by the trapezoidal rule on
    nodes that are denser in the middle: within 1 % of p for p above 1e-8 and f, g above 2.
    """
    import numpy as np
    from scipy.special import expit, log_expit, stdtr

    u = np.linspace(-1, 1, _NODES)
    stretch = 1.5
    nodes = 14 * np.sinh(stretch * u) / np.sinh(stretch)
    f, g = f[:, None], g[:, None]
    logit = np.log(f / g) + np.sqrt(2 / f + 2 / g) * nodes
    weight = f / 2 * log_expit(logit) + g / 2 * log_expit(-logit)
    weight = np.exp(weight - weight.max(axis=1, keepdims=True)) * np.cosh(stretch * u)
    weight /= weight.sum(axis=1, keepdims=True)
    variance = a[:, None] * f / expit(logit) + b[:, None] * g / expit(-logit)
    t = gap[:, None] * np.sqrt((f + g) / variance)
    return np.asarray(2 * (weight * stdtr(f + g, -t)).sum(axis=1))
