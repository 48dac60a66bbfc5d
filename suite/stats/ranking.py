"""Shared ranks of a board: which rows cannot be told apart, and how many seeds would do it.

A row is a mapping replicate -> value, the replicate being a seed (or a fold): that is what tells which
values of two rows belong together. numpy and scipy.special are imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from suite.stats.power import MOST_SEEDS, Estimate, effect_interval, smallest, t_power
from suite.stats.tests import ALPHA, MIN_REPLICATES, moments_where, pairs_up, pairwise

if TYPE_CHECKING:
    import numpy as np

    from suite.stats.moderated import Moderated

Test = Literal["moderated t", "t", ""]
"""What ranks a board; "t" where too few rows vary to lend each other their spread; "" for one row or none."""
Sample = Mapping[Hashable, float]

TARGET = 0.8
"""Probability with which `seeds_to_next` tells two rows apart."""
MOST_LETTERS = 702
"""a to zz; a board with more groups shows none."""


@dataclass(frozen=True)
class Place:
    """A row's place; all empty where it is unranked. See `suite.store.row.Row`."""

    rank: int | None = None
    groups: str = ""
    seeds_to_next: int | None = None


@dataclass(frozen=True)
class Ranking:
    """Places in the order of the rows given, and the test that made them."""

    test: Test
    places: tuple[Place, ...]

    @property
    def ranks(self) -> list[int | None]:
        return [place.rank for place in self.places]


def rank_rows(
    rows: Sequence[Sample], higher_is_better: bool = True, *, seeds: bool = True
) -> Ranking:
    """Places of the rows of a board; those below `MIN_REPLICATES` replicates are unranked.

    Every pair of ranked rows is tested two-sided: by the moderated t test (`suite.stats.moderated`), or,
    where fewer than five rows vary, by the paired t test (Welch's where `pairs_up` says no). Pairs are
    rejected from the smallest p value up, for as long as p <= ALPHA / the number of pairs left (Holm 1979),
    which keeps the probability of any false difference on the board at 5 %. Of the moderated t test the level is
    never below `simultaneous_level`, which holds for all pairs at once, so for any part of them; by the
    closure principle (Marcus, Peritz and Gabriel 1976) the larger of both may be taken.

    A rank is 1 + the number of rows that are significantly better, and never better than that of a row
    whose mean is better (the running maximum down the board): where a row scatters, few can be told from
    it, which does not make it good. Rows that share a letter cannot be told apart: letters are the largest
    sets of rows without a significant pair (compact letter display; Piepho 2004, "An Algorithm for a
    Letter-Based Representation of All-Pairwise Comparisons", J. Comput. Graph. Stat. 13(2)). Values must
    be finite. `seeds` says whether `seeds_to_next` is wanted, which costs more than all the rest.
    """
    ranked = [index for index, row in enumerate(rows) if len(row) >= MIN_REPLICATES]
    places = [Place()] * len(rows)
    if not ranked:
        return Ranking("", tuple(places))
    board = Board([rows[index] for index in ranked])
    found = board.places(higher_is_better, seeds)
    for index, place in zip(ranked, found, strict=True):
        places[index] = place
    return Ranking(board.test if len(ranked) > 1 else "", tuple(places))


class Board:
    """Ranked rows (three replicates or more each) and the test of every two of them.

    Attributes:
        test: what it is.
        moderated: the fit of all rows; None where too few vary.
        apart: rows x rows, whether a pair is rejected.
        level: p value that the next pair would have needed.
    """

    def __init__(self, rows: Sequence[Sample]) -> None:
        import numpy as np

        from suite.stats.moderated import moderate

        replicates = {key: k for k, key in enumerate(dict.fromkeys(k for row in rows for k in row))}
        self.values = np.full((len(rows), len(replicates)), np.nan)
        for position, row in enumerate(rows):
            self.values[position, [replicates[key] for key in row]] = list(row.values())
        self.present = np.isfinite(self.values)
        self.mean, self.variance = moments_where(self.values, self.present)
        self.n = self.present.sum(axis=1)
        self.moderated: Moderated | None = moderate(self.values)
        self.test: Test = "moderated t" if self.moderated else "t"
        first, second = np.triu_indices(len(rows), 1)
        if self.moderated is None:
            least = 0.0
            p, gap = pairwise(self.values, first, second)
        else:
            p = self.moderated.p_values(first, second, worth=ALPHA)
            gap = self.mean[first] - self.mean[second]
            freedom = 2 * (self.moderated.prior_df + float(self.moderated.df.mean()))
            least = simultaneous_level(len(rows), round(freedom))
        rejected, self.level = _rejected(p, least)
        self.apart = np.zeros((len(rows), len(rows)), dtype=bool)
        told = rejected & (gap != 0)
        self.apart[first[told], second[told]] = True
        self.apart |= self.apart.T

    def places(self, higher_is_better: bool, seeds: bool) -> list[Place]:
        """Places of the rows, in their order; see `rank_rows`."""
        import numpy as np

        sign = -1.0 if higher_is_better else 1.0
        order = np.argsort(sign * self.mean, kind="stable")
        apart, means = self.apart[np.ix_(order, order)], self.mean[order]
        # means that only rounding tells apart are equal, and equal means have one rank
        equal = np.append(np.abs(np.diff(means)) <= 1e-12 * np.abs(means).max(), False)
        better = [apart[at, :at].sum() for at in range(len(order))]
        ranks = 1 + np.maximum.accumulate(better)
        for at in reversed(np.flatnonzero(equal).tolist()):
            ranks[at] = ranks[at + 1]
        letters = _letters(apart)
        places = [Place()] * len(order)
        for at, row in enumerate(order.tolist()):
            following = int(order[at + 1]) if seeds and at + 1 < len(order) else None
            places[row] = Place(
                int(ranks[at]),
                letters[at],
                None if following is None else self.seeds_between(row, following),
            )
        return places

    def seeds_between(self, a: int, b: int, target: float = TARGET) -> int:
        """Seeds, of each of two rows, that tell them apart on this board with probability `target`.

        If the means are what they are now, the variances the board's, and the pairs left those left now;
        the smaller row's seeds where they are told apart already, `MOST_SEEDS` + 1 for more.
        """
        if self.apart[a, b]:
            return int(min(self.n[a], self.n[b]))
        have = int(max(self.n[a], self.n[b]))
        delta = abs(float(self.mean[a] - self.mean[b]))
        power = self._power_of(a, b, delta, self.level)
        found = smallest(power, target, MOST_SEEDS, least=have + 1) if delta else None
        return MOST_SEEDS + 1 if found is None else found

    def estimate(self, a: int, b: int, target: float) -> Estimate | None:
        """What it takes to tell row a from row b in a comparison of the two; None without moderation."""
        import numpy as np

        if self.moderated is None:
            return None
        difference = float(self.mean[a] - self.mean[b])
        deviation = self._spread(a, b)[0] ** 0.5
        n = int(min(self.n[a], self.n[b]))
        effect = abs(difference) / deviation
        freedom = 2 * (self.moderated.prior_df + n - 1)
        weak, strong = effect_interval(effect * n**0.5, n, freedom=freedom)

        def seeds(of: float) -> int | None:
            power = self._power_of(a, b, of * deviation, ALPHA)
            return smallest(power, target, MOST_SEEDS) if of else None

        total = seeds(effect)
        p = self.moderated.p_values(np.array([a]), np.array([b]))[0]
        on_board = self.seeds_between(a, b, target)
        return Estimate(
            paired=False,
            pilot=n,
            difference=difference,
            deviation=deviation,
            effect=effect,
            total=total,
            low=seeds(strong),
            high=seeds(weak),
            power=None if total is None else self._power_of(a, b, abs(difference), ALPHA)(total),
            reached=bool(p <= ALPHA),
            test="moderated t",
            on_board=None if on_board > MOST_SEEDS else on_board,
        )

    def _power_of(self, a: int, b: int, delta: float, level: float) -> Callable[[int], float]:
        """n -> probability that n seeds of each reject at `level` if the means differ by `delta`."""
        spread, prior, paired = self._spread(a, b)

        def power(n: int) -> float:
            if spread == 0:
                return 1.0
            freedom = prior + (n - 1 if paired else 2 * (n - 1))
            return t_power(delta * (n / spread) ** 0.5, freedom, level)

        return power

    def _spread(self, a: int, b: int) -> tuple[float, float, bool]:
        """(variance of a difference of single replicates, the prior's degrees of freedom, whether paired)."""
        import numpy as np

        if self.moderated is not None:
            spread = self.moderated.spread(a) + self.moderated.spread(b)
            return spread, 2 * self.moderated.prior_df, False
        common = self.present[a] & self.present[b]
        if pairs_up(int(common.sum()), int(self.n[a]), int(self.n[b])):
            gaps = self.values[a, common] - self.values[b, common]
            return 0.0 if np.ptp(gaps) == 0 else float(gaps.var(ddof=1)), 0.0, True
        return float(self.variance[a] + self.variance[b]), 0.0, False


@lru_cache(maxsize=1024)
def simultaneous_level(rows: int, freedom: float) -> float:
    """p value of a pair that the smallest of all pairs of `rows` equal rows undercuts in 5 % of boards.

    That of Tukey's (1949) studentised range for a t of `freedom` degrees of freedom, as Games and Howell
    (1976) use it for unequal variances: P(range < q s) is integrated over the position of the smallest row
    and over s, a chi over the root of its degrees of freedom. How well it holds for moderated variances is
    simulated in benchmarks/ranks.py.
    """
    import numpy as np
    from scipy.special import gammaincinv, ndtr, stdtr

    z = np.linspace(-7, 7, 71)[:, None]
    below = ndtr(z)
    density = np.exp(-(z**2) / 2) * (z[1, 0] - z[0, 0]) / (2 * np.pi) ** 0.5
    share = (np.arange(80) + 0.5) / 80
    scale = np.sqrt(2 * gammaincinv(freedom / 2, share) / freedom)

    def beyond(q: float) -> float:
        """P(range >= q s)."""
        within = rows * density * (ndtr(z + q * scale) - below) ** (rows - 1)
        return 1 - float(within.sum(axis=0).mean())

    low, high = 0.0, 200.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) > ALPHA else (low, middle)
    return float(2 * stdtr(freedom, -high / 2**0.5))


def _rejected(p: np.ndarray, least: float) -> tuple[np.ndarray, float]:
    """(which pairs are rejected, the level that the next one would have needed); see `rank_rows`."""
    import numpy as np

    levels = np.maximum(ALPHA / np.arange(len(p), -1, -1).clip(min=1), least)
    order = np.argsort(p, kind="stable")
    passed = np.logical_and.accumulate(p[order] <= levels[:-1])
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order] = passed
    return rejected, float(levels[passed.sum()])


def _letters(apart: np.ndarray) -> list[str]:
    """Letters of rows in the order of the board; rows share one where they are not told apart."""
    near = []
    for at, line in enumerate(apart):
        mask = 0
        for other in (~line).nonzero()[0].tolist():
            if other != at:
                mask |= 1 << other
        near.append(mask)
    cliques = []
    for clique in _cliques(near):
        cliques.append(clique)
        if len(cliques) > MOST_LETTERS:
            return [""] * len(near)
    # by best row, then by the next
    cliques.sort(key=lambda clique: [at for at in range(len(near)) if clique >> at & 1])
    return [
        "".join(_letter(k) for k, clique in enumerate(cliques) if clique >> at & 1)
        if len(cliques) <= 26
        else " ".join(_letter(k) for k, clique in enumerate(cliques) if clique >> at & 1)
        for at in range(len(near))
    ]


def _letter(k: int) -> str:
    first, second = divmod(k, 26)
    return (chr(ord("a") + first - 1) if first else "") + chr(ord("a") + second)


def _cliques(near: Sequence[int]) -> Iterator[int]:
    """Maximal cliques of a graph, as bit masks; `near[k]` are the neighbours of k.

    Source: Bron and Kerbosch (1973), CACM 16(9), with the pivot of Tomita et al. (2006).
    """
    stack = [(0, (1 << len(near)) - 1, 0)]
    while stack:
        clique, candidates, done = stack.pop()
        if not candidates and not done:
            yield clique
            continue
        pivot = max(_bits(candidates | done), key=lambda k: (candidates & near[k]).bit_count())
        for k in _bits(candidates & ~near[pivot]):
            stack.append((clique | 1 << k, candidates & near[k], done & near[k]))
            candidates &= ~(1 << k)
            done |= 1 << k


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
