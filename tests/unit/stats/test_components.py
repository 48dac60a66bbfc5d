"""Variance components of arms x seeds: known answers, scipy's ANOVA, what simulation says of interval and power."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from suite.stats.components import arm_power, components, detectable_sd

KNOWN = [[0.90, 0.92], [0.95, 0.97], [0.90, 0.92]]
VALUE = st.floats(0, 1, allow_subnormal=False)


def simulated(generator, arms, seeds, of_arm=0.0, of_seed=0.0):
    return (
        generator.normal(size=(arms, 1)) * of_arm
        + generator.normal(size=(1, seeds)) * of_seed
        + generator.normal(size=(arms, seeds))
    )


def test_known_answer_one_way():
    found = components(KNOWN)
    assert [one.mean for one in found.means] == pytest.approx([0.91, 0.96, 0.91])
    one = found.one_way
    assert (one.df_arm, one.df_error, one.seeds, one.balanced) == (2, 3, 2, True)
    assert one.ms_arm == pytest.approx(0.0016667, abs=5e-8)
    assert one.ms_error == pytest.approx(0.0002)
    assert round(one.f, 4) == 8.3333
    assert round(one.icc, 6) == 0.785714
    assert one.arm_sd == pytest.approx(math.sqrt((0.0016666667 - 0.0002) / 2))


def test_known_answer_crossed_has_no_interaction_at_all():
    crossed = components(KNOWN).crossed
    assert (crossed.ms_error, crossed.f, crossed.p) == (0.0, None, 0.0)
    assert (crossed.icc, crossed.low, crossed.high, crossed.detectable) == (1.0, 1.0, 1.0, None)


def test_equal_values_are_no_effect():
    found = components([[0.1 + 0.2] * 3] * 4)
    for one in (found.one_way, found.crossed):
        assert (one.f, one.p, one.icc, one.low, one.arm_sd) == (None, 1.0, None, None, 0.0)


def test_a_crossed_table_by_hand():
    # arms 0 and 3 on average, seeds 0 and 1, interaction +-.5
    found = components([[0.5, 0.5], [2.5, 4.5]]).crossed
    assert (found.df_arm, found.df_error) == (1, 1)
    assert found.ms_arm == pytest.approx(9.0) and found.ms_error == pytest.approx(1.0)
    assert found.icc == pytest.approx((9 - 1) / (9 + 1))


def test_crossed_against_the_two_way_table_of_a_linear_model():
    values = simulated(np.random.default_rng(3), 5, 4, 1.0, 2.0)
    arm, seed = (place.ravel() for place in np.indices(values.shape))
    design = np.column_stack(
        [arm == k for k in range(5)] + [seed == k for k in range(1, 4)]
    ).astype(float)
    only_seeds = np.column_stack([seed == k for k in range(4)]).astype(float)

    def left(matrix):
        fit = matrix @ np.linalg.lstsq(matrix, values.ravel(), rcond=None)[0]
        return float(((values.ravel() - fit) ** 2).sum())

    expected = ((left(only_seeds) - left(design)) / 4) / (left(design) / 12)
    found = components(values.tolist()).crossed
    assert found.f == pytest.approx(expected)
    assert found.p == pytest.approx(reference.f.sf(expected, 4, 12))


@given(
    st.lists(
        st.lists(st.integers(0, 1000).map(lambda k: k / 1000), min_size=1, max_size=5),
        min_size=2,
        max_size=6,
    )
)
def test_one_way_is_scipys(groups):
    found = components(groups).one_way
    if max(map(len, groups)) < 2:
        assert found is None
        return
    assert found.values == sum(map(len, groups))
    if found.f is None:
        assert found.p in (0.0, 1.0)
        return
    expected = reference.f_oneway(*groups)
    # scipy's sums of squares cancel: of equal means its F may fall below zero, and its p is then NaN
    assert found.f == pytest.approx(float(expected.statistic), rel=1e-7, abs=1e-9)
    if expected.statistic > 1e-9:
        assert found.p == pytest.approx(float(expected.pvalue), rel=1e-6, abs=1e-12)


TABLES = st.integers(2, 5).flatmap(
    lambda seeds: st.lists(
        st.lists(st.integers(0, 1000), min_size=seeds, max_size=seeds), min_size=2, max_size=6
    )
)


def every(found):
    return [one for one in (found.one_way, found.crossed) if one is not None]


@settings(max_examples=60)
@given(TABLES, st.integers(-50, 50), st.sampled_from([0.5, 2.0, 10.0]))
def test_scale_and_place_and_order_do_not_matter(table, shift, scale):
    before = components(table)
    moved = components([[scale * (value + shift) for value in row] for row in table])
    turned = components([row[::-1] for row in table[::-1]])
    for one, other, third in zip(every(before), every(moved), every(turned), strict=True):
        assert other.p == pytest.approx(one.p, abs=1e-8)
        assert third.p == pytest.approx(one.p, abs=1e-8)
        assert other.icc == pytest.approx(one.icc, abs=1e-8)
        assert third.icc == pytest.approx(one.icc, abs=1e-8)
        # a root of a difference that may be rounding alone
        assert other.arm_sd == pytest.approx(scale * one.arm_sd, abs=1e-4)
        if one.detectable is not None:
            assert other.detectable == pytest.approx(scale * one.detectable)


@given(TABLES)
def test_what_holds_of_every_analysis(table):
    for one in every(components(table)):
        assert 0 <= one.p <= 1 and one.arm_sd >= 0
        if one.icc is not None:
            assert 0 <= one.low <= one.icc + 1e-12 and one.icc <= one.high + 1e-12 <= 1 + 2e-12
            # the exact interval of the ICC and the F test at 5 % are one statement: 2.5 % of its lower tail
            if one.f is not None and one.balanced and one.low > 0:
                assert one.p <= 0.025 + 1e-9


@given(TABLES, st.lists(st.integers(-5, 5), min_size=5, max_size=5))
def test_what_arms_share_of_a_seed_is_taken_out(table, by_seed):
    moved = [[v + e for v, e in zip(row, by_seed, strict=False)] for row in table]
    one, other = components(table).crossed, components(moved).crossed
    assert other.p == pytest.approx(one.p, abs=1e-9)
    assert other.ms_error == pytest.approx(one.ms_error, abs=1e-6)


def test_missing_cells_are_named_in_one_line():
    full = {arm: {seed: 0.1 * arm + seed for seed in range(4)} for arm in range(5)}
    assert components(full).left_out == ""
    full[1][2] = None
    full[4][3] = math.nan
    found = components(full)
    # 4 x 3 is as large as 3 x 4, and has more arms
    assert found.crossed_arms == (0, 1, 2, 3) and found.crossed_seeds == (0, 1, 3)
    assert found.one_way.values == 18 and not found.one_way.balanced
    assert found.left_out == (
        "no value of 1 seed 2, 4 seed 3; the crossed analysis is over 4 arms x 3 seeds that they share "
        "and leaves out arms 4 and seeds 2"
    )
    assert "\n" not in found.left_out


def test_what_cannot_be_crossed_or_tested():
    apart = components({"a": {0: 1.0, 1: 2.0}, "b": {2: 1.0, 3: 2.5}})
    assert apart.crossed is None and apart.decides is apart.one_way is not None
    assert "no two arms share two seeds" in apart.left_out
    single = components({"a": {0: 1.0}, "b": {0: 2.0}})
    assert single.one_way is None and single.crossed is None and single.decides is None
    alone = components({"a": {0: 1.0, 1: 2.0}, "b": {0: None}})
    assert alone.decides is None and alone.means[1].mean is None and "b seed 0" in alone.left_out
    assert components({}).means == ()
    with pytest.raises(ValueError, match="infinite"):
        components([[1.0, math.inf], [1.0, 2.0]])


@pytest.mark.slow
@pytest.mark.parametrize(("arms", "seeds"), [(8, 4), (6, 2)])
def test_the_detectable_effect_is_detected_in_80_percent(arms, seeds):
    generator = np.random.default_rng(5)
    for kind, df in (("one_way", arms * (seeds - 1)), ("crossed", (arms - 1) * (seeds - 1))):
        effect = detectable_sd(1.0, arms, seeds, df)
        # the crossed test must not mind the seeds' own spread
        of_seed = 2.0 if kind == "crossed" else 0.0
        hits = [
            getattr(components(simulated(generator, arms, seeds, effect, of_seed).tolist()), kind).p
            <= 0.05
            for _ in range(400)
        ]
        # three standard errors
        assert np.mean(hits) == pytest.approx(0.8, abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("icc", [0.0, 0.3, 0.8])
def test_the_interval_covers_in_95_percent(icc):
    generator = np.random.default_rng(7)
    effect = math.sqrt(icc / (1 - icc))
    hits = {"one_way": 0, "unequal": 0}
    for _ in range(400):
        table = simulated(generator, 8, 4, effect)
        one = components(table.tolist()).one_way
        hits["one_way"] += one.low <= icc <= one.high
        unequal = [row[: 2 + number % 3].tolist() for number, row in enumerate(table)]
        one = components(unequal).one_way
        assert not one.balanced
        hits["unequal"] += one.low <= icc <= one.high
    # with icc 0 the lower limit is 0 in 97.5 %
    for count in hits.values():
        assert count / 400 >= 0.915


@settings(max_examples=20)
@given(st.integers(2, 20), st.integers(2, 20))
def test_more_of_either_finds_smaller_effects(arms, seeds):
    def at(a, s):
        return detectable_sd(1.0, a, s, a * (s - 1))

    assert at(arms + 1, seeds) < at(arms, seeds) and at(arms, seeds + 1) < at(arms, seeds)
    assert detectable_sd(3.0, arms, seeds, arms * (seeds - 1)) == pytest.approx(3 * at(arms, seeds))


@settings(max_examples=20)
@given(st.integers(2, 12), st.integers(2, 12), st.floats(0.01, 10))
def test_power_of_no_effect_is_5_percent_and_of_the_detectable_one_80(arms, seeds, error):
    df = arms * (seeds - 1)
    assert arm_power(0.0, error, arms, seeds, df) == pytest.approx(0.05)
    found = detectable_sd(error, arms, seeds, df)
    assert arm_power(found, error, arms, seeds, df) == pytest.approx(0.8)
