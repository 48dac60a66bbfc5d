"""Alignment of a frame's cosines and the classes' similarity, and its correlation with accuracy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.vision.geometry.alignment import alignment, alignment_test, similarity_of

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
    assert alignment(GRAM, similar, [0, 1, 2, 3]) == -1.0
    assert alignment(GRAM, similar, [0, 2, 1, 3]) == 0.0


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


@given(st.permutations(range(6)), st.permutations(range(6)), st.integers(0, 2**31))
def test_names_of_classes_do_not_matter(first, names, seed):
    generator = np.random.default_rng(seed)
    frame = generator.normal(size=(6, 3))
    similar = generator.random((6, 6))
    similar = similar + similar.T
    renamed = similar[np.ix_(names, names)]
    order = [first[name] for name in names]
    assert alignment(frame @ frame.T, renamed, order) == pytest.approx(
        alignment(frame @ frame.T, similar, first)
    )


def test_a_simplex_has_nothing_to_align():
    classes = 5
    gram = np.eye(classes) * (1 + 1 / (classes - 1)) - 1 / (classes - 1)
    generator = np.random.default_rng(0)
    orders = [generator.permutation(classes).tolist() for _ in range(6)]
    similar = generator.random((classes, classes))
    found = alignment_test(gram, similar, orders, generator.random(6).tolist())
    assert (found.rho, found.p, found.n) == (None, None, 6)


def test_accuracy_that_falls_with_alignment():
    generator = np.random.default_rng(4)
    frame = generator.normal(size=(8, 3))
    frame /= np.linalg.norm(frame, axis=1, keepdims=True)
    gram, similar = frame @ frame.T, generator.random((8, 8))
    orders = [generator.permutation(8).tolist() for _ in range(12)]
    accuracy = [0.9 - 0.01 * alignment(gram, similar, order) for order in orders]
    found = alignment_test(gram, similar, orders, accuracy)
    assert (found.rho, found.n) == (pytest.approx(-1.0), 12) and found.p < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"permutation": [0, 1, 2]}, "gram of shape"),
        ({"permutation": [0, 1, 2, 2]}, "no permutation"),
        ({"similarity": np.ones((3, 3))}, "similarity of shape"),
        ({"gram": np.full((4, 4), np.nan)}, "not finite"),
    ],
)
def test_what_does_not_fit(change, message):
    given = {"gram": GRAM, "similarity": alike((0, 1)), "permutation": [0, 1, 2, 3], **change}
    with pytest.raises(ValueError, match=message):
        alignment(**given)
    with pytest.raises(ValueError, match="2 permutations and 1"):
        alignment_test(GRAM, alike((0, 1)), [[0, 1, 2, 3]] * 2, [0.5])
