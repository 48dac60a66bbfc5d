"""Which training images a carved protocol leaves out."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.base.errors import DataError
from tasks.vision.data.carving import (
    CARVING,
    Carving,
    chosen_by_class,
    chosen_by_image,
    part_of,
)


@pytest.mark.parametrize(
    ("images", "taken"), [(0, 0), (1, 0), (2, 1), (3, 1), (5, 1), (8, 2), (10, 2), (500, 100)]
)
def test_a_share_of_a_class_one_at_least_and_never_all(images, taken):
    assert CARVING.taken(images) == taken
    assert CARVING.kept((images, images)) == (images - taken,) * 2


def test_every_class_gives_its_share():
    labels = np.repeat([0, 1, 2, 3], [100, 11, 2, 1])
    np.random.default_rng(0).shuffle(labels)
    chosen = chosen_by_class(labels.tolist(), CARVING)
    assert np.bincount(labels[chosen], minlength=4).tolist() == [20, 2, 1, 0]
    other = chosen_by_class(labels.tolist(), Carving(seed=1))
    assert other.sum() == chosen.sum() and (other != chosen).any()
    # a class's choice hangs on its own images alone
    without = labels[labels != 3].tolist()
    assert (chosen_by_class(without, CARVING) == chosen[labels != 3]).all()


def test_the_choice_is_the_same_everywhere():
    """Not a generator's: what is chosen is part of a protocol's identity, for ever."""
    labels = [0] * 50 + [1] * 20 + [2] * 3
    places = np.flatnonzero(chosen_by_class(labels, CARVING)).tolist()
    assert places == [7, 10, 20, 23, 24, 28, 31, 33, 35, 45, 51, 55, 56, 59, 72]
    presence = np.array([[(i * k) % 7 < 2 for k in (1, 2, 3, 5)] for i in range(40)])
    digest = hashlib.sha256(chosen_by_image(presence, CARVING).tobytes()).hexdigest()
    assert digest[:16] == "ce016300d660cc0a"


def test_parts_are_apart_and_whole():
    labels = [0, 0, 0, 0, 0, 1, 1]
    parts = [
        part_of(CARVING.part(part), lambda how: chosen_by_class(labels, how))
        for part in ("train", "val")
    ]
    assert sorted(np.concatenate(parts).tolist()) == list(range(7))
    assert [len(part) for part in parts] == [5, 2]
    with pytest.raises(KeyError):
        part_of(CARVING.part("test"), lambda how: chosen_by_class(labels, how))
    with pytest.raises(DataError, match=r"2 training images are too few .* without :carved$"):
        part_of(CARVING.part("train"), lambda how: chosen_by_class([0, 1], how))


@given(
    st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=60),
    st.integers(0, 3),
)
def test_no_class_loses_its_last_training_image(rows, seed):
    presence = np.array(rows)
    chosen = chosen_by_image(presence, Carving(seed=seed))
    assert chosen.shape == (len(rows),) and chosen.dtype == bool
    shown, kept = presence.any(axis=0), presence[~chosen].any(axis=0)
    assert (shown == kept).all()


def test_shares_of_classes_that_images_share():
    """As in street scenes: the frequent classes are everywhere, a rare one is on six of 400 images."""
    random = np.random.default_rng(0)
    rates = np.array([0.98, 0.9, 0.6, 0.3, 0.1, 0.05, 0.015])
    presence = random.random((400, 7)) < rates
    chosen = chosen_by_image(presence, CARVING)
    share = presence[chosen].sum(axis=0) / presence.sum(axis=0)
    assert abs(chosen.mean() - 0.2) < 0.01
    assert (np.abs(share - 0.2) < [0.02, 0.02, 0.02, 0.02, 0.03, 0.05, 0.2]).all(), share
    assert presence[chosen].any(axis=0).all()


def test_images_without_any_class_are_shared_out_too():
    chosen = chosen_by_image(np.zeros((10, 3), bool), CARVING)
    assert chosen.sum() == 2
