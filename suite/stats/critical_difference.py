"""Many methods over many protocols: ranks and critical difference, win rates, head-tail exchange rate.

Pure functions over plain numbers. scipy is imported inside them. scikit-posthocs, against which the tests
hold this file, takes seconds to import and draws its diagrams with matplotlib; what is needed here of it
are one quantile and one formula.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from suite.stats.tests import ALPHA, MIN_REPLICATES, Interval, mean_interval, t_quantiles

MIN_BLOCKS = 2
"""Fewer blocks (protocols) have no average rank."""


@dataclass(frozen=True)
class CriticalDifference:
    """Friedman's test and Nemenyi's post-hoc test.

    Attributes:
        ranks: average rank of each method, 1 is best.
        blocks: number of protocols N.
        statistic, p: Friedman's chi-square with correction for ties (None for two methods, or where all
            tie everywhere).
        cd: average ranks that differ by more are told apart, at 5 % over all pairs.
        cliques: maximal sets of methods that are not told apart, as positions in `ranks`, best first;
            sets of one are left out.
        significant: whether Friedman's test lets the pairs be looked at (p <= 5 %).
    """

    ranks: tuple[float, ...]
    blocks: int
    statistic: float | None
    p: float | None
    cd: float
    cliques: tuple[tuple[int, ...], ...]

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p <= ALPHA


def critical_difference(
    scores: Sequence[Sequence[float]], higher_is_better: bool = True
) -> CriticalDifference:
    """Average ranks over blocks and what tells them apart; `scores[block][method]`, finite.

    CD = q sqrt(k (k + 1) / (6 N)), q the studentised range quantile for k groups and infinite degrees of
    freedom over sqrt(2). Sources: Friedman (1937), JASA 32(200); Nemenyi (1963), PhD thesis, Princeton;
    Demsar (2006), "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7. Raises
    ValueError below two methods or `MIN_BLOCKS` blocks.
    """
    import numpy as np
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.asarray(scores, dtype=float)
    if table.ndim != 2 or table.shape[0] < MIN_BLOCKS or table.shape[1] < 2:
        raise ValueError(f"average ranks need two methods and {MIN_BLOCKS} blocks")
    if not np.isfinite(table).all():
        raise ValueError("average ranks need a finite score of every method in every block")
    blocks, methods = table.shape
    ranks = rankdata(-table if higher_is_better else table, axis=1).mean(axis=0)
    statistic = p = None
    if methods > 2 and (table != table[:, :1]).any():
        found = friedmanchisquare(*table.T)
        statistic, p = float(found.statistic), float(found.pvalue)
    q = float(studentized_range.ppf(1 - ALPHA, methods, np.inf)) / 2**0.5
    cd = q * (methods * (methods + 1) / (6 * blocks)) ** 0.5
    averages = tuple(map(float, ranks))
    return CriticalDifference(averages, blocks, statistic, p, cd, cliques(averages, cd))


def cliques(ranks: Sequence[float], cd: float) -> tuple[tuple[int, ...], ...]:
    """Maximal sets of positions whose ranks lie within `cd` of each other, best first, two or more."""
    order = sorted(range(len(ranks)), key=lambda i: ranks[i])
    found: list[tuple[int, ...]] = []
    last = -1
    for start in range(len(order)):
        end = start
        # a hair of slack: averages of the same ranks may be summed in another order
        while end + 1 < len(order) and ranks[order[end + 1]] - ranks[order[start]] <= cd + 1e-12:
            end += 1
        if end > last and end > start:
            found.append(tuple(order[start : end + 1]))
        last = max(last, end)
    return tuple(found)


def diagram(found: CriticalDifference, names: Sequence[str], width: int = 60) -> list[str]:
    """The critical-difference diagram as lines of text: a bar a clique beside the methods, best first.

    Methods that share a column of `|` are not told apart. Each line: average rank, place on an axis from
    the best to the worst rank, bars, name.
    """
    order = sorted(range(len(names)), key=lambda i: found.ranks[i])
    low, high = found.ranks[order[0]], found.ranks[order[-1]]
    span = max(high - low, 1e-9)
    axis = max(10, min(width, 40))
    scale = min(axis, max(1, round(found.cd / span * (axis - 1)) + 1))
    mark = "|" if scale == 1 else "|" + "-" * (scale - 2) + "|"
    longer = "" if found.cd <= span else " (wider than the axis)"
    lines = [f"{'CD':>6}  {mark:<{axis}}  {found.cd:.2f}{longer}"]
    for i in order:
        place = round((found.ranks[i] - low) / span * (axis - 1))
        dot = " " * place + "*"
        bars = " ".join("|" if i in clique else " " for clique in found.cliques)
        lines.append(f"{found.ranks[i]:6.2f}  {dot:<{axis}}  {bars}  {names[i]}".rstrip())
    return lines


@dataclass(frozen=True)
class WinRate:
    """Share of `pairs` (protocol, seed) in which one method beats another; ties count one half."""

    rate: float
    pairs: int


def win_rates(
    values: Sequence[Mapping[Hashable, float]], higher_is_better: bool = True
) -> list[list[WinRate | None]]:
    """[i][j]: how often row i beats row j where both have a value; None on the diagonal and for no pair.

    Args:
        values: of each row, (protocol, seed) -> finite value.
    """
    import numpy as np

    places = {key: k for k, key in enumerate(dict.fromkeys(key for row in values for key in row))}
    table = np.full((len(values), len(places)), np.nan)
    for i, row in enumerate(values):
        table[i, [places[key] for key in row]] = list(row.values())
    if not higher_is_better:
        table = -table
    matrix: list[list[WinRate | None]] = []
    for i in range(len(values)):
        common = (np.isfinite(table) & np.isfinite(table[i])).sum(axis=1)
        wins = (table[i] > table).sum(axis=1) + (table[i] == table).sum(axis=1) / 2
        matrix.append(
            [
                None if j == i or not common[j] else WinRate(float(wins[j] / common[j]), int(n))
                for j, n in enumerate(common)
            ]
        )
    return matrix


@dataclass(frozen=True)
class Exchange:
    """What a method gains in the tail for each point that it loses in the head, against a reference.

    Attributes:
        head, tail: mean gain (method less reference) with t interval, over `n` common seeds.
        rate: tail gain / head loss; None where it is not defined.
        low, high: Fieller's 95 % limits; None where they are not bounded.
        words: what the numbers allow to say.
    """

    head: Interval
    tail: Interval
    n: int
    rate: float | None
    low: float | None
    high: float | None
    words: str


def exchange_rate(head_gains: Sequence[float], tail_gains: Sequence[float]) -> Exchange:
    """Exchange rate of paired gains, one of each a seed, higher being better.

    A rate is defined where the head loses on average. Its limits are those values r for which the mean of
    tail gain - r * head loss is not told from 0; they are bounded only where the head loss itself is
    told from 0. Source: Fieller (1954), "Some Problems in Interval Estimation", JRSS B 16(2). Raises
    ValueError for no gains, or lists of other lengths.
    """
    import numpy as np

    if not len(head_gains) or len(head_gains) != len(tail_gains):
        raise ValueError("an exchange rate needs gains in pairs")
    head, tail = mean_interval(head_gains), mean_interval(tail_gains)
    n = len(head_gains)

    def made(
        words: str,
        rate: float | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> Exchange:
        return Exchange(head, tail, n, rate, low, high, words)

    loss, gain = -head.mean, tail.mean
    if loss <= 0:
        if gain > 0:
            return made("no price: the tail gains and the head loses nothing")
        return made("no exchange: the head loses nothing, the tail gains nothing")
    if gain <= 0:
        return made("no exchange: head and tail both lose")
    rate = gain / loss
    if n < MIN_REPLICATES:
        return made(f"{n} common seed(s): no interval", rate)
    x, y = -np.asarray(head_gains, dtype=float), np.asarray(tail_gains, dtype=float)
    t = t_quantiles([n])[n]
    (sxx, sxy), (_, syy) = np.cov(x, y) * t * t / n
    a, b, c = loss * loss - sxx, loss * gain - sxy, gain * gain - syy
    if a <= 0:
        return made("no bounded interval: the head loss is not told from zero", rate)
    root = max(b * b - a * c, 0.0) ** 0.5
    low, high = float((b - root) / a), float((b + root) / a)
    if low <= 0:
        return made("the tail gain is not told from zero", rate, low, high)
    return made("", rate, low, high)
