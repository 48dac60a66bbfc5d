"""Measures of `multilabel`: known answers, identities, loops, other implementations, bad arrays."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from ml_scores import (
    FIVE,
    FIVE_LABELS,
    SIX,
    SIX_LABELS,
    naive,
    naive_ap,
    naive_f1,
    nones,
    sample,
)
from sklearn import metrics as sklearn

from suite.base.errors import RecordError, UserError
from tasks.multilabel import by_label, measures
from tasks.multilabel.by_label import class_average_precision, class_f1
from tasks.multilabel.measures import (
    average_precision,
    coverage,
    ndcg,
    one_error,
    precision,
    ranking_loss,
    ranks,
    ranks_listed,
    recall,
    tkpr,
    tkpr_pairwise,
    tkpr_pointwise,
    weighted_means,
)

ALPHAS = ("1", "n+", "min", "ideal")


def at(measure, scores, labels, ks, **options):
    found = ranks(scores, labels)
    return [float(measure(found, k, **options)[0]) for k in ks]


# -- known answers


KNOWN = {
    precision: [0, 1 / 2, 1 / 3, 1 / 2, 3 / 5, 1 / 2],
    recall: [0, 1 / 3, 1 / 3, 2 / 3, 1, 1],
    average_precision: [0, 0.25, 0.1666667, 0.3333333, 0.5333333, 0.5333333],
    ndcg: [0, 0.3868528, 0.2960819, 0.4981893, 0.6797311, 0.6797311],
}


@pytest.mark.parametrize("measure", KNOWN, ids=lambda one: one.__name__)
def test_known_answers(measure):
    assert at(measure, SIX, SIX_LABELS, range(1, 7)) == pytest.approx(KNOWN[measure], abs=5e-8)


def test_known_answers_of_tkpr():
    one = [0, 0.5, 0.6666667, 1, 1.4, 1.6666667]
    assert at(tkpr, SIX, SIX_LABELS, range(1, 7), alpha="1") == pytest.approx(one, abs=5e-8)
    ideal = [0, 0.3333333, 0.3333333, 0.4444444, 0.5833333, 0.6666667]
    assert at(tkpr, SIX, SIX_LABELS, range(1, 7)) == pytest.approx(ideal, abs=5e-8)
    another = [1, 1, 4 / 3, 3 / 2, 9 / 5]
    assert at(tkpr, FIVE, FIVE_LABELS, range(1, 6), alpha="1") == pytest.approx(another)


def test_known_answers_of_whole_rankings():
    found = ranks(SIX, SIX_LABELS)
    assert sorted(found.rank.tolist()) == [2, 4, 5]
    assert ranking_loss(found)[0] == pytest.approx(5 / 9)
    assert (coverage(found)[0], one_error(found)[0]) == (5, 1)
    found = ranks(FIVE, FIVE_LABELS)
    assert ranking_loss(found)[0] == 0.5
    assert ndcg(found, 3)[0] == pytest.approx(0.7039181, abs=5e-8)
    assert average_precision(found, 3)[0] == pytest.approx(5 / 9)
    assert (coverage(found)[0], one_error(found)[0]) == (5, 0)


def test_of_equal_scores_the_first_label_is_ahead():
    scores = np.zeros((3, 4))
    labels = np.array([[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 1]], bool)
    found = ranks(scores, labels)
    assert found.row.tolist() == [0, 1, 1, 2, 2]
    assert found.rank.tolist() == [2, 1, 4, 3, 4]
    assert precision(found, 2).tolist() == [0.5, 0.5, 0]
    # in the ranking loss a tie is half an error whatever the order
    assert ranking_loss(found).tolist() == [0.5, 0.5, 0.5]


def test_f1_calls_a_label_present_from_logit_zero_on():
    scores = np.array([[0.0], [-1e-6], [-0.0], [3.0]])
    labels = np.array([[1], [1], [0], [1]], bool)
    # called: first, third and last; two of three right, two of three found
    assert class_f1(scores, labels)[0] == pytest.approx(2 / 3)


# -- what is undefined


def test_samples_without_label_or_with_all():
    scores = np.array([[1.0, 2], [2, 1], [1, 2]])
    labels = np.array([[0, 0], [1, 1], [1, 0]], bool)
    found = ranks(scores, labels)
    nan = np.nan
    for values, expected in (
        (precision(found, 1), [nan, 1, 0]),
        (recall(found, 1), [nan, 0.5, 0]),
        (average_precision(found, 2), [nan, 1, 0.5]),
        (ndcg(found, 1), [nan, 1, 0]),
        (tkpr(found, 2), [nan, 1, 0.5]),
        (coverage(found), [nan, 2, 2]),
        (one_error(found), [nan, 0, 1]),
        (ranking_loss(found), [nan, nan, 1]),
    ):
        np.testing.assert_array_equal(values, expected)


def test_labels_without_positive_have_no_score():
    scores = np.array([[1.0, 2], [2, 1]])
    labels = np.array([[0, 1], [0, 0]], bool)
    np.testing.assert_array_equal(class_average_precision(scores, labels), [np.nan, 1])
    # label 0 is called twice: held against nothing, all the same
    np.testing.assert_array_equal(class_f1(scores, labels), [np.nan, 2 / 3])
    weights = np.array([[1, 1], [0, 1]])
    np.testing.assert_array_equal(
        class_average_precision(scores, labels, weights), [[np.nan, 1], [np.nan, np.nan]]
    )
    np.testing.assert_array_equal(
        class_f1(scores, labels, weights), [[np.nan, 2 / 3], [np.nan, np.nan]]
    )


def test_one_label():
    found = ranks(np.array([[3.0], [-1], [0]]), np.array([[1], [0], [1]], bool))
    np.testing.assert_array_equal(tkpr(found, 1), [1, np.nan, 1])
    assert np.isnan(ranking_loss(found)).all()
    np.testing.assert_array_equal(coverage(found), [1, np.nan, 1])


def test_no_sample_with_a_label():
    found = ranks(np.zeros((2, 3)), np.zeros((2, 3), bool))
    assert not len(found.row)
    for values in (tkpr(found, 2), ndcg(found, 3), coverage(found), ranking_loss(found)):
        assert np.isnan(values).all()


def test_scores_of_minus_infinity_are_the_last():
    scores = np.array([[-np.inf, 1, -np.inf, -np.inf]])
    found = ranks(scores, np.array([[0, 0, 1, 1]], bool))
    assert found.rank.tolist() == [3, 4]
    assert ranking_loss(found)[0] == (1 + 0.5) / 2
    scores = np.array([[-np.inf, 0], [0, 0], [-np.inf, 0]])
    labels = np.array([[1, 1], [1, 0], [0, 0]], bool)
    assert class_average_precision(scores, labels)[0] == pytest.approx((1 + 2 / 3) / 2)


# -- identities of TKPR


@st.composite
def rankings(draw, most=8):
    """(scores (1, L) without ties, labels (1, L) with one at least, K)."""
    size = draw(st.integers(1, most))
    order = draw(st.permutations(range(size)))
    labels = draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any))
    return np.array([order], float), np.array([labels]), draw(st.integers(1, size))


@given(rankings(), st.sampled_from(ALPHAS))
@examples(max_examples=100, deadline=None)
def test_three_forms_of_tkpr_are_one_without_ties(case, alpha):
    scores, labels, k = case
    listed = tkpr(ranks(scores, labels), k, alpha)
    assert tkpr_pointwise(scores, labels, k, alpha) == pytest.approx(listed)
    assert tkpr_pairwise(scores, labels, k, alpha) == pytest.approx(listed)


@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from(ALPHAS))
@examples(max_examples=50, deadline=None)
def test_ties_raise_the_pairwise_form_and_not_the_metric(seed, k, alpha):
    scores, labels = sample(20, 6, seed, levels=2)
    listed = tkpr(ranks(scores, labels), k, alpha)
    pairs = tkpr_pairwise(scores, labels, k, alpha)
    np.testing.assert_allclose(pairs, tkpr_pointwise(scores, labels, k, alpha))
    assert (np.isnan(pairs) == np.isnan(listed)).all() and np.isnan(pairs[0])
    assert (pairs >= listed - 1e-12)[~np.isnan(pairs)].all()


@given(rankings())
@examples(max_examples=100, deadline=None)
def test_tkpr_is_a_mean_of_precision_and_of_recall(case):
    scores, labels, k = case
    found = ranks(scores, labels)
    by_precision = sum(j * precision(found, j)[0] for j in range(1, k + 1)) / k
    assert tkpr(found, k, "1")[0] == pytest.approx(by_precision)
    by_recall = np.mean([recall(found, j)[0] for j in range(1, k + 1)])
    assert tkpr(found, k, "n+")[0] == pytest.approx(by_recall)
    positives = labels.sum()
    assert tkpr(found, k, "min")[0] == pytest.approx(by_precision / min(k, positives))
    assert tkpr(found, 1, "1")[0] == precision(found, 1)[0]
    assert 0 <= tkpr(found, k)[0] <= 1 + 1e-12


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_the_best_order_has_tkpr_1(labels, positives, k):
    positives, k = min(labels, positives), min(labels, k)
    scores = -np.arange(float(labels))[None]
    relevant = np.arange(labels)[None] < positives
    assert tkpr(ranks(scores, relevant), k)[0] == pytest.approx(1)


@given(rankings())
@examples(max_examples=150, deadline=None)
def test_tkpr_bounds_the_ranking_loss(case):
    scores, labels, k = case
    found = ranks(scores, labels)
    negatives = labels.size - labels.sum()
    if k <= negatives:
        assert 1 - tkpr(found, k, "n+")[0] >= ranking_loss(found)[0] - 1e-12


def test_the_bound_holds_in_all_orders_of_few_labels_and_is_attained_48_times():
    attained = 0
    for size in range(3, 7):
        orders = [y for y in product([False, True], repeat=size) if any(y) and not all(y)]
        labels = np.array(orders)
        found = ranks(np.tile(-np.arange(float(size)), (len(orders), 1)), labels)
        irrelevant = size - labels.sum(axis=1)
        for k in range(1, size):
            gap = 1 - tkpr(found, k, "n+") - ranking_loss(found)
            assert (gap[k <= irrelevant] > -1e-12).all()
            attained += (np.abs(gap[k == irrelevant]) < 1e-12).sum()
    assert attained == 48


@given(rankings())
@examples(max_examples=100, deadline=None)
def test_tkpr_of_all_labels_is_the_ranking_loss(case):
    scores, labels, _ = case
    found = ranks(scores, labels)
    size, positives = labels.size, int(labels.sum())
    negatives = size - positives
    loss = ranking_loss(found)[0] if negatives else 0.0
    expected = positives * (positives + 1) / 2 + positives * negatives * (1 - loss)
    assert size * tkpr(found, size, "1")[0] == pytest.approx(expected)


@given(st.permutations(range(7)), st.integers(0, 6), st.integers(1, 6))
@examples(max_examples=100, deadline=None)
def test_tkpr_of_one_relevant_label_is_autkc(order, true, k):
    scores = np.array([order], float)
    found = ranks(scores, np.arange(7)[None] == true)
    # AUTKC: the true class against each of the top K + 1 but the first
    top = sorted(order, reverse=True)[1 : k + 1]
    autkc = sum(order[true] > other for other in top) / k
    assert tkpr(found, k, "1")[0] == pytest.approx(autkc)


# -- against loops


CASES = {
    "no ties": sample(60, 7, 0),
    "ties": sample(60, 7, 1, levels=2),
    "all equal": (np.zeros((20, 5), np.float32), sample(20, 5, 2)[1]),
    "one label": sample(20, 1, 3),
    "few relevant": sample(80, 30, 4, share=0.05),
    "many relevant": sample(12, 90, 5, levels=20, share=0.6),
    "minus infinity": (
        np.where(sample(40, 6, 7)[0] > 1, -np.inf, sample(40, 6, 7)[0]),
        sample(40, 6, 6)[1],
    ),
    "float64": (sample(40, 6, 8)[0].astype(float) / 3, sample(40, 6, 8)[1]),
}


@pytest.mark.parametrize("block", [None, 50])
@pytest.mark.parametrize("case", CASES)
def test_every_measure_is_that_of_a_loop(case, block, monkeypatch):
    scores, labels = CASES[case]
    if block:
        monkeypatch.setattr(measures, "_BLOCK", block)
    found = ranks(scores, labels)
    ks = sorted({k for k in (1, 2, 3, 5, scores.shape[1]) if k <= scores.shape[1]})
    for k in ks:
        expected = [naive(*one, k) for one in zip(scores, labels, strict=True)]
        for name, values in {
            "precision": precision(found, k),
            "recall": recall(found, k),
            "ap": average_precision(found, k),
            "ndcg": ndcg(found, k),
            "coverage": coverage(found),
            "one_error": one_error(found),
            "loss": ranking_loss(found),
            "1": tkpr(found, k, "1"),
            "n": tkpr(found, k, "n+"),
            "m": tkpr(found, k, "min"),
            "i": tkpr(found, k),
        }.items():
            assert nones(values) == pytest.approx([one[name] for one in expected]), (name, k)


@pytest.mark.parametrize("case", CASES)
def test_counting_and_sorting_give_the_same_ranks(case, monkeypatch):
    scores, labels = CASES[case]
    by_counting, by_sorting = (
        [monkeypatch.setattr(measures, "_COUNTED", most), ranks(scores, labels)][1]
        for most in (10_000, -1)
    )
    for name in ("row", "rank", "place", "wrong", "relevant"):
        np.testing.assert_array_equal(getattr(by_counting, name), getattr(by_sorting, name), name)


@pytest.mark.parametrize("case", CASES)
def test_a_list_of_all_labels_has_the_same_ranks(case):
    scores, labels = CASES[case]
    order = np.argsort(-scores, axis=1, kind="stable")
    whole, listed = ranks(scores, labels), ranks_listed(order, labels)
    for name in ("row", "rank", "place", "relevant"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(listed, name))
    np.testing.assert_array_equal(coverage(listed), coverage(whole))
    assert np.isnan(ranking_loss(listed)).all()


def test_a_list_of_the_first_labels_is_enough_for_measures_of_them():
    scores, labels = sample(50, 9, levels=3)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :4]
    whole, listed = ranks(scores, labels), ranks_listed(order, labels)
    for measure in (precision, recall, average_precision, ndcg, tkpr):
        np.testing.assert_array_equal(measure(listed, 4), measure(whole, 4))
    with pytest.raises(RecordError, match="K = 5 of rankings whose first 4 labels are known"):
        tkpr(listed, 5)
    deepest = coverage(listed)
    complete = ~np.isnan(deepest)
    assert complete.any() and not complete[1:].all()
    np.testing.assert_array_equal(deepest[complete], coverage(whole)[complete])


@pytest.mark.parametrize("case", CASES)
def test_scores_of_labels_are_those_of_loops(case):
    scores, labels = CASES[case]
    columns = list(zip(scores.T.tolist(), labels.T.tolist(), strict=True))
    assert nones(class_average_precision(scores, labels)) == pytest.approx(
        [naive_ap(*one) for one in columns]
    )
    assert nones(class_f1(scores, labels)) == pytest.approx([naive_f1(*one) for one in columns])
    generator = np.random.default_rng(0)
    for weights in (
        generator.integers(0, 3, (4, len(scores))),
        generator.random((3, len(scores))),
        np.eye(len(scores))[:2],
    ):
        ap, f1 = class_average_precision(scores, labels, weights), class_f1(scores, labels, weights)
        for one, found in zip(weights.tolist(), ap, strict=True):
            expected = [naive_ap(*column, one) for column in columns]
            assert nones(found) == pytest.approx(expected)
        for one, found in zip(weights.tolist(), f1, strict=True):
            expected = [naive_f1(*column, one) for column in columns]
            assert nones(found) == pytest.approx(expected)


def test_resamples_are_weighted_in_blocks(monkeypatch):
    scores, labels = sample(50, 6, levels=3)
    weights = np.random.default_rng(0).integers(0, 4, (11, 50))
    values = np.where(np.random.default_rng(1).random((5, 50)) < 0.2, np.nan, scores.T[:5])
    whole = [
        class_average_precision(scores, labels, weights),
        class_f1(scores, labels, weights),
        weighted_means(values, weights),
    ]
    monkeypatch.setattr(by_label, "_WEIGHTS", 150)
    monkeypatch.setattr(measures, "_BLOCK", 60)
    blocked = [
        class_average_precision(scores, labels, weights),
        class_f1(scores, labels, weights),
        weighted_means(values, weights),
    ]
    for one, other in zip(whole, blocked, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_weighted_means_leave_out_what_is_undefined():
    values = np.array([[1.0, np.nan, 3], [np.nan, np.nan, 5], [1, 2, 3], [np.nan] * 3])
    weights = np.array([[1, 1, 1], [3, 1, 1], [1, 1, 0]])
    np.testing.assert_allclose(
        weighted_means(values, weights),
        [[2, 1.5, 1], [5, 5, np.nan], [2, 8 / 5, 1.5], [np.nan] * 3],
    )


def test_a_hundred_thousand_labels():
    generator = np.random.default_rng(0)
    scores = generator.random((3, 100_000), np.float32)
    labels = np.zeros(scores.shape, bool)
    chosen = [7, 500, 99_999]
    labels[0, chosen] = True
    labels[1, ::1000] = True  # more than are counted
    found = ranks(scores, labels)
    order = np.argsort(-scores, axis=1, kind="stable")
    place = np.argsort(order, axis=1)
    for row, own in enumerate(labels):
        expected = np.sort(place[row, own] + 1)
        np.testing.assert_array_equal(found.rank[found.row == row], expected)
    assert np.isnan(tkpr(found, 5)[2])
    ap = class_average_precision(scores[:, -1000:], labels[:, -1000:])
    assert np.isfinite(ap).sum() == 2


# -- against scikit-learn


@pytest.mark.parametrize("case", ["no ties", "ties", "all equal", "few relevant", "many relevant"])
def test_average_precision_is_that_of_sklearn(case):
    scores, labels = CASES[case]
    shown = labels.any(axis=0)
    weights = np.random.default_rng(0).random(len(scores))
    theirs = sklearn.average_precision_score(labels[:, shown], scores[:, shown], average=None)
    assert class_average_precision(scores, labels)[shown] == pytest.approx(theirs)
    theirs = sklearn.average_precision_score(
        labels[:, shown], scores[:, shown], average=None, sample_weight=weights
    )
    found = class_average_precision(scores, labels, weights[None])[0, shown]
    assert found == pytest.approx(theirs)
    called = (scores >= 0)[:, shown]
    theirs = sklearn.f1_score(labels[:, shown], called, average=None, sample_weight=weights)
    assert class_f1(scores, labels, weights[None])[0, shown] == pytest.approx(theirs)


def test_measures_of_samples_are_those_of_sklearn():
    scores, labels = sample(80, 9, 5)
    scores, labels = scores[2:], labels[2:]
    scores, labels = scores[labels.any(axis=1)], labels[labels.any(axis=1)]
    found = ranks(scores, labels)
    assert coverage(found).mean() == pytest.approx(sklearn.coverage_error(labels, scores))
    loss = sklearn.label_ranking_loss(labels, scores)  # a sample with all labels counts as 0 there
    assert np.nan_to_num(ranking_loss(found)).mean() == pytest.approx(loss)
    for k in (1, 3, 5, 9):
        theirs = sklearn.ndcg_score(labels, scores, k=k)
        assert ndcg(found, k).mean() == pytest.approx(theirs)
    theirs = sklearn.label_ranking_average_precision_score(labels, scores)
    assert average_precision(found, 9).mean() == pytest.approx(theirs)


# -- bad input


@pytest.mark.parametrize("k", [0, -1, 7])
def test_k_outside_of_the_labels(k):
    found = ranks(SIX, SIX_LABELS)
    for measure in (precision, recall, average_precision, ndcg, tkpr):
        with pytest.raises(UserError, match=rf"K = {k} .* is not in 1\.\.6"):
            measure(found, k)
    for form in (tkpr_pairwise, tkpr_pointwise):
        with pytest.raises(UserError, match=rf"K = {k} .* is not in 1\.\.6"):
            form(SIX, SIX_LABELS, k)


def test_an_unknown_alpha():
    with pytest.raises(UserError, match=r"TKPR has no alpha '2'; known: 1, n\+, min, ideal"):
        tkpr(ranks(SIX, SIX_LABELS), 2, "2")


@pytest.mark.parametrize(
    ("scores", "labels", "problem"),
    [
        (np.zeros(3), np.zeros(3, bool), r"scores are float64 of shape \(3,\)"),
        (np.zeros((2, 3), int), np.zeros((2, 3), bool), "scores are int64"),
        (np.zeros((0, 3)), np.zeros((0, 3), bool), r"shape \(0, 3\)"),
        (np.zeros((2, 0)), np.zeros((2, 0), bool), r"shape \(2, 0\)"),
        (np.zeros((2, 3)), np.zeros((2, 2), bool), r"labels are bool of shape \(2, 2\)"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "labels are float64"),
        (np.array([[0, 1], [0, np.nan]]), np.ones((2, 2), bool), r"sample 1 \(1 of 2 .* hold nan"),
        (np.array([[np.inf, 1]]), np.ones((1, 2), bool), "sample 0 .* hold inf"),
    ],
)
def test_bad_arrays(scores, labels, problem):
    for use in (
        ranks,
        class_average_precision,
        class_f1,
        lambda *both: tkpr_pairwise(*both, 1),
        lambda *both: tkpr_pointwise(*both, 1),
    ):
        with pytest.raises(RecordError, match=problem):
            use(scores, labels)


@pytest.mark.parametrize(
    "weights", [np.ones((2, 5)), np.ones(6), np.ones((1, 6), complex), np.array([["a"] * 6])]
)
def test_bad_weights(weights):
    scores, labels = sample(6, 3)
    for use in (class_average_precision, class_f1):
        with pytest.raises(RecordError, match=r"weights are .*expected numbers of shape \(R, 6\)"):
            use(scores, labels, weights)


@pytest.mark.parametrize("value", [-1, np.nan])
def test_weights_below_zero_or_undefined(value):
    scores, labels = sample(6, 3)
    weights = np.ones((2, 6))
    weights[1, 2] = value
    for use in (class_average_precision, class_f1):
        with pytest.raises(RecordError, match="below 0 or not a number"):
            use(scores, labels, weights)
