"""Spearman's correlation against scipy, its exact p, its interval by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from suite.stats.rank_correlation import Correlation, power, spearman

PAIRS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=8, max_size=30)


@given(PAIRS)
def test_scipys(pairs):
    x, y = zip(*pairs, strict=True)
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found == Correlation(None, None, None, None, len(x))
        return
    expected = reference.spearmanr(x, y)
    assert found.rho == pytest.approx(float(expected.statistic))
    assert found.p == pytest.approx(float(expected.pvalue), abs=1e-9)
    assert -1 <= found.low <= found.rho <= found.high <= 1


def test_p_of_few_points_is_exact():
    # of the 24 orders of four, two agree wholly or are wholly turned around
    found = spearman([1, 2, 3, 4], [10, 20, 30, 40])
    assert (found.rho, found.p, found.n) == (1.0, pytest.approx(2 / 24), 4)
    x, y = [3, 1, 4, 1, 5], [2, 7, 1, 8, 2]
    expected = reference.permutation_test(
        (x,), lambda a: reference.spearmanr(a, y).statistic, permutation_type="pairings"
    )
    assert spearman(x, y).p == pytest.approx(float(expected.pvalue))


def test_few_points_and_wrong_ones():
    assert spearman([1.0], [2.0]) == Correlation(None, None, None, None, 1)
    assert spearman([1, 2, 3], [1, 2, 3]).low is None
    with pytest.raises(ValueError, match="no pairs"):
        spearman([1], [1, 2])
    with pytest.raises(ValueError, match="finite"):
        spearman([1, math.nan], [1, 2])


def test_power_is_that_of_the_test():
    generator = np.random.default_rng(2)
    true, n = 0.6, 20
    # of normal pairs: Spearman's coefficient of correlation r is 6 / pi asin(r / 2)
    r = 2 * math.sin(math.pi * true / 6)
    hits, covered = 0, 0
    for _ in range(600):
        x = generator.normal(size=n)
        found = spearman(x, r * x + math.sqrt(1 - r * r) * generator.normal(size=n))
        hits += found.p <= 0.05
        covered += found.low <= true <= found.high
    assert hits / 600 == pytest.approx(power(true, n), abs=0.07)
    assert covered / 600 >= 0.92
    assert power(0.0, 30) == pytest.approx(0.05, abs=0.002) and power(0.9, 3) == 0.0
