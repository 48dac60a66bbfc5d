"""Rank correlation over runs: against scipy, and replicates that are no runs of their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from suite.stats.correlation import MIN_ROWS, advantage, correlation, spearman

VALUES = st.floats(-1e3, 1e3).map(lambda value: round(value, 1))


def rows(count, seeds=2, noise=0.3, seed=0):
    """Of rows whose two values go together, with noise."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=count)
    return [
        [(level[k] + noise * a, level[k] + noise * b) for a, b in rng.normal(size=(seeds, 2))]
        for k in range(count)
    ]


@settings(max_examples=60)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=3, max_size=20))
def test_rho_is_scipys(pairs):
    found = spearman(pairs)
    x, y = zip(*pairs, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(reference.spearmanr(x, y).statistic, abs=1e-9)


def test_of_two_runs_there_is_none():
    assert spearman([(1, 2), (2, 1)]) is None
    assert correlation([[(1, 2)], [(2, 1)]]) is None


def test_an_interval_is_that_of_the_jackknife_over_rows():
    made = rows(7)
    found = correlation(made)
    assert (found.runs, found.rows) == (14, 7)
    left = [
        np.arctanh(spearman([pair for j, row in enumerate(made) if j != k for pair in row]))
        for k in range(7)
    ]
    error = np.sqrt(6 / 7 * np.sum((left - np.mean(left)) ** 2))
    half = reference.t.ppf(0.975, 6) * error
    middle = np.arctanh(found.rho)
    expected = np.tanh([middle - half, middle + half])
    np.testing.assert_allclose([found.low, found.high], expected)


def test_replicates_that_are_copies_make_no_interval_narrower():
    made = rows(9, seeds=1)
    once, often = correlation(made), correlation([row * 5 for row in made])
    assert often.rho == pytest.approx(once.rho)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert often.runs == 45


def test_few_rows_have_no_interval_whatever_their_seeds():
    found = correlation(rows(MIN_ROWS - 1, seeds=10))
    assert found.rho > 0 and found.low is found.high is None
    assert correlation(rows(MIN_ROWS)).low is not None


def test_a_perfect_order_stays_within_one():
    found = correlation([[(k, k)] for k in range(8)])
    assert found.rho == 1 and 0.99 < found.low <= found.high <= 1


def test_a_metric_that_only_one_row_changes_has_no_interval():
    # without that row it is constant
    found = correlation([[(float(k == 0), k)] for k in range(8)])
    assert found.rho < 0 and found.low is None


def test_of_two_predictors_the_better_one_has_the_advantage_whatever_its_sign():
    rng = np.random.default_rng(0)
    y = rng.normal(size=12)
    made = [[(-value, noise, value)] for value, noise in zip(y, rng.normal(size=12), strict=True)]
    found = advantage(made)
    assert found.n == 12 and found.low > 0
    assert found.mean == pytest.approx(1 - abs(spearman([(b, v) for [(_, b, v)] in made])))
    assert found.high <= 1
    other = advantage([[(b, x, v)] for [(x, b, v)] in made])
    assert other.mean == pytest.approx(-found.mean)
    same = advantage([[(v, v, v)] for [(_, _, v)] in made])
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    assert advantage(made[:4]).low is None
    assert advantage([[(1.0, b, v)] for [(_, b, v)] in made]) is None
