"""Profiles, and the readers of small-image data: counts, conventions, hostile and damaged files."""

import codecs
import gzip
import io
import itertools
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from camvid_files import DATA
from hypothesis import given, settings, strategies
from PIL import Image

from suite.base.errors import DataError, UserError
from tasks.vision import groups as profiles
from tasks.vision.data import cifar, digits, fashion
from tasks.vision.data.arrays import ImageArrays, check_counts, check_labels, set_digest
from tasks.vision.data.sources import Source
from tasks.vision.groups import class_counts, group_rule, groups, select, thresholds

packs = pytest.mark.skipif(
    not (DATA / "cifar10_lt.npz").is_file(),
    reason=f"no CIFAR packs in {DATA}: set LONGTAIL_TEST_DATA to a folder that holds them",
)
FASHION = Path("/usr/share/datasets/fashion-mnist")
installed = pytest.mark.skipif(
    not FASHION.is_dir(), reason=f"no {FASHION}: apt-get install dataset-fashion-mnist"
)

# data set, ratio, total, least, (head, medium, tail), total of step
TABLE = [
    ("cifar100", 10, 19573, 50, (69, 31, 0), 27500),
    ("cifar100", 20, 15907, 25, (53, 47, 0), 26250),
    ("cifar100", 50, 12608, 10, (41, 41, 18), 25500),
    ("cifar100", 100, 10847, 5, (35, 35, 30), 25250),
    ("cifar100", 200, 9502, 2, (30, 31, 39), 25100),
    ("cifar10", 10, 20431, 500, (7, 3, 0), 27500),
    ("cifar10", 50, 13996, 100, (4, 4, 2), 25500),
    ("cifar10", 100, 12406, 50, (4, 3, 3), 25250),
    ("cifar10", 200, 11203, 25, (3, 3, 4), 25125),
]
RULE = {"cifar100": (100, 20), "cifar10": (1000, 200)}


def counts_of(name, profile, ratio):
    return class_counts(profile, cifar.N_MAX[name], len(cifar.CLASSES[name]), ratio)


@pytest.mark.parametrize(("name", "ratio", "total", "least", "sizes", "step"), TABLE)
def test_counts_and_groups(name, ratio, total, least, sizes, step):
    counts = counts_of(name, "exp", ratio)
    assert (sum(counts), min(counts)) == (total, least)
    assert tuple(map(len, groups(counts, *RULE[name]).values())) == sizes
    assert sum(counts_of(name, "step", ratio)) == step
    if ratio != 10:
        assert thresholds(name, ratio) == RULE[name]


def test_listed_counts():
    c100 = counts_of("cifar100", "exp", 100)
    assert c100[:10] == (500, 477, 455, 434, 415, 396, 378, 361, 344, 328)
    assert (c100[34], c100[35], c100[69], c100[70]) == (102, 98, 20, 19)
    assert c100[-8:] == (6, 6, 6, 6, 5, 5, 5, 5)
    assert counts_of("cifar10", "exp", 100) == (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
    assert counts_of("cifar10", "exp", 10) == (
        5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500,
    )  # fmt: skip
    assert counts_of("cifar10", "step", 100) == (5000,) * 5 + (50,) * 5


def test_sse_sam_thresholds():
    counts = counts_of("cifar100", "exp", 100)
    for eta, classes, share in ((100, 65, 0.1865), (20, 30, 0.0281)):
        tail = [n for n in counts if n < eta]
        assert (len(tail), round(sum(tail) / sum(counts), 4)) == (classes, share)


def test_group_thresholds_at_ratio_10_leave_a_tail():
    assert (thresholds("cifar100", 10), thresholds("cifar10", 10)) == ((265, 99), (2319, 835))
    assert thresholds("fashion-mnist", 100) == (1200, 240)
    assert group_rule(100, 20) == "training images: head > 100, medium 20-100, tail < 20"


def test_groups_are_strict_at_both_ends():
    assert groups([101, 100, 20, 19], 100, 20) == {"head": (0,), "medium": (1, 2), "tail": (3,)}


@settings(max_examples=60, deadline=None)
@given(
    strategies.sampled_from(profiles.PROFILES),
    strategies.integers(50, 2000),
    strategies.integers(2, 60),
    strategies.floats(1, 50),
)
def test_profiles_fall_from_n_max_by_the_ratio(profile, n_max, classes, ratio):
    counts = class_counts(profile, n_max, classes, ratio)
    assert counts[0] == n_max and len(counts) == classes
    assert all(a >= b for a, b in itertools.pairwise(counts))
    assert n_max / ratio - 1 - 1e-6 <= counts[-1] <= n_max / ratio + 1e-6
    parts = groups(counts, n_max // 3, n_max // 10)
    assert sorted(sum(parts.values(), ())) == list(range(classes))


@pytest.mark.parametrize(
    ("profile", "ratio", "message"),
    [
        ("exp", 0.01, "the imbalance ratio is 0.01; it is n_max / n_min, at least 1 .write 100"),
        ("exp", float("nan"), "at least 1"),
        ("expo", 100, "did you mean exp"),
        ("step", 501, "no image of the rarest class"),
    ],
)
def test_profiles_that_cannot_be(profile, ratio, message):
    with pytest.raises(UserError, match=message):
        class_counts(profile, 500, 100, ratio)


def test_a_data_set_without_thresholds():
    with pytest.raises(UserError, match="no group thresholds for data set 'cifar'; did you mean"):
        thresholds("cifar", 100)


@settings(max_examples=30, deadline=None)
@given(strategies.lists(strategies.integers(1, 12), min_size=1, max_size=6), strategies.data())
def test_both_conventions(sizes, data):
    counts = [data.draw(strategies.integers(1, n)) for n in sizes]
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    first = select(labels, counts, "first")
    assert np.bincount(labels[first]).tolist() == counts
    for c, count in enumerate(counts):
        assert first[labels[first] == c].tolist() == np.flatnonzero(labels == c)[:count].tolist()
    # what LDAM's and the study's code do
    saved = np.random.get_state()
    np.random.seed(0)
    expected = []
    for c, count in enumerate(counts):
        index = np.where(labels == c)[0]
        np.random.shuffle(index)
        expected += index[:count].tolist()
    np.random.set_state(saved)
    assert select(labels, counts, "shuffled").tolist() == expected


def test_too_few_images_of_a_class():
    with pytest.raises(DataError, match="class 1 has 2 training images, the profile asks for 3"):
        select(np.array([0, 0, 0, 1, 1]), [3, 3], "first")
    with pytest.raises(UserError, match="did you mean shuffled"):
        select(np.array([0]), [1], "shufled")


def test_labels_are_checked():
    with pytest.raises(DataError, match=r"x: labels lie in 0..7, expected 0..4"):
        check_labels(np.array([0, 7]), 5, "x")
    with pytest.raises(DataError, match=r"x: class 1 has no training image .nor have 2 more"):
        check_labels(np.array([0, 4]), 5, "x", training=True)
    check_labels(np.array([0, 4]), 5, "x")
    check_counts(np.array([0, 4]), (1, 0, 0, 0, 1), "x", "test")
    with pytest.raises(DataError, match=r"x: class 1 has 0 test images, expected 1 .and 1 more"):
        check_counts(np.array([0, 4]), (1, 1, 1, 0, 1), "x", "test")
    with pytest.raises(DataError, match="expected uint8"):
        ImageArrays(np.zeros((2, 3, 4, 4)), np.zeros(2, np.int64))
    with pytest.raises(DataError, match="expected int64"):
        ImageArrays(np.zeros((2, 3, 4, 4), np.uint8), np.zeros(3, np.int64))


def test_the_digest_of_a_set_sees_pixels_and_labels_and_no_order():
    images = np.arange(2 * 12, dtype=np.uint8).reshape(2, 3, 2, 2)
    labels = np.array([0, 1])
    digest = set_digest(ImageArrays(images, labels))
    assert set_digest(ImageArrays(images[::-1], labels[::-1])) == digest
    assert set_digest(ImageArrays(images[::-1], labels)) != digest
    assert set_digest(ImageArrays(images.reshape(2, 3, 1, 4), labels)) != digest
    assert set_digest(ImageArrays(images ^ 1, labels)) != digest


# -- CIFAR, tiny: 10 classes of 40 training images (N_MAX), shuffled over five files


PACKED = sum(class_counts("exp", 40, 10, 10))


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(cifar.N_MAX, "cifar10", 40)
    monkeypatch.setitem(cifar.N_TEST, "cifar10", 6)
    generator = np.random.default_rng(1)
    labels = generator.permutation(np.repeat(np.arange(10), 40))
    images = generator.integers(0, 256, (400, 3, 32, 32), dtype=np.uint8)
    test = generator.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
    cifar._read.cache_clear()
    test_labels = np.arange(60) % 10
    tracked = {"test": set_digest(ImageArrays(test, test_labels)), "train": {}}
    monkeypatch.setattr(cifar, "manifest", lambda name: tracked)
    yield images, labels, test, test_labels
    cifar._read.cache_clear()


class Python2(pickle._Pickler):
    """Writes what Python 2 wrote: bytes as strings, and arrays by the module's name of then."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, content):
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(content)

    dispatch[bytes] = save_string


def as_python_2(content):
    buffer = io.BytesIO()
    Python2(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def as_python_3(content):
    """Bytes keys and protocol 2, as a copy pickled again has."""
    return pickle.dumps(content, protocol=2)


def write_released(root, images, labels, test, test_labels, dumps=as_python_2):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for k in range(5):
        part = slice(80 * k, 80 * (k + 1))
        content = {
            b"batch_label": b"training",
            b"labels": labels[part].tolist(),
            b"data": images[part].reshape(80, -1),
        }
        (folder / f"data_batch_{k + 1}").write_bytes(dumps(content))
    content = {b"labels": test_labels.tolist(), b"data": test.reshape(60, -1)}
    (folder / "test_batch").write_bytes(dumps(content))
    return folder


def mosaics(images):
    """(bytes, sizes): one lossless mosaic of 50 columns."""
    rows = -(-len(images) // 50)
    padded = np.zeros((rows * 50, 3, 32, 32), np.uint8)
    padded[: len(images)] = images
    mosaic = padded.reshape(rows, 50, 3, 32, 32).transpose(0, 3, 1, 4, 2)
    buffer = io.BytesIO()
    Image.fromarray(mosaic.reshape(rows * 32, 50 * 32, 3)).save(buffer, "WEBP", lossless=True)
    return np.frombuffer(buffer.getvalue(), np.uint8), np.array([buffer.tell()])


def write_pack(root, images, labels, test, test_labels, **changes):
    root.mkdir(parents=True, exist_ok=True)
    chosen = select(labels, class_counts("exp", 40, 10, 10), "first")
    train_bytes, train_sizes = mosaics(images[chosen])
    test_bytes, test_sizes = mosaics(test)
    content = {
        "classes": np.array(cifar.CLASSES["cifar10"]),
        "y_train": labels[chosen].astype(np.uint8),
        "y_test": test_labels.astype(np.uint8),
        "webp_train": train_bytes,
        "webp_test": test_bytes,
        "sizes_train": train_sizes,
        "sizes_test": test_sizes,
    }
    content |= changes
    np.savez(root / "cifar10_lt.npz", **{k: v for k, v in content.items() if v is not None})
    return root / "cifar10_lt.npz"


def test_pack_and_released_files_give_the_same_training_set(tiny, tmp_path):
    write_released(tmp_path / "a", *tiny)
    write_pack(tmp_path / "b", *tiny)
    found = [cifar.find("cifar10", tmp_path / name) for name in "ab"]
    assert [cifar.is_pack(path) for path in found] == [False, True]
    for ratio in (10, 20, 40):
        one, other = (cifar.load("cifar10", path, "exp", ratio, "first") for path in found)
        for part in ("train", "test"):
            for field in ("images", "labels"):
                arrays = [getattr(getattr(copy, part), field) for copy in (one, other)]
                assert np.array_equal(*arrays)
        assert one.observed == other.observed
        # a pack's order need not be the release's, so that what it gives is another training set
        assert (one.variant, other.variant) == (False, True)
        assert np.bincount(one.train.labels).tolist() == list(one.class_counts)


def test_another_test_set_is_a_variant_and_another_order_is_none(tiny, tmp_path):
    images, labels, test, test_labels = tiny
    order = np.random.default_rng(3).permutation(60)
    folder = write_released(tmp_path / "a", images, labels, test[order], test_labels[order])
    assert not cifar.load("cifar10", folder, "exp", 10, "first").variant
    assert cifar.check("cifar10", folder, deep=True) == []
    test = test.copy()
    test[0, 0, 0, 0] ^= 1
    folder = write_released(tmp_path / "b", images, labels, test, test_labels)
    assert cifar.load("cifar10", folder, "exp", 10, "first").variant
    assert cifar.check("cifar10", folder, deep=True) == []
    said = cifar.differs("cifar10", folder, True)
    assert said == "the test images are not those of the tracked manifest"


def test_pickles_of_python_2_and_of_python_3(tiny, tmp_path):
    made = []
    for name, dumps in (("2", as_python_2), ("3", as_python_3)):
        folder = write_released(tmp_path / name, *tiny, dumps=dumps)
        assert (b"_codecs" in (folder / "test_batch").read_bytes()) == (name == "3")
        made.append(cifar.load("cifar10", folder, "exp", 10, "first"))
    assert np.array_equal(made[0].train.images, made[1].train.images)
    assert np.array_equal(made[0].test.images, tiny[2])


def test_cifar100_has_one_file_a_split_and_fine_labels(monkeypatch, tmp_path):
    monkeypatch.setitem(cifar.N_MAX, "cifar100", 2)
    monkeypatch.setitem(cifar.N_TEST, "cifar100", 1)
    generator = np.random.default_rng(4)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for split, count in (("train", 200), ("test", 100)):
        data = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        content = {b"data": data, b"fine_labels": [c % 100 for c in range(count)]}
        (folder / split).write_bytes(as_python_2(content | {b"coarse_labels": [0] * count}))
    loaded = cifar.load("cifar100", cifar.find("cifar100", tmp_path), "exp", 1, "first")
    assert loaded.train.labels.tolist() == sorted([*range(100)] * 2)
    # three planes of 32x32, red first
    assert np.array_equal(loaded.test.images.reshape(100, -1), data)


def test_a_file_that_changes_is_read_again(tiny, tmp_path):
    folder = write_released(tmp_path, *tiny)
    before = cifar.load("cifar10", folder, "exp", 10, "first").observed
    content = {b"labels": tiny[3].tolist(), b"data": tiny[2].reshape(60, -1) ^ 1}
    (folder / "test_batch").write_bytes(as_python_2(content))
    os.utime(folder / "test_batch", ns=(1, 1))
    after = cifar.load("cifar10", folder, "exp", 10, "first").observed
    assert before["train"] == after["train"] and before["test"] != after["test"]


def test_the_complete_copy_gives_step_and_shuffled(tiny, tmp_path):
    images, labels, _, _ = tiny
    folder = write_released(tmp_path, *tiny)
    step = cifar.load("cifar10", folder, "step", 10, "shuffled")
    assert step.class_counts == (40,) * 5 + (4,) * 5
    chosen = select(labels, step.class_counts, "shuffled")
    assert np.array_equal(step.train.images, images[chosen])
    pack = write_pack(tmp_path, *tiny)
    assert cifar.find("cifar10", tmp_path) == folder  # the complete copy wins
    for request in (("step", 10, "first"), ("exp", 10, "shuffled"), ("exp", 5, "first")):
        with pytest.raises(DataError, match=r"holds only the first images .* put the complete"):
            cifar.load("cifar10", pack, *request)


EXPLODED = []


def explode():
    EXPLODED.append(True)


class Bomb:
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


def test_the_bomb_would_go_off():
    pickle.loads(pickle.dumps(Bomb(explode)))
    assert EXPLODED.pop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Bomb(os.system, "exit 1")), "names .*system"),
        (pickle.dumps({b"data": Bomb(explode), b"labels": []}, protocol=2), "names .*explode"),
        (pickle.dumps(Bomb(np.load, "x.npy"), protocol=2), r"names numpy.*load"),
        (pickle.dumps(Bomb(codecs.encode, "x", "rot13"), protocol=2), "asks for the codec 'rot13'"),
        (pickle.dumps([1, 2], protocol=2), "holds a list, not a dict"),
        (pickle.dumps({b"data": b"x", b"labels": [0]}, protocol=2), "is not cifar10's: expected"),
        (b"\x80\x02}q\x00(", "is not a pickle of CIFAR's"),
        (b"", "is not a pickle of CIFAR's"),
        (
            pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, protocol=2),
            "N labels",
        ),
    ],
)
def test_files_that_are_not_cifars(tiny, tmp_path, content, message):
    folder = write_released(tmp_path, *tiny)
    (folder / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        cifar.load("cifar10", folder, "exp", 10, "first")
    assert "data_batch_3" in str(raised.value) and "\n" not in str(raised.value)
    assert not EXPLODED
    (problem,) = cifar.check("cifar10", folder, deep=True)
    assert "data_batch_3" in problem


def test_released_labels_outside_the_classes_and_an_absent_class(tiny, tmp_path):
    images, labels, test, test_labels = tiny
    folder = write_released(
        tmp_path / "a", images, np.where(labels == 9, 8, labels), test, test_labels
    )
    with pytest.raises(DataError, match="class 9 has no training image"):
        cifar.load("cifar10", folder, "exp", 10, "first")
    folder = write_released(tmp_path / "b", images, labels + 1, test, test_labels)
    with pytest.raises(DataError, match=r"data_batch_1 is not cifar10's: .* labels in 0..9"):
        cifar.load("cifar10", folder, "exp", 10, "first")


def test_a_batch_that_is_there_twice(tiny, tmp_path):
    """Enough images for every class of the profile, but a shuffle over other ones."""
    folder = write_released(tmp_path, *tiny)
    (folder / "data_batch_2").write_bytes((folder / "data_batch_1").read_bytes())
    with pytest.raises(DataError, match=r"class 0 has \d+ training images, expected 40 .and"):
        cifar.load("cifar10", folder, "exp", 10, "shuffled")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": None}, "y_train"),
        ({"y_train": np.zeros(136)}, "y_train is float64"),
        ({"classes": np.array(cifar.CLASSES["cifar100"])}, "other classes"),
        ({"webp_train": np.zeros(5), "sizes_train": np.array([5])}, "mosaics are float64"),
        ({"sizes_train": np.zeros(0, np.int64)}, "sizes and bytes of its mosaics disagree"),
        (
            {"y_train": np.arange(PACKED, dtype=np.uint8) % 10},
            "class 0 has 1. training .* expected 40",
        ),
        ({"y_test": np.zeros(60, np.uint8)}, "class 0 has 60 test images, expected 6"),
        ({"sizes_train": np.array([5])}, "sizes and bytes of its mosaics disagree"),
        ({"webp_test": np.zeros(100, np.uint8), "sizes_test": np.array([100])}, "identify image"),
        ({"y_test": np.zeros(500, np.uint8)}, "100 images for 500 labels"),
        ({"y_test": np.array([object()])}, "not a pack of cifar10"),
    ],
)
def test_damaged_packs(tiny, tmp_path, changes, message):
    pack = write_pack(tmp_path, *tiny, **changes)
    with pytest.raises(DataError, match=message) as raised:
        cifar.load("cifar10", pack, "exp", 10, "first")
    assert str(pack) in str(raised.value) and "\n" not in str(raised.value)


def flipped(raw):
    """One byte of the training mosaic's stored bytes is another."""
    at = raw.index(b"WEBPVP8L") + 5000
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:-2000],
        flipped,
        lambda raw: b"",
        lambda raw: b"404 Not Found",
        lambda raw: b"\x93NUMPY\x01\x00" + raw[8:],
        lambda raw: pickle.dumps(Bomb(explode)),
    ],
)
def test_files_that_are_no_pack(tiny, tmp_path, spoil):
    pack = write_pack(tmp_path, *tiny)
    pack.write_bytes(spoil(pack.read_bytes()))
    with pytest.raises(DataError, match=r"is not a pack of cifar10 .*copy it again") as raised:
        cifar.load("cifar10", pack, "exp", 10, "first")
    assert str(pack) in str(raised.value) and "\n" not in str(raised.value)
    assert not EXPLODED
    assert cifar.check("cifar10", pack, deep=True) == [str(raised.value)]


def test_a_pack_of_one_mosaic_too_many(tiny, tmp_path):
    blob, sizes = mosaics(np.concatenate([tiny[2], tiny[2]]))
    pack = write_pack(tmp_path, *tiny, webp_test=blob, sizes_test=sizes)
    with pytest.raises(DataError, match="150 images for 60 labels"):
        cifar.load("cifar10", pack, "exp", 10, "first")


def test_where_cifar_is_not(tiny, tmp_path):
    with pytest.raises(DataError, match="there is no"):
        cifar.find("cifar10", tmp_path / "none")
    (tmp_path / "readme").touch()
    with pytest.raises(DataError, match=r"expected cifar-10-batches-py/ .*; found there: readme"):
        cifar.find("cifar10", tmp_path)
    folder = write_released(tmp_path, *tiny)
    assert cifar.find("cifar10", folder) == cifar.find("cifar10", tmp_path) == folder
    (folder / "data_batch_4").unlink()
    (folder / "test_batch").unlink()
    # even beside a pack, which is not what the half-copied folder was to give
    write_pack(tmp_path, *tiny)
    with pytest.raises(DataError, match=r"is not whole: data_batch_4 is missing .and 1 more"):
        cifar.find("cifar10", tmp_path)
    assert cifar.check("cifar10", folder) == [
        f"{folder / name} is missing" for name in ("data_batch_4", "test_batch")
    ]
    with pytest.raises(DataError, match=r"cifar10: .*data_batch_4: No such file"):
        cifar.load("cifar10", folder, "exp", 10, "first")


def test_every_split_has_its_digest():
    seen = set()
    for name in ("cifar10", "cifar100"):
        for profile in profiles.PROFILES:
            for ratio in (10, 20, 50, 100, 200):
                for convention in profiles.CONVENTIONS:
                    asked = (profile, ratio, convention)
                    assert cifar.split_digest(name, *asked) == cifar.compute_split_digest(
                        name, *asked
                    )
                    seen.add(Source(name, *asked).split)
    assert len(seen) == 40
    # a ratio that the manifest does not have is computed
    assert cifar.split_digest("cifar10", "exp", 30, "first") not in "".join(seen)
    with pytest.raises(UserError, match="at least 1"):
        cifar.split_digest("cifar10", "exp", 0.01, "first")


@pytest.mark.slow
@packs
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_real_packs_are_the_manifests(name):
    path = cifar.find(name, DATA)
    assert cifar.check(name, path, deep=True) == []
    for ratio in (10, 20, 50, 100, 200):
        loaded = cifar.load(name, path, "exp", ratio, "first")
        assert loaded.class_counts == counts_of(name, "exp", ratio)
        assert np.bincount(loaded.train.labels).tolist() == list(loaded.class_counts)
        tracked = cifar.manifest(name)["train"][f"exp-{ratio}-first"]
        assert loaded.observed == {"train": tracked["pack"], "test": cifar.manifest(name)["test"]}
        assert loaded.variant
    assert len(loaded.test.labels) == 10_000
    assert len(set(np.bincount(loaded.test.labels))) == 1


@pytest.mark.slow
@packs
def test_the_packs_order_is_not_the_releases():
    """Why a pack is a variant: where the release's first frog and first test cat are in it."""
    loaded = cifar.load("cifar10", cifar.find("cifar10", DATA), "exp", 10, "first")
    for arrays, c, corner, place in (
        (loaded.train, 6, [[59, 62, 63], [43, 46, 45], [50, 48, 43]], 521),
        (loaded.test, 3, [[158, 112, 49], [159, 111, 47], [165, 116, 51]], 125),
    ):
        of_class = arrays.images[arrays.labels == c]
        hits = (of_class[:, :, 0, :3].transpose(0, 2, 1) == corner).all(axis=(1, 2))
        assert np.flatnonzero(hits).tolist() == [place]


# -- Fashion-MNIST


def write_idx(folder, compress=False, per_class=3):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(2)
    for stem, count in (("train", 10 * per_class), ("t10k", 20)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, array in (("images", images), ("labels", labels)):
            name = f"{stem}-{kind}-idx{array.ndim}-ubyte"
            raw = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
            raw += array.tobytes()
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
            else:
                (folder / name).write_bytes(raw)
    return folder


@pytest.fixture
def small_fashion(monkeypatch):
    monkeypatch.setattr(fashion, "N_MAX", 3)
    monkeypatch.setattr(fashion, "N_TEST", 2)
    fashion._read.cache_clear()
    yield
    fashion._read.cache_clear()


def test_plain_and_gzipped_idx_files(small_fashion, tmp_path):
    made = []
    for name, compress in (("fashion-mnist", False), ("FashionMNIST/raw", True)):
        folder = write_idx(tmp_path / str(compress) / name, compress)
        assert fashion.find("fashion-mnist", tmp_path / str(compress)) == folder
        made.append(fashion.load("fashion-mnist", folder, "exp", 3, "shuffled"))
    assert made[0].observed == made[1].observed
    assert made[0].train.images.shape == (sum(made[0].class_counts), 1, 28, 28)
    assert made[0].variant


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw[:-1], "is damaged: .* its header says"),
        (lambda raw: b"\x00\x00\x08\x01" + raw[4:], "is no idx file of Fashion-MNIST"),
        (lambda raw: raw[:3], "ends after 3 bytes"),
        (lambda raw: raw[:8] + struct.pack(">2I", 32, 32) + raw[16:], r"sizes \(32, 32\)"),
    ],
)
def test_damaged_idx_files(small_fashion, tmp_path, spoil, message):
    folder = write_idx(tmp_path)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=message) as raised:
        fashion.load("fashion-mnist", folder, "exp", 3, "first")
    assert str(path) in str(raised.value)
    (problem,) = fashion.check("fashion-mnist", folder, deep=True)
    assert "\n" not in problem


def test_truncated_gzip_missing_file_and_too_few_images(small_fashion, tmp_path, monkeypatch):
    folder = write_idx(tmp_path, compress=True)
    monkeypatch.setattr(fashion, "N_MAX", 4)
    with pytest.raises(DataError, match="class 0 has 3 training images, expected 4"):
        fashion.load("fashion-mnist", folder, "exp", 2, "first")
    monkeypatch.setattr(fashion, "N_MAX", 3)
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-50])
    fashion._read.cache_clear()
    with pytest.raises(DataError, match=r"t10k-images.*cannot be read"):
        fashion.load("fashion-mnist", folder, "exp", 2, "first")
    path.unlink()
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.* is missing"):
        fashion.find("fashion-mnist", tmp_path)
    (problem,) = fashion.check("fashion-mnist", folder)
    assert "t10k-images-idx3-ubyte[.gz] is missing" in problem
    with pytest.raises(DataError, match="is missing"):
        fashion.load("fashion-mnist", tmp_path / "none", "exp", 2, "first")


def test_where_fashion_mnist_is_not(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        fashion.find("fashion-mnist", tmp_path / "none")
    with pytest.raises(DataError, match=r"expected train-images-idx3-ubyte.* found there: nothing"):
        fashion.find("fashion-mnist", tmp_path)


def test_arrays_can_be_written(small_fashion, tmp_path):
    """torch warns of arrays that cannot."""
    loaded = fashion.load("fashion-mnist", write_idx(tmp_path), "exp", 3, "first")
    assert loaded.test.images.flags.writeable and loaded.train.images.flags.writeable


def test_every_fashion_split_has_its_digest():
    asked = [
        (p, r, c)
        for p in profiles.PROFILES
        for r in (10, 20, 50, 100, 200)
        for c in profiles.CONVENTIONS
    ]
    digests = [fashion.compute_split_digest(*one) for one in asked]
    assert [fashion.split_digest("fashion-mnist", *one) for one in asked] == digests
    assert len(set(digests)) == 20


@pytest.mark.slow
@installed
def test_the_real_fashion_mnist_gives_every_profile():
    for profile in profiles.PROFILES:
        for convention in profiles.CONVENTIONS:
            loaded = fashion.load("fashion-mnist", FASHION, profile, 100, convention)
            assert not loaded.variant
            assert np.bincount(loaded.train.labels).tolist() == list(loaded.class_counts)
            asked = (profile, 100, convention)
            assert fashion.split_digest("", *asked) == fashion.compute_split_digest(*asked)


# -- digits


def test_embedded_digits():
    loaded = digits.load()
    assert (
        np.bincount(loaded.train.labels).tolist()
        == list(digits.COUNTS)
        == list(loaded.class_counts)
    )
    assert (digits.COUNTS[0], digits.COUNTS[-1]) == (120, 3)
    assert np.bincount(loaded.test.labels).tolist() == [50] * 10
    assert loaded.train.images.shape[1:] == (1, 8, 8) and loaded.train.images.max() == 240
    train = {image.tobytes() for image in loaded.train.images}
    assert not train & {image.tobytes() for image in loaded.test.images}
    sizes = map(len, groups(digits.COUNTS, *digits.THRESHOLDS).values())
    assert sorted(sizes) == [3, 3, 4]


def test_other_digits_are_refused(monkeypatch):
    monkeypatch.setattr(digits, "SHA256", "0")
    with pytest.raises(DataError, match=r"scikit-learn .* are not those expected"):
        digits.load()


@packs
def test_a_pack_is_sound_but_cannot_give_every_protocol():
    from suite.define.catalog import Catalog

    catalog = Catalog.load()
    task = catalog.task("longtail-cls")
    # `data check` asks for what the first protocol on it asks for
    path = catalog.datasets()["cifar10"].find(DATA)
    assert cifar.is_pack(path)
    assert catalog.protocol(task, "cpu-cifar").dataset.find(DATA) == path
    for variant in ("step", "shuffled"):
        with pytest.raises(DataError, match="holds only the first images"):
            catalog.protocol(task, f"r32-200:cifar10,{variant}").dataset.find(DATA)
