"""Which measures agree, what stands first in a list, and how scores go with frequency."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.multilabel import agreement as of
from tasks.multilabel.frequency import steps
from tasks.multilabel.top_lists import Entry, ordered, ranks, top_list

NAN = math.nan


def tau_by_hand(x, y):
    """Kendall's tau-b by its definition, pair after pair."""
    same = opposite = only_x = only_y = 0
    for (a, b), (c, d) in itertools.combinations(zip(x, y, strict=True), 2):
        if a == c and b == d:
            continue
        if a == c:
            only_y += 1
        elif b == d:
            only_x += 1
        elif (a > c) == (b > d):
            same += 1
        else:
            opposite += 1
    below = math.sqrt((same + opposite + only_x) * (same + opposite + only_y))
    return (same - opposite) / below if below else NAN


def test_four_methods():
    # of six pairs, two change order
    values = np.array([[4.0, 4.0], [3.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
    found = of.agreement(values)
    assert found.tau[0, 1] == found.tau[1, 0] == pytest.approx(0.0)
    assert found.swapped[0, 1] == 3 and found.decided[0, 1] == 6 and found.methods[0, 1] == 4
    assert found.tau[0, 0] == found.tau[1, 1] == 1
    values[3, 1] = 0.5
    assert of.agreement(values).tau[0, 1] == pytest.approx((5 - 1) / 6)


def test_ties_as_kendall_1945_has_them():
    x, y = [1.0, 2, 2, 4, 5], [1.0, 3, 2, 2, 5]
    found = of.agreement(np.array([x, y]).T)
    assert found.tau[0, 1] == pytest.approx(tau_by_hand(x, y)) == pytest.approx((7 - 1) / 9)
    # each ties one pair, and not the same one
    assert found.decided[0, 1] == 8 and found.swapped[0, 1] == 1


def test_scipy_says_the_same():
    from scipy.stats import kendalltau

    numbers = np.random.default_rng(3).integers(0, 6, size=(15, 6)).astype(float)
    tau = of.agreement(numbers).tau
    for a, b in itertools.product(range(6), repeat=2):
        assert tau[a, b] == pytest.approx(kendalltau(numbers[:, a], numbers[:, b]).statistic)


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(*[st.one_of(st.integers(0, 4).map(float), st.just(NAN))] * 3),
        min_size=2,
        max_size=12,
    )
)
def test_any_values_with_ties_and_gaps(rows):
    values = np.array(rows)
    found = of.agreement(values)
    for a, b in itertools.product(range(3), repeat=2):
        both = np.isfinite(values[:, a]) & np.isfinite(values[:, b])
        assert found.methods[a, b] == both.sum()
        wanted = tau_by_hand(values[both, a], values[both, b])
        if both.sum() < of.LEAST_METHODS:
            wanted = NAN
        assert found.tau[a, b] == pytest.approx(wanted, nan_ok=True)
    # more of everything, in another unit, changes nothing
    again = of.agreement(3 * values + 1)
    np.testing.assert_array_equal(again.tau, found.tau)


def test_a_measure_that_gives_all_the_same_says_nothing():
    values = np.array([[1.0, 0.5], [2.0, 0.5], [3.0, 0.5], [4.0, 0.5]])
    found = of.agreement(values)
    assert np.isnan(found.tau[0, 1]) and np.isnan(found.tau[1, 1]) and found.tau[0, 0] == 1
    assert of.widest(found.tau) is None
    with pytest.raises(ValueError, match="no two measures"):
        of.finding(values, "abcd", ("x", "y"))


def test_three_methods_are_too_few():
    values = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, NAN]])
    assert np.isnan(of.agreement(values).tau[0, 1])
    values[3, 1] = 4
    assert of.agreement(values).tau[0, 1] == 1


def test_less_is_better_is_turned_and_rounding_is_no_difference():
    values = of.higher_is_better(
        [[0.1 + 0.2, 0.1], [0.3, 0.4], [None, math.inf], [0.5, 0.2]], [True, False]
    )
    assert values[0, 0] == values[1, 0]
    assert of.places(values[:, 1]) == [1, 3, None, 2]
    assert of.places(values[:, 0]) == [2, 2, None, 1]
    with pytest.raises(ValueError):
        of.higher_is_better([[0.1]], [True, False])


def test_moves_are_among_the_methods_with_both():
    values = np.array([[5.0, 1.0], [4.0, NAN], [3.0, 3.0], [2.0, 4.0], [1.0, 2.0]])
    found = of.moves(values, 0, 1)
    assert [(move.method, move.first, move.second) for move in found] == [
        (0, 1, 4),
        (3, 3, 1),
        (4, 4, 3),
        (2, 2, 2),
    ]


def test_the_finding_names_pair_and_movers():
    values = np.array(
        [[5.0, 5.0, 1.0], [4.0, 4.0, 2.0], [3.0, 3.0, 5.0], [2.0, 1.0, 4.0], [1.0, 2.0, 3.0]]
    )
    told = of.finding(values, ["bce", "asl", "u4", "lsep", "warp"], ["tkpr", "mAP", "tail"])
    pairs = [tau_by_hand(values[:, a], values[:, b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert pairs == pytest.approx([0.8, -0.4, -0.6])
    assert told == (
        "mAP and tail disagree most: Kendall's tau-b -0.60 over 5 methods; 8 of the 10 pairs that "
        "neither ties change order. Furthest moved, place by mAP → by tail: bce 1 → 5, lsep 5 → 2, asl 2 → 4."
    )
    same = np.stack([values[:, 0]] * 2, axis=1)
    assert "put any two methods in opposite orders" in of.finding(same, "abcde", ("x", "y"))


def test_equal_pairs_the_first_one():
    tau = np.array([[1.0, 0.2, 0.5], [0.2, 1.0, 0.2], [0.5, 0.2, 1.0]])
    assert of.widest(tau) == (0, 1)
    tau[0, 1] = tau[1, 0] = NAN
    assert of.widest(tau) == (1, 2)


def test_a_measure_against_itself_in_other_seeds():
    order = np.arange(5.0)
    turned = order[::-1]
    seeds = [np.stack([order, order], 1), np.stack([order, turned], 1), np.stack([order, order], 1)]
    found = of.between_seeds(seeds)
    assert found[0] == 1
    assert found[1] == pytest.approx((-1 - 1 + 1) / 3)
    assert np.isnan(of.between_seeds(seeds[:1])).all()
    assert not of.between_seeds([]).size


# -- lists


def test_the_example_of_six_labels():
    scores = np.array([0.1, 0.8, 0.35, 0.6, 0.05, 0.4])
    relevant = np.array([1, 0, 1, 1, 0, 0], bool)
    found = top_list(scores, relevant, 3)
    assert [(one.label, one.rank, one.relevant) for one in found.first] == [
        (1, 1, False),
        (3, 2, True),
        (5, 3, False),
    ]
    assert [(one.label, one.rank) for one in found.missed] == [(2, 4), (0, 5)]


def test_equal_scores_are_in_label_order():
    scores = np.array([1.0, 2.0, 1.0, 2.0, 1.0])
    assert ranks(scores).tolist() == [3, 1, 4, 2, 5]
    found = top_list(scores, np.array([0, 0, 0, 0, 1], bool), 3)
    assert [one.label for one in found.first] == [1, 3, 0]
    assert [(one.label, one.rank) for one in found.missed] == [(4, 5)]


def test_labels_that_were_not_kept_have_no_rank():
    scores = np.array([-np.inf, 2.0, 1.0, -np.inf])
    found = top_list(scores, np.array([1, 1, 0, 0], bool), 2)
    assert [one.label for one in found.first] == [1, 2]
    assert found.missed == (Entry(0, None, None, True),)
    # nor where there are fewer kept than the list is long
    assert [one.label for one in top_list(scores, np.zeros(4, bool), 4).first] == [1, 2]


def test_a_list_as_long_as_all_labels():
    found = top_list(np.zeros(3), np.ones(3, bool), 5)
    assert [one.rank for one in found.first] == [1, 2, 3] and found.missed == ()


@pytest.mark.slow
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(1, 12), st.data())
def test_every_relevant_label_is_in_one_of_the_two(values, k, data):
    relevant = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    )
    scores = np.array(values, np.float32)
    found = top_list(scores, relevant, k)
    assert len(found.first) == min(k, len(values))
    every = [*found.first, *found.missed]
    assert {one.label for one in every if one.relevant} == set(np.flatnonzero(relevant).tolist())
    keys = [(-one.score, one.label) for one in every]
    assert keys == sorted(keys)
    assert [one.rank for one in found.first] == list(range(1, len(found.first) + 1))


def test_where_two_models_differ_most():
    a, b = np.array([0.5, 0.0, NAN, 1.0, 0.2]), np.array([0.5, 1.0, NAN, 0.4, 0.8])
    assert ordered(a, b, "test set").tolist() == [0, 1, 2, 3, 4]
    assert ordered(a, b, "differ most").tolist() == [1, 3, 4, 0, 2]
    assert ordered(a, b, "A ahead").tolist() == [3, 0, 4, 1, 2]
    assert ordered(a, b, "B ahead").tolist() == [1, 4, 0, 3, 2]
    # one that differs by rounding alone does not come before one of a lower number
    near = np.array([0.3, 0.1 + 0.2])
    assert ordered(near, np.array([0.3, 0.3]), "differ most").tolist() == [0, 1]


# -- frequency


def test_steps_of_doubling_counts():
    found = steps([0, 1, 2, 3, 4, 7, 9], [0.5, 0.1, 0.2, 0.4, None, 0.6, None])
    assert [(one.labels, one.mean) for one in found] == [
        (1, 0.5),
        (1, 0.1),
        (2, pytest.approx(0.3)),
        (1, 0.6),
    ]
    assert [one.count for one in found] == pytest.approx([0.5, 1, math.sqrt(6), 7])
    assert steps([], []) == []
    with pytest.raises(ValueError):
        steps([1], [])
