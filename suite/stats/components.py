"""How much of a metric's spread is the arms', and how much the seeds': variance components of arms x seeds.

Arms are versions of one thing that differ in a parameter alone (permutations of a frame, values of a constant), taken
for draws from all such versions (random effects). Two models:

- *one-way*: y_as = mu + A_a + e_as; the error is the spread over seeds within an arm;
- *crossed*: y_as = mu + A_a + S_s + e_as, where a seed means the same in every arm (initial weights, order of the
  data): what all arms share of it is taken out, and the interaction is the error.

Pure functions over plain numbers; numpy and scipy.special are imported inside them.
Sources: Shrout and Fleiss (1979), "Intraclass correlations", Psychological Bulletin 86(2); Searle, Casella and
McCulloch (1992), "Variance Components", chapter 3; Thomas and Hultquist (1978), Annals of Statistics 6(3), for unequal
numbers of seeds.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from suite.stats.tests import ALPHA, LEVEL, moments_where

if TYPE_CHECKING:
    import numpy as np

POWER = 0.8
"""Probability with which an effect of the size `Anova.detectable` is found."""
MIN_ARMS = 2
Values = Mapping[Any, Mapping[int, float | None]] | Sequence[Sequence[float | None]]
"""arm -> seed -> value; or a sequence of arms, each with a value a seed. None and NaN: there is no value."""


@dataclass(frozen=True)
class ArmMean:
    """An arm's mean over its n values; None for n = 0."""

    arm: Hashable
    n: int
    mean: float | None


@dataclass(frozen=True)
class Anova:
    """One analysis of variance of arms, as random effects.

    Attributes:
        kind: which of the models, see above.
        arms, values: how many take part.
        seeds: values an arm, S; of unequal numbers their harmonic mean (one-way only).
        df_arm, df_error: degrees of freedom.
        ms_arm, ms_error: mean squares.
        f, p: F = ms_arm / ms_error with its p value. Where the error is zero f is None and p the limit: 0 where arms
            differ, 1 where all values are equal.
        icc: share of the variance that is the arms', max(0, (MS_a - MS_e) / (MS_a + (S - 1) MS_e)); in the crossed
            model of the variance without that of the seeds. None where all values are equal.
        low, high: its 95 % interval, cut to [0, 1]; exact for normal values where every arm has as many
            (`balanced`), else that of Thomas and Hultquist.
        arm_sd, error_sd: standard deviations of A and e, in the metric's unit.
        detectable: the arm s.d. that this test at 5 % would find with a probability of 80 %, if `error_sd` is the
            true one. None where the error is zero.
        balanced: whether every arm has as many values.
    """

    kind: Literal["one-way", "crossed"]
    arms: int
    values: int
    seeds: float
    df_arm: int
    df_error: int
    ms_arm: float
    ms_error: float
    f: float | None
    p: float
    icc: float | None
    low: float | None
    high: float | None
    arm_sd: float
    error_sd: float
    detectable: float | None
    balanced: bool

    @property
    def significant(self) -> bool:
        return self.p <= ALPHA


@dataclass(frozen=True)
class Components:
    """Both analyses of one metric.

    Attributes:
        means: of every arm, in the order given, over all its values.
        one_way: over all values; None below two arms, or where no arm has two values.
        crossed: over arms that share seeds (`crossed_arms`, `crossed_seeds`); None where no two arms share two.
        left_out: a line on values that are missing and arms and seeds that the crossed analysis leaves out; "" for none.
    """

    means: tuple[ArmMean, ...]
    one_way: Anova | None
    crossed: Anova | None
    crossed_arms: tuple[Hashable, ...]
    crossed_seeds: tuple[int, ...]
    left_out: str

    @property
    def decides(self) -> Anova | None:
        """The analysis that decides, whatever the values: the crossed one where there is one. Taking the one with
        the smaller p would make its 5 % more than 5 %."""
        return self.crossed or self.one_way


def components(values: Values) -> Components:
    """Arm means, both analyses of variance, and what they leave out.

    The one-way analysis takes every value. The crossed one needs every arm under every seed: of all arms in the order
    of how many values they have, it takes as many, with the seeds that they share, as make the largest table (of
    equal ones the one with more arms). Which, follows from what is there, never from the values.

    Raises ValueError for infinite values.
    """
    table, empty = _table(values)
    means = tuple(
        ArmMean(arm, len(of), math.fsum(of.values()) / len(of) if of else None)
        for arm, of in table.items()
    )
    there = {arm: of for arm, of in table.items() if of}
    arms, seeds = _rectangle(there)
    crossed = None
    if arms:
        crossed = _crossed([[there[arm][seed] for seed in seeds] for arm in arms])
    return Components(
        means=means,
        one_way=_one_way([list(of.values()) for of in there.values()]),
        crossed=crossed,
        crossed_arms=tuple(arms),
        crossed_seeds=tuple(seeds),
        left_out=_left_out(there, arms, seeds, empty),
    )


def detectable_sd(error_sd: float, arms: int, seeds: float, df_error: float) -> float:
    """The standard deviation of arms that an F test at 5 % over arms x seeds finds with probability `POWER`.

    With arms of standard deviation s, F / (1 + S s^2 / error^2) has the F distribution of no effect, so that
    power(s) = P(F > F_crit / (1 + S s^2 / error^2)): solved for s. `arms` >= 2, `df_error` >= 1.
    """
    from scipy.special import fdtri

    crit = float(fdtri(arms - 1, df_error, 1 - ALPHA))
    low = float(fdtri(arms - 1, df_error, 1 - POWER))
    return float(error_sd * math.sqrt(max(0.0, crit / low - 1) / seeds))


def arm_power(sd: float, error_sd: float, arms: int, seeds: float, df_error: float) -> float:
    """Probability that an F test at 5 % over arms x seeds finds arms of standard deviation `sd`; see `detectable_sd`.

    `error_sd` > 0.
    """
    from scipy.special import fdtrc, fdtri

    crit = float(fdtri(arms - 1, df_error, 1 - ALPHA))
    return float(fdtrc(arms - 1, df_error, crit / (1 + seeds * (sd / error_sd) ** 2)))


def _table(values: Values) -> tuple[dict[Any, dict[int, float]], list[str]]:
    """(arm -> seed -> value of those that are there, the names of those that are not)."""
    given = (
        values
        if isinstance(values, Mapping)
        else {place: dict(enumerate(of)) for place, of in enumerate(values)}
    )
    table: dict[Any, dict[int, float]] = {}
    empty = []
    for arm, of in given.items():
        table[arm] = {}
        for seed in sorted(of):
            value = of[seed]
            if value is None or math.isnan(value):
                empty.append(f"{arm} seed {seed}")
            elif math.isinf(value):
                raise ValueError(f"the value of arm {arm}, seed {seed} is infinite")
            else:
                table[arm][seed] = float(value)
    return table, empty


def _rectangle(table: Mapping[Any, Mapping[int, float]]) -> tuple[list[Any], list[int]]:
    """The arms and seeds of the crossed analysis, in the order given; ([], []) where there are none."""
    order = sorted(table, key=lambda arm: -len(table[arm]))
    best: tuple[int, int] = (0, 0)
    shared: set[int] = set()
    for count, arm in enumerate(order, 1):
        shared = set(table[arm]) if count == 1 else shared & table[arm].keys()
        if count >= MIN_ARMS and len(shared) >= 2 and count * len(shared) >= best[0]:
            best = (count * len(shared), count)
    chosen = set(order[: best[1]])
    arms = [arm for arm in table if arm in chosen]
    if not arms:
        return [], []
    return arms, sorted(set.intersection(*(set(table[arm]) for arm in arms)))


def _left_out(
    table: Mapping[Any, Mapping[int, float]],
    arms: Sequence[Any],
    seeds: Sequence[int],
    empty: Sequence[str],
) -> str:
    parts = []
    if empty:
        parts.append(f"no value of {_listed(empty)}")
    if not arms:
        if len(table) >= MIN_ARMS:
            parts.append("nothing is crossed, since no two arms share two seeds")
        return "; ".join(parts)
    other_arms = [str(arm) for arm in table if arm not in arms]
    other_seeds = sorted({seed for arm in arms for seed in table[arm]} - set(seeds))
    if other_arms or other_seeds:
        what = []
        if other_arms:
            what.append(f"arms {_listed(other_arms)}")
        if other_seeds:
            what.append(f"seeds {_listed([str(seed) for seed in other_seeds])}")
        parts.append(
            f"the crossed analysis is over {len(arms)} arms x {len(seeds)} seeds that they share and leaves out "
            f"{' and '.join(what)}"
        )
    return "; ".join(parts)


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _one_way(groups: Sequence[Sequence[float]]) -> Anova | None:
    import numpy as np

    counts = np.array([len(group) for group in groups])
    if len(groups) < MIN_ARMS or counts.sum() == len(groups):
        return None
    wide = np.full((len(groups), int(counts.max())), np.nan)
    for row, group in zip(wide, groups, strict=True):
        row[: len(group)] = group
    mean, variance = moments_where(wide, np.isfinite(wide))
    total = int(counts.sum())
    df_arm, df_error = len(groups) - 1, total - len(groups)
    grand = float((counts * mean).sum() / total)
    ms_arm = float((counts * (mean - grand) ** 2).sum() / df_arm)
    ms_error = float(((counts - 1) * variance).sum() / df_error)
    balanced = bool(counts.min() == counts.max())
    harmonic = len(groups) / float((1 / counts).sum())
    # ANOVA estimator's own number for the variance of arms, see Searle et al., section 3.6
    usual = float((total - (counts**2).sum() / total) / df_arm)
    of_means = harmonic * float(moments_where(mean[None, :], np.ones((1, len(mean)), bool))[1][0])
    return _anova(
        "one-way",
        arms=len(groups),
        values=total,
        seeds=float(counts[0]) if balanced else harmonic,
        df=(df_arm, df_error),
        ms=(_level(ms_arm, wide), _level(ms_error, wide)),
        size=usual,
        ms_means=_level(ms_arm if balanced else of_means, wide),
        balanced=balanced,
    )


def _crossed(table: Sequence[Sequence[float]]) -> Anova:
    import numpy as np

    values = np.asarray(table, dtype=float)
    arms, seeds = values.shape
    of_arm, of_seed, grand = values.mean(axis=1), values.mean(axis=0), values.mean()
    rest = values - of_arm[:, None] - of_seed[None, :] + grand
    df_arm, df_error = arms - 1, (arms - 1) * (seeds - 1)
    ms_arm = _level(float(seeds * ((of_arm - grand) ** 2).sum() / df_arm), values)
    ms_error = _level(float((rest**2).sum() / df_error), values)
    return _anova(
        "crossed",
        arms=arms,
        values=values.size,
        seeds=float(seeds),
        df=(df_arm, df_error),
        ms=(ms_arm, ms_error),
        size=float(seeds),
        ms_means=ms_arm,
        balanced=True,
    )


def _level(mean_square: float, values: "np.ndarray") -> float:
    """A mean square, zero where rounding alone makes it: F would be arbitrary instead of a limit."""
    import numpy as np

    rounding = 16 * float(np.finfo(float).eps) * float(np.nanmax(np.abs(values)))
    return mean_square if mean_square > rounding**2 else 0.0


def _anova(
    kind: Literal["one-way", "crossed"],
    *,
    arms: int,
    values: int,
    seeds: float,
    df: tuple[int, int],
    ms: tuple[float, float],
    size: float,
    ms_means: float,
    balanced: bool,
) -> Anova:
    """`size`: by which (MS_a - MS_e) is divided for the variance of arms; `ms_means`: harmonic mean of the numbers of
    seeds times the variance of the arm means, of which the interval is made."""
    from scipy.special import fdtrc, fdtri

    (df_arm, df_error), (ms_arm, ms_error) = df, ms
    variance = max(0.0, (ms_arm - ms_error) / size)
    f: float | None
    low: float | None
    high: float | None
    icc: float | None
    if ms_error > 0:
        f = ms_arm / ms_error
        p = float(fdtrc(df_arm, df_error, f))
        icc = variance / (variance + ms_error)
        tail = (1 - LEVEL) / 2
        ratio = ms_means / ms_error
        low, high = (
            _share(ratio / float(fdtri(df_arm, df_error, at)), seeds) for at in (1 - tail, tail)
        )
        detectable = detectable_sd(math.sqrt(ms_error), arms, seeds, df_error)
    else:
        f, detectable = None, None
        p = 0.0 if ms_arm > 0 else 1.0
        icc = low = high = 1.0 if ms_arm > 0 else None
    return Anova(
        kind=kind,
        arms=arms,
        values=values,
        seeds=seeds,
        df_arm=df_arm,
        df_error=df_error,
        ms_arm=ms_arm,
        ms_error=ms_error,
        f=f,
        p=p,
        icc=icc,
        low=low,
        high=high,
        arm_sd=math.sqrt(variance),
        error_sd=math.sqrt(ms_error),
        detectable=detectable,
        balanced=balanced,
    )


def _share(f: float, seeds: float) -> float:
    """The ICC at which the ratio of expected mean squares is f, cut to [0, 1]."""
    return min(1.0, max(0.0, (f - 1) / (f + seeds - 1)))
