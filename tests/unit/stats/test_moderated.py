"""The moderated t test against its definition, integrated numerically, and against limits that are known."""

import numpy as np
import pytest
import scipy.integrate as integrate
import scipy.special as special
import scipy.stats as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.stats import moderated
from suite.stats.moderated import Moderated, Prior, moderate

pytestmark = pytest.mark.slow


def fitted(values):
    found = moderate(np.array(values, dtype=float))
    assert found is not None
    return found


def board(rows=12, seeds=3, spread=0.0, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    deviation = np.exp(spread * rng.normal(size=(rows, 1)))
    noise = deviation * rng.normal(size=(rows, seeds))
    return 5 * rng.normal(size=(rows, 1)) + noise + shift * rng.normal(size=seeds)


def two(variance, df, priors, gap=1.0, n=3):
    """Two rows whose means differ by `gap`."""
    both = np.ones(2)
    return Moderated(np.array([gap, 0.0]), n * both, np.array(variance), df * both, priors)


def p_of(fit, first=0, second=1):
    return float(fit.p_values(np.array([first]), np.array([second]))[0])


def test_a_prior_that_is_certain_leaves_the_normal_distribution():
    # 2 degrees of freedom of data say nothing beside a prior of a billion
    fit = two([4.0, 0.1], 2.0, (Prior(1.0, 1e9, 0.5),), gap=1.5)
    assert p_of(fit) == pytest.approx(2 * reference.norm.sf(1.5 / (2 * 0.5 / 3) ** 0.5), rel=1e-3)


@pytest.mark.parametrize(("f", "g"), [(3.5, 3.5), (5.0, 9.0), (22.0, 4.0)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("gap", [1.0, 4.0, 9.0])
def test_two_unknown_variances_are_integrated(f, g, share, gap):
    """Fisher's (1935) definition: the difference is sqrt(a) t_f + sqrt(b) t_g, two independent t variates."""
    a, b = share, 1 - share

    def beyond(u):
        first = np.sqrt(a) * u
        tails = (
            special.stdtr(g, (first - gap) / np.sqrt(b)),
            special.stdtr(g, (-gap - first) / np.sqrt(b)),
        )
        return reference.t.pdf(u, f) * sum(tails)

    exact, _ = integrate.quad(beyond, -400, 400, limit=400, points=[-gap / a**0.5, 0, gap / a**0.5])
    columns = (np.array([value]) for value in (gap, a, b, f, g))
    assert moderated._behrens_fisher(*columns)[0] == pytest.approx(exact, rel=0.03)


positive = st.floats(0.05, 20)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 30), positive, positive, st.floats(2.5, 40), st.floats(2.5, 40))
def test_the_lower_bound_is_one(gap, a, b, f, g):
    columns = [np.array([value]) for value in (gap, a, b, f, g)]
    low, p = moderated._least_p(*columns)[0], moderated._behrens_fisher(*columns)[0]
    assert 0 <= low <= 1.02 * p + 1e-12 and p <= 1 + 1e-9


def test_p_falls_between_no_and_full_trust_in_the_rows_own_variances():
    """Of one prior: its t has more degrees of freedom than Welch's of the rows alone."""
    a, b = [0.50, 0.52, 0.54], [0.60, 0.62, 0.64]
    own = reference.ttest_ind(a, b, equal_var=False).pvalue
    fit = two([0.0004, 0.0004], 2.0, (Prior(1.0, 3.0, 0.0004),), gap=0.1)
    assert 2 * reference.norm.sf(0.1 / (2 * 0.0004 / 3) ** 0.5) < p_of(fit) < own


def test_the_prior_is_found_where_there_are_many_rows():
    rng = np.random.default_rng(3)
    sigma2 = 0.25 * 6 / rng.chisquare(6, size=(3000, 1))
    fit = fitted(rng.normal(size=(3000, 3)) * np.sqrt(sigma2))
    best = max(fit.priors, key=lambda prior: prior.weight)
    assert best.df == 6.0 and best.weight > 0.99
    assert best.variance == pytest.approx(0.25, rel=0.15)


def test_what_a_seed_shifts_in_all_rows_is_removed():
    plain, shifted = (
        fitted(board(rows=20)),
        fitted(board(rows=20) + 100 * np.array([0.0, 1.0, -1.0])),
    )
    assert shifted.variance == pytest.approx(plain.variance, rel=0.25)
    assert shifted.df.sum() == pytest.approx(2 * 20 - 2)


def test_rows_with_other_seeds_keep_the_shift_in_their_variance():
    values = np.full((8, 6), np.nan)
    for at in range(8):
        values[at, [0, 1, 2] if at % 2 else [3, 4, 5]] = board(rows=8, seed=1)[at]
    fit = fitted(values)
    assert fit.variance == pytest.approx(board(rows=8, seed=1).var(axis=1, ddof=1))
    assert (fit.df == 2).all()


def test_a_row_that_scatters_wildly_does_not_pass_it_on():
    calm = board(rows=10)
    wild = np.vstack([calm, [[0.0, 500.0, -700.0]]])
    assert np.median(fitted(wild).variance[:10]) < 2 * np.median(fitted(calm).variance)


def test_a_constant_row_borrows_its_spread_and_takes_no_part_in_the_fit():
    values = board(rows=10)
    with_constant = fitted(np.vstack([values, [[0.5, 0.5, 0.5]]]))
    assert with_constant.variance[10] == 0
    assert with_constant.priors == fitted(values).priors
    assert with_constant.spread(10) > 0
    same = fitted(np.vstack([values, [[0.5] * 3], [[0.5] * 3]]))
    assert p_of(same, 10, 11) == pytest.approx(1)


def test_too_few_rows_that_vary():
    assert moderate(board(rows=4)) is None
    assert moderate(np.vstack([board(rows=4), np.ones((9, 3))])) is None
    assert moderate(board(rows=5)) is not None
    assert moderate(np.empty((0, 0))) is None


def test_the_interval_holds_what_the_test_does_not_reject():
    fit = fitted(board())
    low, high = fit.interval(0, 1)
    delta = fit.mean[0] - fit.mean[1]
    assert (low + high) / 2 == pytest.approx(delta)
    at_edge = np.array([(high - low) / 2])
    assert fit._p(np.array([0]), np.array([1]), gap=at_edge)[0] == pytest.approx(0.05, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_scale_and_origin_do_not_matter(scale, origin):
    values = board(rows=6)
    i, j = np.triu_indices(6, 1)
    p, q = (fitted(v).p_values(i, j) for v in (values, scale * values + origin))
    assert q == pytest.approx(p, rel=1e-6)


def test_pairs_in_parts_and_bounds_change_nothing_that_matters(monkeypatch):
    fit = fitted(board(rows=20, spread=0.5))
    i, j = np.triu_indices(20, 1)
    exact = fit.p_values(i, j)
    monkeypatch.setattr(moderated, "PAIRS_AT_ONCE", 7)
    assert fit.p_values(i, j) == pytest.approx(exact)
    bounded = fit.p_values(i, j, worth=0.05)
    near = exact <= 0.05
    assert bounded[near] == pytest.approx(exact[near]) and (bounded[~near] > 0.05).all()


def test_rows_that_all_shift_alike_differ_by_a_constant():
    """Nothing is left of their spread: as of the paired t test, p is 0 for different means and 1 for equal ones."""
    shift = np.array([0.30, 0.31, 0.32])
    fit = fitted([shift + gap for gap in (0, 0, 0.1, 0.2, 0.3, 0.4)])
    assert p_of(fit, 0, 1) == pytest.approx(1) and p_of(fit, 0, 2) < 1e-9
    assert np.isfinite(fit.variance).all()
