"""The embedded digit scenes: content, cache, and the data set built on them."""

import hashlib
import threading

import numpy as np
import pytest

from suite.base.errors import DataError, UserError
from tasks.longtail_seg import recipes
from tasks.vision.data import digit_scenes as digits


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    digits.load(folder)
    return folder


@pytest.fixture(scope="module")
def arrays(cache):
    return digits.load(cache)


def test_profile_and_groups():
    assert digits.TRAIN_INSTANCES[0] == digits.IMBALANCE_RATIO * digits.TRAIN_INSTANCES[9]
    assert digits.GROUPS == {"head": (0, 1, 2), "medium": (3, 4, 5, 6), "tail": (7, 8, 9)}
    assert digits.BACKGROUND not in sum(digits.GROUPS.values(), ())
    assert len(digits.CLASSES) == len(digits.PALETTE) == len(set(digits.PALETTE)) == 11


def test_arrays(arrays):
    for split, instances in (("train", digits.TRAIN_INSTANCES), ("test", (100,) * 10)):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        assert images.dtype == labels.dtype == np.uint8
        assert images.shape == (-(-sum(instances) // 4), 64, 64, 3)
        assert labels.shape == images.shape[:3]
        assert set(np.unique(labels)) == set(range(11))
        assert arrays[f"{split}_instances"].tolist() == list(instances)


def test_training_pixels_are_long_tailed_and_test_pixels_are_not(arrays):
    train = np.bincount(arrays["train_labels"].ravel(), minlength=11)[:10]
    test = np.bincount(arrays["test_labels"].ravel(), minlength=11)[:10]
    assert 20 < train[0] / train[9] < 45
    assert test.max() / test.min() < 1.5


@pytest.mark.slow
def test_training_and_test_share_no_digit_image(monkeypatch):
    used = []
    scene = digits._scene

    def spy(draw, instances):
        used.append([image.tobytes() for _, image in instances])
        return scene(draw, instances)

    monkeypatch.setattr(digits, "_scene", spy)
    made = digits.make()
    count = len(made["train_images"])
    train = {image for images in used[:count] for image in images}
    test = {image for images in used[count:] for image in images}
    assert len(test) == 500
    assert not train & test


def test_enlarging_is_bilinear():
    row = digits._enlarge(np.array([[0, 256], [0, 256]]), 4)[0]
    assert row.tolist() == [0, 64, 192, 256]


@pytest.mark.slow
def test_the_cache_is_used_and_a_damaged_one_is_remade(cache, arrays, monkeypatch):
    (path,) = cache.glob("*.npz")
    whole = path.read_bytes()
    monkeypatch.setattr(digits, "make", lambda: pytest.fail("made again"))
    digits.load(cache)
    monkeypatch.setattr(digits, "make", lambda: arrays)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damage in (b"", whole[: len(whole) // 2], b"no zip", bytes(flipped)):
        path.write_bytes(damage)
        assert digits.checksum(digits.load(cache)) == digits.SHA256
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(whole).digest()
    assert [p.name for p in cache.iterdir()] == [path.name]  # no temporary file is left


def test_a_cache_holding_pickles_is_not_loaded(cache, arrays, monkeypatch):
    (path,) = cache.glob("*.npz")
    np.savez(path, train_images=np.array([{"a": 1}], dtype=object))
    monkeypatch.setattr(digits, "make", lambda: arrays)
    assert digits.checksum(digits.load(cache)) == digits.SHA256


@pytest.mark.slow
def test_several_makers_at_once(tmp_path, arrays, monkeypatch):
    monkeypatch.setattr(digits, "make", lambda: arrays)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(digits.checksum(digits.load(tmp_path))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [digits.SHA256] * 4
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, arrays, monkeypatch):
    monkeypatch.setattr(digits, "make", lambda: arrays)
    (tmp_path / "file").write_text("")
    assert digits.checksum(digits.load(tmp_path / "file" / "below")) == digits.SHA256


def test_other_digits_are_refused(tmp_path, arrays, monkeypatch):
    other = {**arrays, "test_labels": arrays["test_labels"][::-1]}
    monkeypatch.setattr(digits, "make", lambda: other)
    with pytest.raises(DataError, match="load_digits"):
        digits.load(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(UserError, match="known: quick smoke camvid:full,segformer-b0"):
        recipes.base_config("camvid:tiny", {})
