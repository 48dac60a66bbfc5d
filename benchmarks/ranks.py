"""How often the board's test errs and what it finds, by simulation, beside the test that it replaced.

    OMP_NUM_THREADS=1 python benchmarks/ranks.py [--boards 1000] [--powers 100] [--part 0/2] [--variants]

Rows have normal means, standard deviations exp(spread x normal) and normal or t (4 degrees of freedom,
unit variance) noise; with a seed effect, a shift of standard deviation 1 that a seed gives to all rows.

- error: share of boards with any false difference, for rows that are all equal (required: 6 %, 7.5 % for t
  noise or spread 1). `half`: every second row equal, the others far away and apart; `pairs`: equal in pairs,
  which are far apart (a third of the boards). +- is the Monte Carlo standard error at 5 %.
- found: share of pairs told apart where true means have standard deviation 5; `before` is the paired t test
  with Holm's correction.

With `--variants` also, for three seeds and 20 rows, forms that were tried and not taken. `--part k/n` does
the k-th of n shares of the grid, for as many processes.
"""

import argparse
import itertools
from collections.abc import Callable

import numpy as np

from suite.stats import moderated, ranking
from suite.stats.tests import ALPHA, holm, pairwise

SEEDS, ROWS, SPREADS, NOISES, EFFECTS = (
    (3, 5, 10),
    (8, 20, 40),
    (0.0, 0.5, 1.0),
    ("normal", "t4"),
    (0, 1),
)
Told = Callable[[np.ndarray], np.ndarray]
"""Values (rows, seeds) -> which pairs are told apart, in the order of `np.triu_indices`."""


def means(kind: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "spread":
        return 5 * rng.normal(size=rows)
    if kind == "half":
        return np.where(np.arange(rows) < rows // 2, 0.0, 1e4 * rng.normal(size=rows))
    if kind == "pairs":
        return np.repeat(1e4 * rng.normal(size=rows // 2), 2)
    return np.zeros(rows)


def draw(
    kind: str,
    seeds: int,
    rows: int,
    spread: float,
    noise: str,
    effect: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """(true means, values of rows x seeds)."""
    truth = means(kind, rows, rng)
    deviation = np.exp(spread * rng.normal(size=(rows, 1)))
    size = rows, seeds
    shape = rng.normal(size=size) if noise == "normal" else rng.standard_t(4, size=size) / 2**0.5
    return truth, truth[:, None] + deviation * shape + effect * rng.normal(size=seeds)


def board(values: np.ndarray) -> np.ndarray:
    """The suite's own test."""
    apart = ranking.Board([dict(enumerate(row)) for row in values.tolist()]).apart
    return np.asarray(apart[np.triu_indices(len(values), 1)])


def before(values: np.ndarray) -> np.ndarray:
    """Paired t, Holm over the board."""
    p, _ = pairwise(values, *np.triu_indices(len(values), 1))
    return np.array(holm(p)) <= ALPHA


def holm_alone(values: np.ndarray) -> np.ndarray:
    """The moderated test with Holm's correction alone."""
    fit = moderated.moderate(values)
    assert fit is not None
    return np.array(holm(fit.p_values(*np.triu_indices(len(values), 1)))) <= ALPHA


def capped(values: np.ndarray) -> np.ndarray:
    """Smyth's own estimate of the prior with its degrees of freedom capped at 3, Satterthwaite's degrees of
    freedom for a pair, no blocks, Holm."""
    from scipy.special import digamma, polygamma, stdtr

    rows, seeds = values.shape
    variance, df = values.var(axis=1, ddof=1), seeds - 1.0
    logs = np.log(variance) - digamma(df / 2) + np.log(df / 2)
    excess = logs.var(ddof=1) - polygamma(1, df / 2)
    prior = 3.0
    if excess > 0:
        guess = 0.5 + 1 / excess
        for _ in range(30):
            value = polygamma(1, guess)
            guess += value * (1 - value / excess) / polygamma(2, guess)
        prior = min(prior, 2 * float(guess))
    scale = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
    error = (prior * scale + df * variance) / (prior + df) / seeds
    i, j = np.triu_indices(rows, 1)
    both = error[i] + error[j]
    freedom = both**2 * (prior + df) / (error[i] ** 2 + error[j] ** 2)
    gap = np.abs(values.mean(axis=1)[i] - values.mean(axis=1)[j])
    return np.array(holm(2 * stdtr(freedom, -gap / np.sqrt(both)))) <= ALPHA


def rates(
    test: Told, cell: tuple[int, int, float, str, int], boards: int, powers: int
) -> dict[str, float]:
    """Kind of truth -> family-wise error, and `found`."""
    rows = cell[1]
    i, j = np.triu_indices(rows, 1)
    found = {}
    for kind in ("equal", "half", "pairs"):
        rng = np.random.default_rng(1)
        hits, count = 0, boards if kind == "equal" else boards // 3
        for _ in range(count):
            truth, values = draw(kind, *cell, rng)
            hits += bool((test(values) & (truth[i] == truth[j])).any())
        found[kind] = hits / count
    rng = np.random.default_rng(2)
    found["found"] = float(np.mean([test(draw("spread", *cell, rng)[1]) for _ in range(powers)]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--boards", type=int, default=1000)
    parser.add_argument("--powers", type=int, default=100)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--variants", action="store_true")
    given = parser.parse_args()
    error = (ALPHA * (1 - ALPHA) / given.boards) ** 0.5
    print(
        f"{given.boards:,} boards of each kind (error +- {error:.3f}), {given.powers:,} for what is found"
    )
    if given.variants:
        tests: dict[str, Told] = {
            "board": board,
            "Holm alone": holm_alone,
            "cap 3": capped,
            "before": before,
        }
        print(f"{'':<12}{'spread':>7}{'noise':>8}{'equal':>8}{'half':>8}{'pairs':>8}{'found':>8}")
        for (name, test), spread, noise in itertools.product(tests.items(), SPREADS, NOISES):
            rate = rates(test, (3, 20, spread, noise, 0), given.boards, given.powers)
            print(
                f"{name:<12}{spread:>7}{noise:>8}" + "".join(f"{x:>8.3f}" for x in rate.values()),
                flush=True,
            )
        return
    share, of = map(int, given.part.split("/"))
    cells = list(itertools.product(SEEDS, ROWS, SPREADS, NOISES, EFFECTS))[share::of]
    print("seeds rows spread  noise effect   equal    half   pairs   found  before  limit")
    for cell in cells:
        rate = rates(board, cell, given.boards, given.powers)
        rng = np.random.default_rng(2)
        old = float(np.mean([before(draw("spread", *cell, rng)[1]) for _ in range(given.powers)]))
        limit = 0.075 if cell[2] == 1 or cell[3] == "t4" else 0.06
        word = "" if rate["equal"] <= limit else "  OVER"
        seeds, rows, spread, noise, effect = cell
        print(
            f"{seeds:>5}{rows:>5}{spread:>7}{noise:>7}{effect:>7}"
            + "".join(f"{x:>8.3f}" for x in (*rate.values(), old))
            + f"{limit:>7}{word}",
            flush=True,
        )


if __name__ == "__main__":
    main()
