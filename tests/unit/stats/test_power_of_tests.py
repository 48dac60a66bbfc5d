"""Power of the t tests against statsmodels, scipy and simulation."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as reference

from suite.stats import power
from suite.stats.tests import ALPHA, MIN_REPLICATES


@given(st.floats(0, 20), st.integers(2, 1000))
@example(8.0, 2)
@example(20.0, 3)
@settings(deadline=None)
def test_power_is_the_noncentral_ts(effect, n):
    found = power.paired_power(effect, n)
    bar, shift = reference.t.ppf(0.975, n - 1), effect * n**0.5
    expected = reference.nct.sf(bar, n - 1, shift) + reference.nct.cdf(-bar, n - 1, shift)
    assert 0 <= found <= 1
    if expected == expected:
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("effect", "n"), [(8, 2), (12, 2), (9, 3), (0.5, 600), (1.0, 5)])
def test_power_where_scipy_has_no_value(effect, n):
    def density(s):
        chance = reference.norm.cdf(bar * s - shift) - reference.norm.cdf(-bar * s - shift)
        return chance * reference.chi.pdf(s * root, n - 1) * root

    bar, shift, root = reference.t.ppf(0.975, n - 1), effect * n**0.5, (n - 1) ** 0.5
    missed = integrate.quad(density, 0, 1 + 10 / root, limit=400, points=[min(shift / bar, 1.0)])[0]
    assert power.paired_power(effect, n) == pytest.approx(1 - missed, abs=1e-3)
    far = power._below_far(bar, n - 1, shift) - power._below_far(-bar, n - 1, shift)
    assert far == pytest.approx(missed, abs=1e-3)


def test_numbers_of_seeds_are_statsmodels():
    solve = pytest.importorskip("statsmodels.stats.power").TTestPower().solve_power
    for effect in (0.2, 0.5, 0.8, 1.5):
        for target in (0.8, 0.9):
            expected = solve(effect, None, 0.05, target, alternative="two-sided")
            assert power.paired_seeds(effect, target) == max(3, int(np.ceil(expected)))


def test_the_textbook_example():
    # Cohen (1988), table 2.4.1: d = 0.50 needs n = 64 per group for 80 %; two equal deviations of 1
    assert power.welch_power(0.5, (1.0, 1.0), 64) >= 0.8 > power.welch_power(0.5, (1.0, 1.0), 63)


def test_the_number_of_seeds_keeps_its_promise():
    rng = np.random.default_rng(0)
    n = power.paired_seeds(1.2, 0.8)
    gaps = rng.normal(1.2, 1, (4000, n))
    hits = reference.ttest_1samp(gaps, 0, axis=1).pvalue <= ALPHA
    assert hits.mean() == pytest.approx(power.paired_power(1.2, n), abs=0.02)
    assert hits.mean() > 0.78


def test_welch_keeps_its_promise():
    rng = np.random.default_rng(1)
    x, y = rng.normal(1.0, 0.5, (4000, 12)), rng.normal(0.0, 1.5, (4000, 12))
    p = reference.ttest_ind(x, y, axis=1, equal_var=False).pvalue
    found = power.welch_power(1.0, (0.5, 1.5), 12)
    assert (p <= ALPHA).mean() == pytest.approx(found, abs=0.025)


def test_the_range_covers_the_true_effect():
    rng = np.random.default_rng(2)
    held = []
    for _ in range(600):
        gaps = rng.normal(0.9, 1, 5)
        t = abs(gaps.mean()) / gaps.std(ddof=1) * 5**0.5
        low, high = power.effect_interval(t, 5)
        held.append(low <= 0.9 <= high)
    assert np.mean(held) == pytest.approx(power.RANGE_LEVEL, abs=0.05)


pilots = st.lists(st.floats(0, 1).map(lambda x: round(x, 3)), min_size=2, max_size=6)


@pytest.mark.slow
@given(pilots, pilots, st.booleans())
@settings(deadline=None)
def test_an_estimate_is_monotone_and_symmetric(a, b, apart):
    x = dict(enumerate(a))
    y = dict(enumerate(b, start=100 if apart else 0))
    found, high = power.estimate(x, y, 0.8), power.estimate(x, y, 0.95)
    assert found.total is None or found.total >= MIN_REPLICATES
    if high.total is not None:
        assert found.total <= high.total
    if found.low is not None and found.total is not None:
        assert found.low <= found.total and (found.high is None or found.total <= found.high)
    other = power.estimate(y, x, 0.8)
    assert (other.total, other.difference) == (found.total, pytest.approx(-found.difference))
