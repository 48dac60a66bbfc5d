"""Shared ranks, groups and the seeds between neighbours."""

import itertools

import numpy as np
import pytest
import scipy.stats as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.stats import ranking
from suite.stats import tests as stats
from suite.stats.power import MOST_SEEDS
from suite.stats.ranking import Board, Place, rank_rows

fractions = st.floats(0, 1)
row = st.dictionaries(st.integers(0, 5), fractions, max_size=6)
boards = st.lists(row, max_size=9)


def seeds(*values):
    return dict(enumerate(values))


def many(count=12, replicates=3, gap=0.5, seed=0):
    rng = np.random.default_rng(seed)
    return [seeds(*(gap * at + rng.normal(size=replicates))) for at in range(count)]


def ranks(rows, higher=True):
    return rank_rows(rows, higher).ranks


def even(means, deviation):
    """Three seeds each with exactly this standard deviation, and no shift that seeds share."""
    return [seeds(*(mean + deviation * np.roll([0, 1, -1], at))) for at, mean in enumerate(means)]


class TestSmallBoards:
    """Below five rows the spread is each pair's own: the paired t test, or Welch's, and Holm."""

    def test_a_clear_winner_is_first_and_those_behind_share_second(self):
        rows = [seeds(0.50, 0.51, 0.52), seeds(0.90, 0.91, 0.92), seeds(0.505, 0.50, 0.53)]
        assert ranks(rows) == [2, 1, 2]
        assert ranks(rows, higher=False) == [1, 3, 1]
        found = rank_rows(rows)
        assert found.test == "t"
        assert [place.groups for place in found.places] == ["b", "a", "b"]

    def test_noise_alone_leaves_everybody_first(self):
        rows = [seeds(0.5, 0.7, 0.6), seeds(0.6, 0.5, 0.7), seeds(0.7, 0.6, 0.55)]
        assert ranks(rows) == [1, 1, 1]
        assert {place.groups for place in rank_rows(rows).places} == {"a"}

    def test_two_seeds_are_unranked_and_take_no_part(self):
        rows = [seeds(0.9, 0.9), seeds(0.5, 0.51, 0.52), {}]
        found = rank_rows(rows)
        assert found.places == (Place(), Place(1, "a", None), Place())
        assert found.test == ""
        assert rank_rows([]).places == ()

    def test_common_seeds_are_paired_and_others_are_not(self):
        # a seed effect of 0.1 hides a constant gain of 0.01 from Welch, not from pairing
        base = [0.3, 0.4, 0.5, 0.6]
        gain = [0.3101, 0.4099, 0.5102, 0.6098]
        assert ranks([seeds(*base), seeds(*gain)]) == [2, 1]
        other_seeds = {seed + 10: value for seed, value in enumerate(gain)}
        assert ranks([seeds(*base), other_seeds]) == [1, 1]

    def test_constant_rows_are_told_apart_where_nothing_varies(self):
        found = rank_rows([seeds(0.5, 0.5, 0.5)] * 6 + [seeds(0.25, 0.25, 0.25)])
        assert found.test == "t"
        assert found.ranks == [1] * 6 + [7]


class TestLargeBoards:
    def test_the_moderated_test_sees_what_two_degrees_of_freedom_do_not(self):
        rows = many(gap=3.0)
        assert rank_rows(rows).test == "moderated t"
        assert rank_rows(rows[:4]).test == "t"
        assert ranks(rows) == list(range(12, 0, -1))
        assert len(set(ranks(rows[:4]))) < 4

    def test_equal_rows_are_one_group(self):
        found = rank_rows(many(gap=0.0))
        assert set(found.ranks) == {1}
        assert {place.groups for place in found.places} == {"a"}

    def test_neighbours(self):
        found = rank_rows(many(gap=1.5))
        ordered = sorted(zip(found.ranks, found.places, strict=True), key=lambda one: one[0])
        needed = [place.seeds_to_next for _, place in ordered]
        assert needed[-1] is None or needed.count(None) == 1
        assert all(number is None or 3 <= number <= MOST_SEEDS + 1 for number in needed)

    def test_more_seeds_are_wanted_for_smaller_gaps(self):
        board = Board(even([0, 1, 2, 3, 3.2, 3.26], 0.1))
        assert board.apart[0, 1] and board.seeds_between(0, 1) == 3
        assert not board.apart[4, 5]
        assert 3 < board.seeds_between(3, 4) < board.seeds_between(4, 5) <= MOST_SEEDS + 1
        assert board.seeds_between(4, 4) == MOST_SEEDS + 1

    def test_that_many_seeds_have_that_power(self):
        """Simulated: with the seeds that it asks for, four boards in five tell the neighbours apart."""
        rng = np.random.default_rng(5)
        means = np.array([0, 4, 8, 12, 16, 17.5, 20, 24])
        # a pilot whose means and variances are the true ones
        pilot = Board(even(means, 1.0))
        wanted = pilot.seeds_between(4, 5)
        assert wanted > 3 and not pilot.apart[4, 5]
        hits = [
            Board([seeds(*(m + rng.normal(size=wanted))) for m in means]).apart[4, 5]
            for _ in range(60)
        ]
        assert 0.65 <= np.mean(hits) <= 0.97


def _significant(rows, higher):
    """Position pairs (better, worse) told apart, from the board's own verdict."""
    ranked = [at for at, one in enumerate(rows) if len(one) >= stats.MIN_REPLICATES]
    if not ranked:
        return ranked, set(), {}
    board = Board([rows[at] for at in ranked])
    means = dict(zip(ranked, board.mean.tolist(), strict=True))
    pairs = set()
    for (i, a), (j, b) in itertools.combinations(enumerate(ranked), 2):
        if board.apart[i, j]:
            pairs.add((a, b) if (means[a] > means[b]) == higher else (b, a))
    return ranked, pairs, means


@settings(deadline=None, max_examples=50)
@given(boards, st.booleans())
def test_ranks_never_contradict_the_order(rows, higher):
    found = rank_rows(rows, higher).ranks
    ranked, pairs, means = _significant(rows, higher)
    for a, b in itertools.permutations(ranked, 2):
        if means[a] == means[b]:
            assert found[a] == found[b]
        elif (means[a] > means[b]) == higher:
            assert found[a] <= found[b]
    for at in ranked:
        assert found[at] >= 1 + sum(worse == at for _, worse in pairs)
    assert all((found[at] is not None) == (len(one) >= 3) for at, one in enumerate(rows))


@settings(deadline=None, max_examples=50)
@given(boards)
def test_rows_share_a_letter_exactly_where_they_are_not_told_apart(rows):
    places = rank_rows(rows).places
    ranked, pairs, _ = _significant(rows, True)
    for a, b in itertools.combinations(ranked, 2):
        shared = set(places[a].groups) & set(places[b].groups)
        assert bool(shared) == ((a, b) not in pairs and (b, a) not in pairs)
    letters = {letter for place in places for letter in place.groups}
    assert letters == {chr(ord("a") + k) for k in range(len(letters))}


@settings(deadline=None, max_examples=50)
@given(boards)
def test_turning_the_scale_around_turns_the_direction_around(rows):
    negated = [{k: -v for k, v in r.items()} for r in rows]
    assert ranks(rows) == ranks(negated, higher=False)


@settings(deadline=None, max_examples=50)
@given(boards)
def test_somebody_is_first(rows):
    found = [rank for rank in ranks(rows) if rank is not None]
    assert all(1 <= rank <= len(found) for rank in found)
    assert not found or 1 in found


@settings(deadline=None, max_examples=50)
@given(boards, st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    found, moved = ranks(rows), ranks([rows[at] for at in order])
    assert moved == [found[at] for at in order]


def test_a_rank_is_raised_to_that_of_the_row_above():
    # the noisy row in the middle can be told from nobody, which does not make it first
    rows = [seeds(m, m + 0.01, m - 0.01) for m in (0.9, 0.8, 0.7, 0.6, 0.5)]
    noisy = seeds(0.2, 0.9, 0.55)
    found = ranks([*rows, noisy])
    assert found[:5] == [1, 2, 3, 4, 6] or found[:4] == [1, 2, 3, 4]
    assert found[5] >= found[3]


def test_letters_of_a_chain():
    """Piepho's case of neighbours that overlap: a, ab, b."""
    apart = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=bool)
    assert ranking._letters(apart) == ["a", "ab", "b"]


def test_more_groups_than_letters():
    count = 30
    apart = ~np.eye(count, dtype=bool)
    letters = ranking._letters(apart)
    assert letters[:2] == ["a", "b"] and letters[26:28] == ["aa", "ab"]
    assert ranking._letters(~np.eye(800, dtype=bool)) == [""] * 800


@pytest.mark.parametrize(("rows", "freedom"), [(3, 4), (8, 10), (20, 28), (40, 12)])
def test_the_level_of_all_pairs_is_that_of_the_studentised_range(rows, freedom):
    quantile = reference.studentized_range.ppf(0.95, rows, freedom)
    exact = 2 * reference.t.sf(quantile / 2**0.5, freedom)
    assert ranking.simultaneous_level(rows, freedom) == pytest.approx(exact, rel=0.02)


def test_holms_levels_and_the_level_of_all_pairs():
    rejected, level = ranking._rejected(np.array([0.04, 0.01, 0.03, 0.02]), 0.0)
    assert rejected.tolist() == [False, True, False, False] and level == pytest.approx(0.05 / 3)
    rejected, level = ranking._rejected(np.array([0.04, 0.01, 0.03, 0.02]), 0.021)
    assert rejected.tolist() == [False, True, False, True] and level == pytest.approx(0.025)
