"""Balanced training sets: the profile, the digits' second one, and what a copy of a data set can give."""

from pathlib import Path

import numpy as np
import pytest
from camvid_files import DATA
from hypothesis import given
from hypothesis import strategies as st

from suite.base.errors import DataError, UserError
from tasks.vision.data import cifar, digits, fashion
from tasks.vision.data.sources import Source
from tasks.vision.groups import BALANCED, class_counts, order_in_class, split_digest
from tasks.vision.image_sets import image_set

PACK = DATA / cifar.PACK["cifar10"]
packs = pytest.mark.skipif(not PACK.is_file(), reason="no CIFAR pack here")
FIVE_HUNDRED = Source("cifar10", BALANCED, 1, "first", 500)


@given(st.integers(1, 10_000), st.integers(2, 200))
def test_a_balanced_profile_has_as_many_of_every_class(n_max, classes):
    assert class_counts(BALANCED, n_max, classes, 1) == (n_max,) * classes


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((BALANCED, 10, 3, 100), "ratio 100: its ratio is 1"),
        ((BALANCED, 0, 3, 1), "0 images a class"),
        (("balancd", 10, 3, 1), "unknown profile 'balancd'.*balanced"),
    ],
)
def test_other_balanced_profiles_are_refused(asked, said):
    with pytest.raises(UserError, match=said):
        class_counts(*asked)


def test_a_source_without_a_number_is_what_it_was():
    assert "n_max" not in Source("cifar10").config()
    assert Source("cifar10").split.startswith("cifar10-exp-ir100-first@")
    assert Source(**FIVE_HUNDRED.config()) == FIVE_HUNDRED


def test_names_tell_balanced_sources_apart():
    whole = Source("cifar10", BALANCED, 1)
    assert whole.counts == (5000,) * 10 and FIVE_HUNDRED.counts == (500,) * 10
    name, digest = FIVE_HUNDRED.split.split("@")
    assert name == "cifar10-balanced-n500-first"
    assert digest == split_digest("cifar10", 5000, FIVE_HUNDRED.counts, "first")
    assert whole.split.startswith("cifar10-balanced-first@")
    assert Source("fashion-mnist", BALANCED, 1, "first", 600).split == (
        "fashion-mnist-balanced-n600-first@"
        + split_digest("fashion-mnist", 6000, (600,) * 10, "first")
    )
    # of a long-tailed profile too
    fewer = Source("cifar10", "exp", 10, "first", 100)
    assert fewer.counts == class_counts("exp", 100, 10, 10)
    assert fewer.split.startswith("cifar10-exp-ir10-n100-first@")


@pytest.mark.parametrize("number", [0, -1, 5001])
def test_more_images_than_there_are_are_refused(number):
    with pytest.raises(UserError, match=f"cifar10: {number} training images .* 1 to 5000"):
        _ = Source("cifar10", BALANCED, 1, "first", number).counts
    with pytest.raises(UserError, match="1 to 6000"):
        fashion.split_digest("fashion-mnist", BALANCED, 1, "first", 6001)


def test_balanced_sets_have_no_groups():
    for source in (FIVE_HUNDRED, Source("digits", BALANCED, 1), Source("cifar100", BALANCED, 1)):
        data = image_set(source)
        assert (dict(data.groups), data.group_rule, data.group_thresholds) == ({}, "", None)
        assert "long-tailed" not in data.summary
    assert image_set(Source("digits", BALANCED, 1)).name == "digits-balanced"
    assert image_set(Source("digits")).name == "digits-lt"
    assert image_set(Source("digits")).groups["tail"]


def test_embedded_balanced_digits():
    loaded = digits.load(BALANCED)
    assert np.bincount(loaded.train.labels).tolist() == [30] * 10 == list(loaded.class_counts)
    tested = np.bincount(loaded.test.labels)
    assert tested.sum() == 1497 and (tested.min(), tested.max()) == (144, 153)
    images, _ = digits.every()
    both = np.concatenate([loaded.train.images, loaded.test.images])
    assert sorted(i.tobytes() for i in both) == sorted(i.tobytes() for i in images.images)
    # shuffled: not the first of a class
    first = images.images[images.labels == 0][:30]
    assert not np.array_equal(loaded.train.images[:30], first)
    assert digits.split(BALANCED) == f"digits-balanced@{digits.BALANCED_SHA256[:12]}"
    assert not loaded.variant


def test_the_digits_profiles_are_fixed():
    assert Source("digits", BALANCED, 1, "first", 30).counts == (30,) * 10
    for source in (Source("digits", BALANCED, 1, "first", 31), Source("digits", n_max=30)):
        with pytest.raises(UserError, match=r"profile .* is fixed"):
            _ = source.counts
        with pytest.raises(UserError, match="is fixed"):
            _ = source.split


def test_other_balanced_digits_are_refused(monkeypatch):
    monkeypatch.setattr(digits, "BALANCED_SHA256", "0")
    with pytest.raises(DataError, match="are not those expected"):
        digits.load(BALANCED)


def test_a_pack_gives_as_many_as_its_rarest_class_has():
    give = lambda *asked: cifar.cannot_give(Path("x/cifar10_lt.npz"), *asked)  # noqa: E731
    assert give(BALANCED, 1, "first", 500) is None
    assert "500 at least: for 501 images of every class" in give(BALANCED, 1, "first", 501)
    assert "for all images of every class" in give(BALANCED, 1, "first")
    assert "shuffled, put the complete cifar-10-batches-py/" in give(BALANCED, 1, "shuffled", 500)
    hundred = Path("x/cifar100_lt.npz")
    assert cifar.cannot_give(hundred, BALANCED, 1, "first", 50) is None
    assert cifar.cannot_give(hundred, BALANCED, 1, "first", 51)
    assert cifar.cannot_give(Path("cifar-10-batches-py"), BALANCED, 1, "first") is None


@packs
def test_the_first_images_of_a_pack():
    loaded = FIVE_HUNDRED.images.load(FIVE_HUNDRED, PACK)
    assert np.bincount(loaded.train.labels).tolist() == [500] * 10
    full, _ = cifar.read_whole("cifar10", PACK)
    chosen = order_in_class([5000] * 10, [500] * 10, "first")
    for c in range(10):
        members = full.images[full.labels == c][chosen[c]]
        assert np.array_equal(loaded.train.images[loaded.train.labels == c], members)
    assert loaded.variant and len(loaded.test.labels) == 10_000
    with pytest.raises(DataError, match="put the complete"):
        image_set(Source("cifar10", BALANCED, 1)).find(DATA)
    assert image_set(FIVE_HUNDRED).find(DATA) == PACK
