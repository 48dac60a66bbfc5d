"""Power of the two-sided t test at 5 %, and how many seeds it takes.

Paired where the pilot runs share seeds (the noncentral t of the difference's mean over its standard
deviation), else Welch's, with equal numbers of seeds. Source: Cohen (1988), "Statistical Power Analysis for
the Behavioral Sciences", chapter 2. Pure functions; numpy and scipy are imported inside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from suite.stats.tests import ALPHA, MIN_REPLICATES, paired, welch

MOST_SEEDS = 1000
"""Methods that need more are as good as equal."""
RANGE_LEVEL = 0.8
"""Level of the interval of the effect that is turned into a range of seeds."""


@dataclass(frozen=True)
class Estimate:
    """What it takes to tell A from B.

    Attributes:
        paired: whether over common seeds; `pilot` counts the differences, or the seeds of the smaller.
        difference: mean A - B of the pilot runs; `deviation` its standard deviation over seeds.
        effect: |difference| / deviation (infinite is None).
        total: seeds that both must have; None above `MOST_SEEDS`.
        low, high: `total` at the ends of the effect's 80 % interval, which says how far the pilot can be
            trusted; None above `MOST_SEEDS`.
        power: probability that so many seeds tell them apart, if the pilot runs are right.
        reached: whether the pilot runs tell them apart already.
        test: whose power it is.
        on_board: seeds that both must have for their board, which tests all its pairs together, to tell them apart
            with that probability; None where they are on no board.
    """

    paired: bool
    pilot: int
    difference: float
    deviation: float
    effect: float | None
    total: int | None
    low: int | None
    high: int | None
    power: float | None
    reached: bool
    test: str = ""
    on_board: int | None = None


def paired_power(effect: float, n: int) -> float:
    """Probability that a two-sided paired t test over n >= 2 pairs has p <= 5 %.

    `effect` is |mean| / standard deviation of the differences, >= 0.
    """
    return t_power(effect * n**0.5, n - 1)


def welch_power(difference: float, deviations: tuple[float, float], n: int) -> float:
    """The same for Welch's t test with n >= 2 values each; one deviation must be above 0.

    Its degrees of freedom are Satterthwaite's at the given deviations.
    """
    a, b = (deviation**2 / n for deviation in deviations)
    freedom = (a + b) ** 2 * (n - 1) / (a * a + b * b)
    return t_power(abs(difference) / (a + b) ** 0.5, freedom)


def t_power(noncentrality: float, freedom: float, level: float = ALPHA) -> float:
    """Probability that a two-sided t test at `level` rejects; `freedom` may be a fraction."""
    from scipy.special import stdtrit

    bar = float(stdtrit(freedom, 1 - level / 2))
    missed = _below(bar, freedom, noncentrality) - _below(-bar, freedom, noncentrality)
    return min(1.0, max(0.0, 1 - missed))


def _below(t: float, freedom: float, noncentrality: float) -> float:
    """P(T <= t) of the noncentral t distribution."""
    from scipy.special import nctdtr

    value = float(nctdtr(freedom, noncentrality, t))
    return value if value == value else _below_far(t, freedom, noncentrality)


def _below_far(t: float, freedom: float, noncentrality: float) -> float:
    """The same where scipy has no value (NaN from about 11 on): the mean of P(Z + noncentrality <= t S)
    over 1,000 quantiles of S, a chi over the root of its degrees of freedom."""
    import numpy as np
    from scipy.special import gammaincinv, ndtr

    share = (np.arange(1000) + 0.5) / 1000
    spread = np.sqrt(2 * gammaincinv(freedom / 2, share) / freedom)
    return float(ndtr(t * spread - noncentrality).mean())


def effect_interval(
    t: float, n: int, level: float = RANGE_LEVEL, freedom: float | None = None
) -> tuple[float, float]:
    """Interval of the effect of n pairs whose t statistic is `t` >= 0; low is 0 where it holds none.

    `freedom` are the degrees of freedom of t, by default n - 1.

    Those effects whose noncentral t distribution has `t` neither in its lower nor in its upper tail.
    Source: Steiger and Fouladi (1997), "Noncentrality Interval Estimation".
    """
    share = (1 - level) / 2
    root: float = n**0.5
    df = n - 1 if freedom is None else freedom

    def solve(target: float) -> float:
        low, high = 0.0, 4 * t + 10
        for _ in range(60):
            # P(T <= t) falls with the noncentrality
            middle = (low + high) / 2
            if _below(t, df, middle) > target:
                low = middle
            else:
                high = middle
        return (low + high) / (2 * root)

    return solve(1 - share), solve(share)


def paired_seeds(effect: float, target: float, most: int = MOST_SEEDS) -> int | None:
    """Smallest number of pairs, at least `MIN_REPLICATES`, with that power; None above `most`."""
    return smallest(lambda n: paired_power(effect, n), target, most)


def estimate(a: Mapping[int, float], b: Mapping[int, float], target: float) -> Estimate:
    """From the pilot runs of two rows, seed -> value.

    Paired where they have two common seeds, else Welch's, which needs two values each. Raises ValueError
    for fewer.
    """
    common = sorted(a.keys() & b.keys())
    if len(common) >= 2:
        return _paired([a[seed] - b[seed] for seed in common], target)
    if min(len(a), len(b)) < 2:
        raise ValueError("too few pilot runs")
    return _unpaired(list(a.values()), list(b.values()), target)


def _paired(gaps: Sequence[float], target: float) -> Estimate:
    import numpy as np

    n, mean = len(gaps), float(np.mean(gaps))
    deviation = 0.0 if min(gaps) == max(gaps) else float(np.std(gaps, ddof=1))
    reached = n >= MIN_REPLICATES and paired(gaps, [0.0] * n) <= ALPHA
    if deviation == 0:
        total = None if mean == 0 else MIN_REPLICATES
        none = None if mean else 0.0
        return Estimate(True, n, mean, 0.0, none, total, total, total, None, reached, "paired t")
    effect = abs(mean) / deviation
    weak, strong = effect_interval(effect * n**0.5, n)
    total = paired_seeds(effect, target)
    return Estimate(
        paired=True,
        pilot=n,
        difference=mean,
        deviation=deviation,
        effect=effect,
        total=total,
        low=paired_seeds(strong, target),
        high=paired_seeds(weak, target),
        power=None if total is None else paired_power(effect, total),
        reached=reached,
        test="paired t",
    )


def _unpaired(a: Sequence[float], b: Sequence[float], target: float) -> Estimate:
    import numpy as np

    n = min(len(a), len(b))
    difference = float(np.mean(a) - np.mean(b))
    spreads = [0.0 if min(v) == max(v) else float(np.std(v, ddof=1)) for v in (a, b)]
    deviation = (spreads[0] ** 2 + spreads[1] ** 2) ** 0.5
    reached = n >= MIN_REPLICATES and welch(a, b) <= ALPHA
    if deviation == 0:
        total = None if difference == 0 else MIN_REPLICATES
        effect = None if difference else 0.0
        return Estimate(
            False, n, difference, 0.0, effect, total, total, total, None, reached, "Welch t"
        )

    def power(size: int, scale: float = 1.0) -> float:
        return welch_power(difference * scale, (spreads[0], spreads[1]), size)

    total = smallest(power, target, MOST_SEEDS)
    effect = abs(difference) / deviation
    weak, strong = effect_interval(effect * n**0.5, n)

    def at(scale: float) -> int | None:
        """Seeds needed if the difference were so many times the pilot's."""
        return smallest(lambda size: power(size, scale), target, MOST_SEEDS) if scale else None

    return Estimate(
        paired=False,
        pilot=n,
        difference=difference,
        deviation=deviation,
        effect=effect,
        total=total,
        low=at(strong / effect if effect else 0.0),
        high=at(weak / effect if effect else 0.0),
        power=None if total is None else power(total),
        reached=reached,
        test="Welch t",
    )


def smallest(
    power: Callable[[int], float], target: float, most: int, least: int = MIN_REPLICATES
) -> int | None:
    """Smallest n in `least`..`most` with power(n) >= target; power must grow with n. None above."""
    low = high = least
    # upwards, not down from `most`: a noncentral t far from its bar is slow to compute
    while high < most and power(high) < target:
        low, high = high + 1, min(2 * high, most)
    if high > most or (high == most and power(high) < target):
        return None
    while low < high:
        middle = (low + high) // 2
        if power(middle) >= target:
            high = middle
        else:
            low = middle + 1
    return low
