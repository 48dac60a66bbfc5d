"""Probes, Shapley values, F1 and agreement: known answers, identities, other implementations."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from tasks.multimodal import measures
from tasks.multimodal.measures import agreement, class_f1, fit_probe, shapley
from tasks.vision.per_class import row_means


def drawn(samples, width, classes, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, samples)
    centres = rng.normal(size=(classes, width))
    return (spread * centres[label] + rng.normal(size=(samples, width))).astype(np.float16), label


# -- probe


def test_a_probe_by_hand():
    """One feature, two samples a class: standardised to -1, -1, 1, 1, targets centred to +-1/2, so that
    W = X'Y / (4 + 1) = -+2/5."""
    features, label = np.array([[1.0], [1.0], [5.0], [5.0]]), np.array([0, 0, 1, 1])
    probe = fit_probe(features, label, 2)
    assert (probe.mean.tolist(), probe.scale.tolist()) == ([3.0], [0.5])
    np.testing.assert_allclose(probe.weights, [[-0.4, 0.4]], rtol=1e-15)
    assert probe.prior.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(probe.scores(np.array([[4.0]])), [[0.3, 0.7]], rtol=1e-15)
    # in the middle both scores are 1/2: the lower class
    assert probe.predict(np.array([[2.9], [3.0], [3.1]])).tolist() == [0, 0, 1]


@pytest.mark.parametrize(("samples", "width", "classes"), [(200, 12, 5), (30, 80, 4), (50, 8, 2)])
def test_a_probe_is_scikit_learns_ridge_on_standardised_features(samples, width, classes):
    features, label = drawn(samples, width, classes, spread=0.5)
    unseen, _ = drawn(500, width, classes, seed=1)
    probe = fit_probe(features, label, classes)
    scaler = StandardScaler().fit(features.astype(float))
    standard, new = scaler.transform(features.astype(float)), scaler.transform(unseen.astype(float))
    ridge = Ridge(alpha=1.0).fit(standard, np.eye(classes)[label])
    np.testing.assert_allclose(probe.weights, ridge.coef_.T, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(probe.prior, ridge.intercept_, rtol=1e-9)
    np.testing.assert_allclose(probe.scores(unseen), ridge.predict(new), rtol=1e-9, atol=1e-10)
    # targets of +-1 are a linear function of the one-hot ones
    classifier = RidgeClassifier(alpha=1.0).fit(standard, label)
    assert probe.predict(unseen).tolist() == classifier.predict(new).tolist()


def test_both_closed_forms_are_one():
    features, label = drawn(40, 40, 3)
    wide = np.concatenate([features, np.zeros((40, 1))], axis=1)
    square, dual = fit_probe(features, label, 3), fit_probe(wide, label, 3)
    np.testing.assert_allclose(dual.weights[:-1], square.weights, rtol=1e-10, atol=1e-13)
    assert not dual.weights[-1].any()


@pytest.mark.parametrize("samples", [3, 30])
def test_constant_features_and_classes_without_samples(samples):
    features, label = drawn(samples, 6, 2)
    features[:, 2] = 0.1
    probe = fit_probe(features, label, 4)
    assert probe.scale[2] == 0 and not probe.weights[2].any()
    assert not probe.weights[:, 2:].any() and not probe.prior[2:].any()
    # what a constant feature does elsewhere says nothing
    moved = features.copy()
    moved[:, 2] = 9
    np.testing.assert_array_equal(probe.scores(moved), probe.scores(features))
    assert np.isfinite(probe.scores(features)).all()


def test_without_a_feature_that_varies_the_most_frequent_class_wins():
    probe = fit_probe(np.full((5, 2), 0.1, np.float16), np.array([2, 1, 1, 2, 0]), 3)
    assert probe.predict(np.array([[0.1, 0.1], [7.0, -7.0]])).tolist() == [1, 1]
    assert fit_probe(np.ones((1, 2)), np.array([1]), 2).predict(np.zeros((1, 2))).tolist() == [1]


def test_a_probe_is_the_same_each_time_and_in_blocks(monkeypatch):
    features, label = drawn(300, 20, 5)
    first, again = (fit_probe(features, label, 5) for _ in range(2))
    assert first.weights.tobytes() == again.weights.tobytes()
    monkeypatch.setattr("tasks.vision.stored._BLOCK", 20 * 7)
    pieces = fit_probe(features, label, 5)
    np.testing.assert_allclose(pieces.weights, first.weights, rtol=1e-9, atol=1e-12)
    assert pieces.predict(features).tolist() == first.predict(features).tolist()


def test_scores_that_only_rounding_tells_apart_are_equal():
    probe = measures.Probe(
        np.zeros(1), np.ones(1), np.array([[1.0, 1.0 + 1e-10, 1.01]]), np.zeros(3)
    )
    assert probe.predict(np.array([[1.0], [-1.0]])).tolist() == [2, 0]


# -- Shapley


def test_shapley_values_by_hand():
    """Two modalities: half of what each adds alone and of what it adds to the other."""
    empty, a, b, both = 0.25, 0.6, 0.4, 0.9
    found = shapley(np.array([empty, a, b, both]))
    np.testing.assert_allclose(
        found, [((a - empty) + (both - b)) / 2, ((b - empty) + (both - a)) / 2], rtol=1e-15
    )
    np.testing.assert_allclose(found, [0.425, 0.225], rtol=1e-14)


def test_the_glove_game():
    """One left glove (player 0), two right ones: a pair is worth 1; 2/3, 1/6, 1/6 (Shapley 1953)."""
    worth = [1.0 if s & 1 and s & 6 else 0.0 for s in range(8)]
    np.testing.assert_allclose(shapley(np.array(worth)), [2 / 3, 1 / 6, 1 / 6], rtol=1e-14)


def games(most=4):
    return st.integers(1, most).flatmap(
        lambda players: st.lists(st.floats(0, 1), min_size=2**players, max_size=2**players)
    )


@given(games())
@examples(max_examples=60, deadline=None)
def test_shapley_is_the_mean_over_all_orders_and_adds_up(worth):
    values = np.array(worth)
    players = len(values).bit_length() - 1
    found = shapley(values)
    gains = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        subset = 0
        for k in order:
            gains[k] += values[subset | 1 << k] - values[subset]
            subset |= 1 << k
    np.testing.assert_allclose(found, gains / len(orders), atol=1e-12)
    np.testing.assert_allclose(found.sum(), values[-1] - values[0], atol=1e-12)


@given(games(), st.data())
@examples(max_examples=60, deadline=None)
def test_a_dummy_has_nothing_and_like_players_have_the_same(worth, data):
    values = np.array(worth)
    players = len(values).bit_length() - 1
    k = data.draw(st.integers(0, players - 1))
    subsets = np.arange(len(values))
    dummy = values[subsets & ~(1 << k)]
    assert shapley(dummy)[k] == 0
    other = data.draw(st.integers(0, players - 1))

    def swapped(subset):
        first, second = subset >> k & 1, subset >> other & 1
        rest = subset & ~(1 << k) & ~(1 << other)
        return rest | second << k | first << other

    like = (values + values[[swapped(s) for s in subsets]]) / 2
    found = shapley(like)
    assert found[k] == pytest.approx(found[other], abs=1e-12)


def test_shapley_of_several_games_at_once_is_that_of_each():
    worth = np.random.default_rng(0).random((8, 5))
    every = shapley(worth)
    for game in range(5):
        np.testing.assert_array_equal(every[:, game], shapley(worth[:, game]))
    for wrong in (np.zeros(3), np.zeros(1), np.zeros(0)):
        with pytest.raises(ValueError, match="expected 2"):
            shapley(wrong)


# -- F1 and agreement


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40),
)
@examples(max_examples=60, deadline=None)
def test_macro_f1_is_scikit_learns_over_the_classes_that_are_there(pairs):
    label, predicted = np.array(pairs).T
    true, called = (np.bincount(one, minlength=4) for one in (label, predicted))
    found = class_f1(true, called, np.bincount(label[label == predicted], minlength=4))
    present = np.unique(label)
    assert np.isnan(found).tolist() == [c not in present for c in range(4)]
    expected = f1_score(label, predicted, labels=present, average="macro", zero_division=0)
    assert row_means(found[None])[0] == pytest.approx(expected, abs=1e-15)


def test_agreement_by_hand():
    label = np.array([0, 1, 2, 0])
    own = np.array([[0, 0, 0], [1, 1, 2], [0, 1, 0], [1, 2, 3]])
    found = agreement(own, label)
    assert (found.pairs.tolist(), found.right.tolist()) == ([3, 1, 1, 0], [3, 2, 0, 0])
