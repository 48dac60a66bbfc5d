"""Alignment of a classifier's cosines and the classes' similarity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.vision.geometry.alignment import alignment, alignment_of, similarity_of

SQUARE = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=float)
GRAM = SQUARE @ SQUARE.T


def alike(*pairs, classes=4):
    found = np.zeros((classes, classes))
    for i, j in pairs:
        found[i, j] = found[j, i] = 1.0
    return found


def test_by_hand():
    # classes 0 and 2 alike: opposite vertices in their order, neighbours once 1 and 2 have changed places
    similar = alike((0, 2))
    assert alignment(GRAM, similar) == -1.0
    swapped = SQUARE[[0, 2, 1, 3]]
    assert alignment(swapped @ swapped.T, similar) == 0.0


def test_the_similarity_of_a_confusion():
    found = similarity_of(np.array([[8, 2, 0], [1, 4, 0], [0, 0, 3]]))
    assert found == pytest.approx(np.array([[0, 0.2, 0], [0.2, 0, 0], [0, 0, 0]]))
    for wrong, message in (
        (np.ones((2, 3)), "expected"),
        (np.array([[1, -1], [0, 1]]), "at least 0"),
        (np.array([[1, 0], [0, 0]]), "class 1 has no samples"),
    ):
        with pytest.raises(ValueError, match=message):
            similarity_of(wrong)


@given(st.permutations(range(6)), st.floats(0.01, 100), st.integers(0, 2**31))
def test_names_of_classes_and_lengths_do_not_matter(names, scale, seed):
    generator = np.random.default_rng(seed)
    rows, confusion = generator.normal(size=(6, 3)), generator.integers(1, 9, size=(6, 6))
    renamed = alignment_of(scale * rows[names], confusion[np.ix_(names, names)])
    assert renamed == pytest.approx(alignment_of(rows, confusion))
    assert -1 <= renamed <= 1


@given(st.permutations(range(5)), st.integers(0, 2**31))
def test_a_simplex_has_the_same_alignment_under_every_permutation(order, seed):
    rows = np.eye(5) - 0.2
    confusion = np.random.default_rng(seed).integers(1, 9, size=(5, 5))
    assert alignment_of(rows[order], confusion) == pytest.approx(-0.25)


def test_what_does_not_fit():
    for gram, similar, message in (
        (GRAM, np.ones((3, 3)), "shape"),
        (GRAM[:2], GRAM[:2], "shape"),
        (np.full((4, 4), np.nan), alike((0, 1)), "cosines not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            alignment(gram, similar)
    with pytest.raises(ValueError, match="none are alike"):
        alignment_of(SQUARE, np.eye(4, dtype=int))
    with pytest.raises(ValueError, match="row 3 of the classifier is zero"):
        alignment_of(np.vstack([SQUARE[:3], [0, 0]]), np.ones((4, 4), int))
