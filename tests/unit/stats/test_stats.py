"""Statistics of a board, against scipy.stats and hand-worked cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from suite.stats import tests as stats

fractions = st.floats(0, 1, allow_subnormal=False).map(lambda x: round(x, 6))
samples = st.lists(fractions, min_size=2, max_size=8)


@given(samples)
def test_interval_is_the_t_interval(values):
    mean, low, high, n = stats.mean_interval(values)
    assert n == len(values)
    assert mean == pytest.approx(np.mean(values))
    error = reference.sem(values) if len(set(values)) > 1 else 0.0
    half = reference.t.ppf(0.975, n - 1) * error
    assert low == pytest.approx(mean - half)
    assert high == pytest.approx(mean + half)


def test_one_value_has_no_interval():
    assert stats.mean_interval([0.3]) == (0.3, None, None, 1)


def test_no_value_has_no_mean():
    with pytest.raises(ValueError):
        stats.mean_interval([])


def test_equal_values_have_an_interval_of_width_zero():
    assert stats.mean_interval([0.3, 0.3, 0.3]) == (0.3, 0.3, 0.3, 3)


@given(samples, samples)
def test_welch_is_scipys(a, b):
    if len(set(a)) == 1 and len(set(b)) == 1:
        return
    expected = reference.ttest_ind(a, b, equal_var=False).pvalue
    assert stats.welch(a, b) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.lists(st.tuples(fractions, fractions), min_size=2, max_size=8))
def test_paired_is_scipys(pairs):
    a, b = zip(*pairs, strict=True)
    differences = np.subtract(a, b)
    if np.ptp(differences) < 1e-9:
        return
    expected = reference.ttest_rel(a, b).pvalue
    assert stats.paired(a, b) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_equal_constants_are_the_same_and_different_ones_differ():
    assert stats.welch([0.3] * 3, [0.3] * 4) == 1.0
    assert stats.welch([0.3] * 3, [0.31] * 4) == 0.0
    assert stats.paired([0.3] * 3, [0.3] * 3) == 1.0
    assert stats.paired([0.5] * 3, [0.25] * 3) == 0.0


def test_tiny_variances_do_not_underflow():
    a, b = [1e-120, 2e-120, 3e-120], [5e-120, 6e-120, 8e-120]
    expected = reference.ttest_ind(np.array(a) * 1e120, np.array(b) * 1e120, equal_var=False)
    assert stats.welch(a, b) == pytest.approx(expected.pvalue)


def test_too_few_values_for_a_test():
    with pytest.raises(ValueError):
        stats.welch([0.3], [0.1, 0.2])
    with pytest.raises(ValueError):
        stats.paired([0.3, 0.4], [0.1])


def test_holm_by_hand():
    # 0.01 x 4, 0.02 x 3, then 0.03 x 2 = 0.06 and 0.04 x 1, raised to 0.06 by monotony
    assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm([0.6, 0.9]) == [1.0, 1.0]
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p_values):
    adjusted = stats.holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= 1
    in_order = [adjusted[i] for i in np.argsort(p_values, kind="stable")]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize(
    ("common", "n_a", "n_b", "expected"),
    [(3, 3, 3, True), (2, 2, 2, False), (3, 6, 3, True), (3, 7, 3, False), (0, 3, 3, False)],
)
def test_when_rows_pair_up(common, n_a, n_b, expected):
    assert stats.pairs_up(common, n_a, n_b) is expected


def test_quantiles_of_small_samples():
    table = stats.t_quantiles([1, 2, 3, 3])
    assert set(table) == {2, 3}
    assert math.isclose(table[3], 4.302652729911275)
