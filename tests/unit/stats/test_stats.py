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


def seeds(*values):
    return dict(enumerate(values))


def test_a_clear_winner_is_first_and_those_behind_share_second():
    rows = [seeds(0.50, 0.51, 0.52), seeds(0.90, 0.91, 0.92), seeds(0.505, 0.50, 0.53)]
    assert stats.shared_ranks(rows) == [2, 1, 2]
    assert stats.shared_ranks(rows, higher_is_better=False) == [1, 3, 1]


def test_noise_alone_leaves_everybody_first():
    rows = [seeds(0.5, 0.7, 0.6), seeds(0.6, 0.5, 0.7), seeds(0.7, 0.6, 0.55)]
    assert stats.shared_ranks(rows) == [1, 1, 1]


def test_two_seeds_are_unranked_and_take_no_part_in_the_family():
    rows = [seeds(0.9, 0.9), seeds(0.5, 0.51, 0.52), {}]
    assert stats.shared_ranks(rows) == [None, 1, None]
    assert stats.shared_ranks([]) == []


def test_common_seeds_are_paired_and_others_are_not():
    # a seed effect of 0.1 hides a constant gain of 0.01 from Welch, not from pairing
    base = [0.3, 0.4, 0.5, 0.6]
    gain = [0.3101, 0.4099, 0.5102, 0.6098]
    assert stats.shared_ranks([seeds(*base), seeds(*gain)]) == [2, 1]
    other_seeds = {seed + 10: value for seed, value in enumerate(gain)}
    assert stats.shared_ranks([seeds(*base), other_seeds]) == [1, 1]


@pytest.mark.parametrize(
    ("common", "n_a", "n_b", "expected"),
    [(3, 3, 3, True), (2, 2, 2, False), (3, 6, 3, True), (3, 7, 3, False), (0, 3, 3, False)],
)
def test_when_rows_pair_up(common, n_a, n_b, expected):
    assert stats.pairs_up(common, n_a, n_b) is expected


row = st.dictionaries(st.integers(0, 5), fractions, max_size=6)


def _slow_ranks(rows, higher):
    """The definition, pair by pair."""
    ranked = [i for i, r in enumerate(rows) if len(r) >= 3]
    pairs, p_values, gaps = [], [], []
    for i in ranked:
        for j in ranked:
            if i < j:
                a, b = rows[i], rows[j]
                common = sorted(a.keys() & b.keys())
                if stats.pairs_up(len(common), len(a), len(b)):
                    x, y = [a[k] for k in common], [b[k] for k in common]
                    p_values.append(stats.paired(x, y))
                    gaps.append(stats.mean_interval(np.subtract(x, y)).mean)
                else:
                    p_values.append(stats.welch(list(a.values()), list(b.values())))
                    gaps.append(
                        stats.mean_interval(list(a.values())).mean
                        - stats.mean_interval(list(b.values())).mean
                    )
                pairs.append((i, j))
    better = dict.fromkeys(ranked, 0)
    for (i, j), p, gap in zip(pairs, stats.holm(p_values), gaps, strict=True):
        if p <= 0.05 and gap != 0:
            better[j if (gap > 0) == higher else i] += 1
    return [1 + better[i] if i in better else None for i in range(len(rows))]


@given(st.lists(row, max_size=6), st.booleans())
def test_ranks_are_their_definition(rows, higher):
    assert stats.shared_ranks(rows, higher) == _slow_ranks(rows, higher)


@given(st.lists(row, max_size=6))
def test_turning_the_scale_around_turns_the_direction_around(rows):
    negated = [{k: -v for k, v in r.items()} for r in rows]
    assert stats.shared_ranks(rows) == stats.shared_ranks(negated, higher_is_better=False)


@given(st.lists(row, max_size=6))
def test_somebody_is_first(rows):
    ranks = [rank for rank in stats.shared_ranks(rows) if rank is not None]
    assert all(1 <= rank <= len(ranks) for rank in ranks)


def test_a_large_board_is_tested_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    rows = [seeds(*(i / 20 + generator.normal(0, 0.01, 4))) for i in range(12)]
    whole = stats.shared_ranks(rows)
    monkeypatch.setattr(stats, "PAIRS_AT_ONCE", 5)
    assert stats.shared_ranks(rows) == whole
    assert len(set(whole)) > 1


def test_quantiles_of_small_samples():
    table = stats.t_quantiles([1, 2, 3, 3])
    assert set(table) == {2, 3}
    assert math.isclose(table[3], 4.302652729911275)
