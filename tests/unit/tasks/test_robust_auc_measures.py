"""Measures of `robust-auc` against scikit-learn, pair counting and the textbook form of DeLong's variance."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from suite.base.errors import RecordError
from suite.stats import bootstrap
from tasks.robust_auc import measures
from tasks.robust_auc.measures import auc, average_precision, delong, partial_auc, ranking

LABEL = np.array([1, 1, 0, 0, 0], np.uint8)
SCORE = np.array([0.9, 0.3, 0.6, 0.2, 0.3], np.float32)


def sample(images=300, seed=0, ties=None, shift=1.0, share=0.5):
    """Labels and scores that know something of them; `ties`: rounded to so many steps a unit."""
    rng = np.random.default_rng(seed)
    label = (rng.random(images) < share).astype(np.uint8)
    score = rng.normal(shift * label)
    return label, score if ties is None else np.round(score * ties) / ties


def naive_auc(label, score, weight):
    """Over all pairs, one by one."""
    won = total = 0.0
    for i in np.flatnonzero(label == 1):
        for j in np.flatnonzero(label == 0):
            pair = weight[i] * weight[j]
            total += pair
            won += pair * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
    seen = set(score[weight > 0].tolist())
    return won / total if total and len(seen) > 1 else math.nan


def naive_delong(label, score):
    """(AUC, variance) from the whole N+ x N- matrix, as DeLong et al. wrote it."""
    own, other = score[label == 1], score[label == 0]
    psi = (own[:, None] > other) + 0.5 * (own[:, None] == other)
    theta = psi.mean()
    s10 = ((psi.mean(axis=1) - theta) ** 2).sum() / (len(own) - 1)
    s01 = ((psi.mean(axis=0) - theta) ** 2).sum() / (len(other) - 1)
    return theta, s10 / len(own) + s01 / len(other)


# -- known answers


def test_areas_by_hand():
    # .9 beats three; .3 beats .2 and ties with .3: 4.5 of 6 pairs
    assert auc(LABEL, SCORE) == 4.5 / 6
    # thresholds .9 (1 of 1 right), .6, .3 (2 of 4): (1 + 2 / 4) / 2
    assert average_precision(LABEL, SCORE) == pytest.approx(0.75)
    # up to a rate of 1/2: 1/3 wide at height 1/2, then half of the step from 1/2 to 1, which is 1/3 wide
    area = 1 / 3 * 1 / 2 + 1 / 6 * (1 / 2 + 1 / 8)
    value = (1 + (area - 1 / 8) / (1 / 2 - 1 / 8)) / 2
    assert partial_auc(LABEL, SCORE, max_fpr=0.5) == pytest.approx(value)


def test_weights_are_copies():
    weight = np.array([2, 1, 1, 0, 3])
    again = np.repeat(np.arange(5), weight)
    for measure in (auc, average_precision, partial_auc):
        expected = measure(LABEL[again], SCORE[again])
        assert measure(LABEL, SCORE, weight) == pytest.approx(expected, abs=1e-15)
    # .9 twice over .6 and thrice over .3; .3 ties thrice and loses to .6: 8 + 1.5 of 12
    assert auc(LABEL, SCORE, weight) == (2 * 1 + 2 * 3 + 1.5) / 12


def test_copies_of_a_whole_class_change_nothing():
    # sheet 2.6
    label, score = sample(ties=4)
    again = np.concatenate([np.arange(len(label)), np.flatnonzero(label == 1)])
    assert auc(label[again], score[again]) == auc(label, score)
    assert partial_auc(label[again], score[again]) == pytest.approx(partial_auc(label, score))


@pytest.mark.parametrize("measure", [auc, average_precision, partial_auc])
def test_what_ranks_nothing_is_undefined_and_not_a_half(measure):
    ones = np.ones(4, np.uint8)
    assert math.isnan(measure(ones, SCORE[:4]))
    assert math.isnan(measure(ones * 0, SCORE[:4]))
    assert math.isnan(measure(LABEL, SCORE * 0))
    assert math.isnan(measure(np.array([1]), np.array([0.5])))
    # a resample may be so too: one class, none at all, or the two that tie
    for weight in ([1, 1, 0, 0, 0], [0, 0, 1, 2, 1], [0] * 5, [0, 3, 0, 0, 2]):
        for kind in (np.int64, np.float64):
            assert math.isnan(measure(LABEL, SCORE, np.array(weight, kind) * kind(1))), weight
    # floats whose sums are rounded
    third = np.array([0, 0.1, 0, 0, 0.3])
    assert math.isnan(measure(LABEL, SCORE, third))
    # ties and one pair in the wrong order, or in the right one, are a ranking
    assert auc(np.array([1, 0, 0]), np.array([1.0, 1, 2])) == 0.25
    assert auc(np.array([1, 0, 0]), np.array([1.0, 1, 0])) == 0.75


def test_an_order_without_fault_and_its_reverse():
    label, score = np.array([0, 0, 1, 1]), np.array([-np.inf, 0.0, 1.0, np.inf])
    assert [m(label, score) for m in (auc, average_precision, partial_auc)] == [1, 1, 1]
    assert auc(label, -score) == 0
    # (1 + (0 - m^2 / 2) / (m - m^2 / 2)) / 2
    assert partial_auc(label, -score) == pytest.approx((1 - 0.045 / 0.255) / 2)


# -- against other implementations


@pytest.mark.parametrize("ties", [None, 20, 2])
@pytest.mark.parametrize("seed", range(3))
def test_measures_are_scikit_learns(seed, ties):
    label, score = sample(seed=seed, ties=ties, share=0.2)
    rng = np.random.default_rng(seed)
    for weight in (None, rng.integers(0, 4, len(label)), rng.exponential(size=len(label))):
        exact = {"abs": 1e-12}
        assert auc(label, score, weight) == pytest.approx(
            roc_auc_score(label, score, sample_weight=weight), **exact
        )
        assert average_precision(label, score, weight) == pytest.approx(
            average_precision_score(label, score, sample_weight=weight), **exact
        )
        for m in (0.05, 0.3, 0.99):
            assert partial_auc(label, score, weight, m) == pytest.approx(
                roc_auc_score(label, score, sample_weight=weight, max_fpr=m), **exact
            )
        assert partial_auc(label, score, weight, 1) == pytest.approx(auc(label, score, weight))


small = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 1), min_size=n, max_size=n),
        st.lists(st.sampled_from([-1.5, -0.0, 0.0, 0.25, 3.0]), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
    )
)


@pytest.mark.slow
@given(small)
@examples(max_examples=150, deadline=None)
def test_auc_is_the_count_of_pairs(case):
    label, score, weight = map(np.array, case)
    expected = naive_auc(label, score, weight)
    assert auc(label, score, weight) == pytest.approx(expected, abs=1e-15, nan_ok=True)
    floats = auc(label, score, weight / 7)
    assert floats == pytest.approx(expected, abs=1e-12, nan_ok=True)
    undefined = math.isnan(expected)
    for measure in (average_precision, partial_auc):
        assert math.isnan(measure(label, score, weight)) == undefined
        assert math.isnan(measure(label, score, weight / 7)) == undefined
    assert auc(1 - label, -score, weight) == pytest.approx(expected, abs=1e-15, nan_ok=True)


@pytest.mark.slow
@given(small)
@examples(max_examples=100, deadline=None)
def test_only_the_order_counts(case):
    label, score, weight = map(np.array, case)
    for measure in (auc, average_precision, partial_auc):
        found = measure(label, np.exp(score) * 3 - 7, weight)
        np.testing.assert_equal(found, measure(label, score, weight))


# -- many weights at once, and units with several scores


@pytest.mark.parametrize("ties", [None, 3])
def test_resamples_at_once_are_those_one_by_one(ties, monkeypatch):
    label, score = sample(200, ties=ties)
    made = ranking(label, score)
    weights = bootstrap.unit_weights(200, 23)
    for name in ("auc", "partial_auc", "average_precision"):
        together = getattr(made, name)(weights)
        alone = [getattr(measures, name)(label, score, weight) for weight in weights]
        np.testing.assert_array_equal(together, alone)
        # ones among them are the set itself, to the last bit
        weights[7] = 1
        assert getattr(made, name)(weights)[7] == getattr(made, name)()[0]
        monkeypatch.setattr(measures, "_BLOCK", 500)
        np.testing.assert_array_equal(getattr(made, name)(weights)[8:], together[8:])
        monkeypatch.undo()


def test_a_unit_with_several_scores_weighs_all_of_them():
    label, score = sample(40, ties=5)
    more = np.round(score * 5 + np.random.default_rng(5).normal(size=40)) / 5
    unit = np.tile(np.arange(40), 2)
    pooled = ranking(np.tile(label, 2), np.concatenate([score, more]), unit)
    weights = bootstrap.unit_weights(40, 9)
    assert pooled.units == 40
    for row, value in zip(weights, pooled.auc(weights), strict=True):
        assert value == auc(np.tile(label, 2), np.concatenate([score, more]), np.tile(row, 2))


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        (np.ones(5), r"float64 of shape \(5,\), expected numbers of shape \(R, 5\)"),
        (np.ones((2, 4)), r"shape \(2, 4\)"),
        (np.array([["a"] * 5]), "weights are <U1"),
        (-np.ones((1, 5), int), "negative"),
        (np.full((1, 5), np.nan), "NaN"),
    ],
)
def test_other_weights(weights, problem):
    with pytest.raises(ValueError, match=problem):
        ranking(LABEL, SCORE).auc(weights)


@pytest.mark.parametrize("rate", [0, -0.1, 1.1, math.nan])
def test_other_rates(rate):
    with pytest.raises(ValueError, match=r"not in \(0, 1\]"):
        partial_auc(LABEL, SCORE, max_fpr=rate)


@pytest.mark.parametrize(
    ("label", "score", "problem"),
    [
        (LABEL, np.append(SCORE[:4], np.nan), "1 of 5 scores are NaN"),
        (LABEL, np.full(5, np.nan), "5 of 5 scores are NaN"),
        (LABEL, SCORE[:4], r"float32 of shape \(4,\), expected floats of shape \(5,\)"),
        (LABEL, SCORE.astype(int), "scores are int64"),
        (LABEL + 1, SCORE, r"labels lie in 1..2, expected 0 and 1"),
        (LABEL.astype(float), SCORE, "labels are float64"),
        (LABEL[None], SCORE[None], r"labels are uint8 of shape \(1, 5\)"),
        (LABEL[:0], SCORE[:0], r"labels are uint8 of shape \(0,\)"),
    ],
)
def test_what_is_no_ranking(label, score, problem):
    for use in (auc, average_precision, partial_auc, delong):
        with pytest.raises(RecordError, match=problem):
            use(label, score)


# -- DeLong's interval


@pytest.mark.parametrize("ties", [None, 3])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_delong_is_the_textbook_form(ties, share):
    label, score = sample(200, seed=4, ties=ties, share=share)
    theta, variance = naive_delong(label, score)
    found = delong(label, score)
    assert found.mean == auc(label, score) == pytest.approx(theta)
    half = 1.959963984540054 * math.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((theta - half, theta + half), abs=1e-12)
    assert found.n == 200
    wider = delong(label, score, level=0.99)
    assert (wider.high - wider.mean) / half == pytest.approx(2.5758293035489 / 1.95996398454005)


def test_delong_by_hand():
    # shares of negatives that each positive beats: 1, .5; of positives that beat each negative: .5, .75, 1
    found = delong(LABEL, SCORE)
    variance = 0.125 / 2 + statistics.variance([0.5, 0.75, 1]) / 3
    assert found.high - found.mean == pytest.approx(1.959963984540054 * math.sqrt(variance))


def test_delong_says_nothing_where_it_would_be_certain():
    perfect = delong(np.array([0, 0, 0, 1, 1]), np.array([0.0, 1, 2, 3, 4]))
    assert perfect == (1, None, None, 5)
    # every positive beats the same share of negatives, in thirds
    level = delong(np.array([0, 0, 0, 1, 1]), np.array([0.0, 2, 3, 1, 1]))
    assert level.mean == pytest.approx(1 / 3) and level.low is not None
    one = delong(np.array([0, 0, 1]), np.array([0.0, 2, 1]))
    assert one == (0.5, None, None, 3)
    for label, score in ((LABEL * 0, SCORE), (LABEL, SCORE * 0)):
        found = delong(label, score)
        assert math.isnan(found.mean) and found[1:] == (None, None, 5)


@pytest.mark.slow
def test_delong_covers_and_agrees_with_the_bootstrap():
    truth = statistics.NormalDist().cdf(1 / math.sqrt(2))
    label = np.repeat(np.array([0, 1], np.uint8), 150)
    rng = np.random.default_rng(0)
    found = [delong(label, rng.normal(1.0 * label)) for _ in range(1500)]
    covered = np.mean([interval.low <= truth <= interval.high for interval in found])
    # two standard errors of 1500 draws are .011
    assert covered == pytest.approx(0.95, abs=0.015)
    label, score = sample(1000, seed=3)
    interval = delong(label, score)
    drawn = ranking(label, score).auc(bootstrap.unit_weights(1000, 2000))
    share = bootstrap.tail(1000)
    low, high = np.quantile(drawn, [share, 1 - share])
    width = interval.high - interval.low
    assert low == pytest.approx(interval.low, abs=0.08 * width)
    assert high == pytest.approx(interval.high, abs=0.08 * width)
