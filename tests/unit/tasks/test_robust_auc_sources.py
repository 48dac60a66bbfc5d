"""Binary data sets made of multi-class ones: which images train, which are positive, and what no set can be made of."""

import importlib.util
import math
import shutil
import struct
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from camvid_files import DATA
from hypothesis import assume, given, settings, strategies
from PIL import Image

from suite.base.errors import DataError, UserError
from tasks.robust_auc.data import elpv, small_pools, sources, tiny_imagenet
from tasks.robust_auc.data.pools import Pool, take
from tasks.robust_auc.data.sources import POOLS, BinarySource, class_ids, dataset, load
from tasks.robust_auc.data.tiny_imagenet_c import TINY_IMAGENET_C
from tasks.vision.data import cifar, digits
from tasks.vision.data.arrays import ImageArrays
from tasks.vision.data.carving import CARVING, chosen_by_class

PACK = DATA / "cifar10_lt.npz"
packs = pytest.mark.skipif(
    not PACK.is_file(),
    reason=f"no CIFAR packs in {DATA}: set LONGTAIL_TEST_DATA to a folder that holds them",
)
FASHION = Path("/usr/share/datasets/fashion-mnist")
UPPER = (5, 6, 7, 8, 9)
VEHICLES = (0, 1, 8, 9)
QUICK = BinarySource("digits", UPPER, 0.1)
ON_THE_PACK = BinarySource("cifar10", VEHICLES, 0.1, negatives=800, test=200, left_out=(7,))


def cifar10(prior):
    """As in the paper: four fifths of 5,000 images of each negative class."""
    return BinarySource("cifar10", UPPER, prior, negatives=4000)


def tiny(name):
    return BinarySource(
        "tiny-imagenet", tiny_imagenet.POSITIVES[name], tiny_imagenet.PRIORS[name], negatives=400
    )


# -- counts


@pytest.mark.parametrize(("p", "positives"), [(0.01, 202), (0.05, 1052), (0.1, 2222), (0.2, 5000)])
def test_counts_of_the_paper(p, positives):
    for source in (cifar10(p), BinarySource("cifar100", tuple(range(50, 100)), p, 400)):
        assert source.counts == (20_000, positives)
        shares = [source.class_counts[c] for c in source.positives]
        assert sum(shares) == positives and max(shares) - min(shares) <= 1
        assert {source.class_counts[c] for c in source.negative_classes} == {
            4000 if source.name == "cifar10" else 400
        }
        assert source.test_counts == (5000, 5000)


def test_counts_of_the_digits():
    assert QUICK.counts == (651, 72)
    assert QUICK.class_counts[5:] == (15, 15, 14, 14, 14)
    assert QUICK.test_counts == (250, 250)


def test_counts_on_the_pack():
    assert ON_THE_PACK.counts == (4000, 444)
    assert [ON_THE_PACK.class_counts[c] for c in VEHICLES] == [111] * 4
    assert ON_THE_PACK.class_counts[7] == 0
    assert ON_THE_PACK.test_counts == (1000, 800)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("bird", (78_400, 1600)), ("dog", (77_600, 2400)), ("vehicle", (75_200, 4800))],
)
def test_tiny_imagenet_h_takes_all_images_of_its_positive_classes(name, counts):
    """So its shares were meant exactly; in floating point the truncation loses one here and there."""
    source = tiny(name)
    assert source.counts == counts
    assert {source.class_counts[c] for c in source.positives} == {400}
    assert sum(source.test_counts) == 10_000
    assert replace(tiny("vehicle"), negatives=1).counts == (188, 12)
    assert int(0.06 / 0.94 * 188) == 11


def test_names_of_tiny_imagenet_h():
    """The classes of the sheet are lines of wnids.txt: goose, penguin, albatross, stork; German shepherd; school bus."""
    known = tiny_imagenet.wnids()
    assert len(set(known)) == 200
    birds = {known[c] for c in tiny_imagenet.POSITIVES["bird"]}
    assert birds == {"n01855672", "n02056570", "n02058221", "n02002724"}
    assert known[tiny_imagenet.POSITIVES["dog"][0]] == "n02106662"
    assert known[tiny_imagenet.POSITIVES["vehicle"][0]] == "n04146614"
    assert [len(c) for c in tiny_imagenet.POSITIVES.values()] == [4, 6, 12]


def test_mnist_by_its_own_class_sizes():
    assert BinarySource("mnist", UPPER, 0.2).counts == (30_596, 7649)
    assert BinarySource("mnist", UPPER, 0.2, test=892).test_counts == (4460, 4460)
    assert (sum(small_pools.MNIST.train_sizes), sum(small_pools.MNIST.test_sizes)) == (
        60_000,
        10_000,
    )


def test_natural_imbalance():
    source = BinarySource("elpv", elpv.POSITIVES, None)
    assert source.counts == (1353, 617)
    assert source.test_counts == (450, 204)
    assert sum(elpv.SIZES) == 2624
    assert sum(elpv.SIZES[c] for c in elpv.POSITIVES) == 821


@settings(max_examples=40)
@given(
    prior=strategies.integers(1, 5000).map(lambda n: n / 10_000),
    negatives=strategies.integers(1, 5000),
    positives=strategies.sets(strategies.integers(0, 9), min_size=1, max_size=9),
    convention=strategies.sampled_from(["first", "shuffled"]),
)
def test_any_source_has_its_share_of_positives(prior, negatives, positives, convention):
    kept = negatives * (10 - len(positives))
    share = Fraction(str(prior))
    wanted = int(share / (1 - share) * kept)
    assume(wanted >= 1 and math.ceil(wanted / len(positives)) <= 5000)
    source = BinarySource(
        "cifar10", tuple(positives), prior, negatives=negatives, convention=convention
    )
    assert source.counts == (kept, wanted)
    shares = [source.class_counts[c] for c in positives]
    assert max(shares) - min(shares) <= 1
    # the largest count whose share is not above p
    assert Fraction(wanted, kept + wanted) <= share < Fraction(wanted + 1, kept + wanted + 1)
    for places, count in zip(source.train_places, source.class_counts, strict=True):
        assert len(set(places)) == len(places) == count
        assert list(places) == sorted(places)
        assert all(0 <= place < 5000 for place in places)


# -- the split


def test_splits_need_no_data_and_no_numpy(monkeypatch):
    """Protocols name them at every start."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    for source in (QUICK, ON_THE_PACK, cifar10(0.01), tiny("dog")):
        again = BinarySource(**source.config())
        assert again.split and again.text and dataset(again).summary
    with pytest.raises(ImportError):
        _ = replace(QUICK, convention="shuffled").split


def test_splits_differ_where_places_or_labels_differ():
    one = cifar10(0.1)
    others = [
        cifar10(0.05),
        replace(one, positives=(0, 1, 2, 3, 4)),
        replace(one, negatives=3999, prior=0.100023),
        replace(one, test=999),
        replace(one, left_out=(0,)),
        replace(one, convention="shuffled"),
        BinarySource("cifar100", UPPER, 0.1, 200),
    ]
    assert len({source.split.partition("@")[2] for source in [one, *others]}) == 8


def test_splits_are_of_places_alone():
    """However they are asked for, the same images are the same split."""
    one = cifar10(0.1)
    assert one.split.startswith("cifar10-p0.1@")
    # 2,222 positives: another share that truncates to the same count
    same = replace(one, prior=0.10001, test=1000, positives=tuple(reversed(UPPER)))
    assert same.counts == one.counts
    assert same.split.partition("@")[2] == one.split.partition("@")[2]


def test_known_splits():
    """A change of these makes all results of the protocols other results."""
    assert [source.split for source in (QUICK, ON_THE_PACK, cifar10(0.1), tiny("bird"))] == [
        "digits-p0.1@9cf50550059a",
        "cifar10-p0.1@74d8350dde81",
        "cifar10-p0.1@f97f80be1c03",
        "tiny-imagenet-p0.02@c1677f742ff0",
    ]


def test_runs_are_the_same_for_ranges_and_lists():
    assert sources._runs(range(0)) == sources._runs([]) == []
    assert sources._runs(range(3)) == sources._runs([0, 1, 2]) == [[0, 3]]
    assert sources._runs([0, 2, 3, 7]) == [[0, 1], [2, 4], [7, 8]]


def test_a_config_gives_the_source_back():
    for source in (QUICK, ON_THE_PACK, cifar10(0.2), replace(cifar10(0.2), convention="shuffled")):
        again = BinarySource(**source.config())
        assert again == source and hash(again) == hash(source)
        assert all(not isinstance(value, tuple) for value in source.config().values())


# -- what no set can be made of


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prior": 0}, "share of positives is 0;.* above 0 and not above .5"),
        ({"prior": 0.51}, "share of positives is 0.51"),
        ({"prior": -0.1}, "share of positives is -0.1"),
        ({"prior": float("nan")}, "share of positives is nan"),
        ({"prior": 0.0001}, "leaves none beside 4,000 negatives; the smallest that leaves one is"),
        ({"positives": ()}, "no class is positive"),
        ({"positives": tuple(range(10))}, "no class is negative"),
        ({"positives": (3, 10)}, "cifar10 has no class 10.* ids run from 0 to 9"),
        ({"positives": ("cat",)}, "cifar10 has no class 'cat'.* `class_ids`"),
        ({"positives": (5, 5)}, r"positive classes \[5, 5\] name one twice"),
        ({"left_out": (-1,)}, "has no class -1, which is to be left out"),
        ({"left_out": (4, 5)}, "class 5 is positive and left out"),
        ({"left_out": (0, 1, 2, 3, 4)}, "no class is negative"),
        ({"negatives": 0}, "negatives is 0; give a whole number from 1 on"),
        ({"negatives": 5001}, "5,001 training images of each class .* has 5,000"),
        ({"test": 1001}, "1,001 test images of each class .* has 1,000"),
        ({"test": 0}, "test is 0"),
        ({"convention": "last"}, "unknown convention 'last'"),
        ({"name": "cifar-10"}, "made of 'cifar-10'; did you mean"),
        (
            {"positives": (9,), "prior": 0.5, "negatives": 5000},
            "asks for 45,000 training images of truck, which has 5,000",
        ),
        ({"positives": (1, 2, 3, 4, 5, 6), "prior": None}, "24,000|30,000 positives to 3,200"),
    ],
)
def test_bad_sources_are_one_clear_line(arguments, message):
    about = {"name": "cifar10", "positives": UPPER, "prior": 0.1, "negatives": 800} | arguments
    with pytest.raises(UserError, match=message) as raised:
        BinarySource(**about)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("negatives", [10, 49, 99, 100, 124])
def test_the_smallest_share_that_is_named_is_taken(negatives):
    with pytest.raises(UserError, match="smallest") as caught:
        BinarySource("digits", (9,), 1e-5, negatives=negatives, left_out=(0, 1, 2))
    named = float(str(caught.value).split()[-1])
    made = BinarySource("digits", (9,), named, negatives=negatives, left_out=(0, 1, 2))
    assert made.counts[1] == 1


def test_classes_by_name():
    assert class_ids("cifar10", ["truck", "airplane", "ship", "automobile"]) == VEHICLES
    with pytest.raises(UserError, match="cifar10 has no class 'airplan'; did you mean airplane"):
        class_ids("cifar10", ["airplan"])
    with pytest.raises(UserError, match="made of 'cifar'; did you mean"):
        class_ids("cifar", ["cat"])


# -- images


def test_the_digits():
    made = load(QUICK, Path("unused"))
    assert made.train.images.shape == (723, 1, 8, 8) and made.test.images.shape == (500, 1, 8, 8)
    assert made.train.labels.sum() == 72 and made.test.labels.sum() == 250
    assert np.bincount(made.train_classes).tolist() == list(QUICK.class_counts)
    assert np.bincount(made.test_classes).tolist() == [50] * 10
    assert ((made.train_classes >= 5) == made.train.labels).all()
    assert ((made.test_classes >= 5) == made.test.labels).all()
    assert not made.variant and set(made.observed) == {"train", "test"}
    assert load(QUICK, Path("unused")) is made


def test_the_digits_places():
    """The first 50 of a class test, those behind them train, and the test set is in file order."""
    made = load(QUICK, Path("unused"))
    every, place = digits.every()
    nines = every.images[(every.labels == 9) & (place >= 50)][:14]
    assert (made.train.images[made.train_classes == 9] == nines).all()
    tests = place < 50
    assert (made.test.images == every.images[tests]).all()
    assert (made.test_classes == every.labels[tests]).all()


def test_a_validation_set_has_the_same_share_of_positives():
    made = load(QUICK, Path("unused"))
    carved = chosen_by_class(made.train.labels.tolist(), CARVING)
    assert np.bincount(made.train.labels[carved]).tolist() == [130, 14]
    assert CARVING.kept(QUICK.counts) == (521, 58)


def test_other_digits_than_those_expected(monkeypatch):
    every, place = digits.every()
    changed = every.images.copy()
    changed[-1, 0, 0, 0] ^= 1
    monkeypatch.setattr(digits, "every", lambda: (ImageArrays(changed, every.labels), place))
    with pytest.raises(DataError, match=r"digits of scikit-learn .* are not those expected"):
        load(replace(QUICK, prior=0.2), Path("unused"))
    with pytest.raises(DataError, match="are not those expected"):
        dataset(QUICK).check(Path("unused"), True)


@pytest.fixture
def toy(monkeypatch):
    """Three classes of 6, 5 and 4 training and 3 test images each, their order mixed; a pixel tells which is which."""
    labels = np.array([2, 0, 1, 0, 0, 2, 1, 1, 0, 2, 0, 1, 1, 2, 0])
    tests = np.array([1, 0, 2, 2, 1, 0, 0, 1, 2])

    def made(of, offset):
        images = (np.arange(len(of), dtype=np.uint8) + offset)[:, None, None, None]
        return ImageArrays(np.ascontiguousarray(images), of)

    def read(path, train_places, test_places):
        return take(made(labels, 0), made(tests, 100), train_places, test_places, "toy", False)

    pool = Pool(
        name="toy",
        summary="",
        layout="",
        classes=("a", "b", "c"),
        edge=1,
        mean=(0.5,),
        std=(0.5,),
        train_sizes=(6, 5, 4),
        test_sizes=(3, 3, 3),
        find=lambda root: root,
        check=lambda path, deep: [],
        differs=lambda path, deep: "",
        read=read,
    )
    monkeypatch.setitem(POOLS, "toy", pool)
    load.cache_clear()
    yield pool
    load.cache_clear()


def test_training_images_class_after_class_and_test_images_in_file_order(toy):
    source = BinarySource("toy", (1,), 0.3, negatives=3, test=2)
    assert source.counts == (6, 2)
    made = load(source, Path("toy"))
    assert made.train.images.ravel().tolist() == [1, 3, 4, 2, 6, 0, 5, 9]
    assert made.train_classes.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert made.train.labels.tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert made.test_places.tolist() == [0, 1, 2, 3, 4, 5]
    assert made.test_classes.tolist() == [1, 0, 2, 2, 1, 0]
    assert made.test.labels.tolist() == [1, 0, 0, 0, 1, 0]


def test_a_class_that_is_left_out_is_nowhere(toy):
    made = load(BinarySource("toy", (1,), 0.4, left_out=(0,)), Path("toy"))
    assert 0 not in made.train_classes and 0 not in made.test_classes
    assert made.test_places.tolist() == [0, 2, 3, 4, 7, 8]
    assert made.test.images.ravel().tolist() == [100, 102, 103, 104, 107, 108]
    # where an official corrupted set has the same images
    clean = made.clean
    assert len(clean.labels) == 9 and clean.files == ()
    assert (clean.labels[clean.places] == made.test_classes).all()


def test_shuffled_places(toy):
    one = BinarySource("toy", (1,), 0.3, negatives=3, convention="shuffled")
    first = replace(one, convention="first")
    assert (
        load(one, Path("toy")).train_classes.tolist()
        == load(first, Path("toy")).train_classes.tolist()
    )
    assert list(map(list, one.train_places)) != list(map(list, first.train_places))
    # by a generator of its own: no seed of a run changes it
    np.random.seed(17)
    assert one.train_places == replace(one).train_places


def test_a_copy_with_fewer_images_of_a_class_than_published(toy, monkeypatch):
    monkeypatch.setitem(POOLS, "toy", replace(toy, train_sizes=(6, 5, 5)))
    with pytest.raises(DataError, match="toy: class 2 has 4 training images, but number 5 is"):
        load(BinarySource("toy", (1,), 0.3), Path("toy"))
    monkeypatch.setitem(POOLS, "toy", replace(toy, test_sizes=(3, 4, 3)))
    with pytest.raises(DataError, match="toy: class 1 has 3 test images, but number 4 is"):
        load(BinarySource("toy", (1,), 0.2), Path("toy"))


def test_a_data_set_of_two_classes_without_groups():
    made = dataset(ON_THE_PACK)
    assert (made.name, made.classes) == ("cifar10", ("negative", "positive"))
    assert (made.groups, made.group_rule, made.group_thresholds) == ({}, "", None)
    assert made.summary == dataset(cifar10(0.01)).summary
    assert "444 positives to 4,000 negatives" in ON_THE_PACK.text
    assert dataset(QUICK).embedded and not made.embedded
    assert "n01855672" in tiny("bird").text


# -- CIFAR


def test_a_pack_gives_what_it_holds(monkeypatch, tmp_path):
    held = cifar.pack_counts("cifar10")
    assert held == (5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500)
    pack = tmp_path / "cifar10_lt.npz"
    pack.write_bytes(b"")
    assert ON_THE_PACK.cannot_give(pack) is None
    assert ON_THE_PACK.cannot_give(tmp_path / "cifar-10-batches-py") is None
    for source, message in (
        (
            cifar10(0.1),
            "holds 3,871 training images of automobile, 4,000 are asked for; put the complete",
        ),
        (replace(ON_THE_PACK, prior=0.4), "holds 645 training images of ship, 666 are asked for"),
        (replace(ON_THE_PACK, convention="shuffled"), "only the first images .* not shuffled ones"),
    ):
        with pytest.raises(DataError, match=message) as raised:
            load(source, pack)
        assert "cifar-10-batches-py/" in str(raised.value) and str(pack) in str(raised.value)
        with pytest.raises(DataError, match=message):
            dataset(source).find(tmp_path)


@pytest.mark.slow
@packs
def test_the_real_pack():
    made = dataset(ON_THE_PACK)
    path = made.find(DATA)
    sets = load(ON_THE_PACK, path)
    assert sets.train.images.shape == (4444, 3, 32, 32)
    assert sets.test.images.shape == (1800, 3, 32, 32)
    assert np.bincount(sets.train_classes).tolist() == list(ON_THE_PACK.class_counts)
    assert np.bincount(sets.test_classes, minlength=10).tolist() == [200] * 7 + [0, 200, 200]
    train, test = cifar.read_whole("cifar10", path)
    ships = train.images[train.labels == 8][:111]
    assert (sets.train.images[sets.train_classes == 8] == ships).all()
    assert (sets.test.images == test.images[sets.test_places]).all()
    assert sets.variant and "it is a pack" in made.differs(path, False)
    mean = sets.train.images.mean(axis=(0, 2, 3)) / 255
    assert np.abs(mean - ON_THE_PACK.mean).max() < 0.06


# -- idx files


def write_mnist(folder, sizes=small_pools.MNIST.train_sizes):
    folder.mkdir(parents=True)
    for stem, counts in (("train", sizes), ("t10k", small_pools.MNIST.test_sizes)):
        labels = np.repeat(np.arange(10, dtype=np.uint8), counts)
        images = np.zeros((len(labels), 28, 28), np.uint8)
        images[:, 0, 0] = labels
        images[:, 0, 1] = np.arange(len(labels)) % 251
        for kind, array in (("images", images), ("labels", labels)):
            header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
            (folder / f"{stem}-{kind}-idx{array.ndim}-ubyte").write_bytes(header + array.tobytes())
    return folder


@pytest.mark.slow
def test_mnist(tmp_path):
    folder = write_mnist(tmp_path / "MNIST" / "raw")
    source = BinarySource("mnist", UPPER, 0.1, negatives=200, test=100)
    made = dataset(source)
    assert made.find(tmp_path) == folder
    assert made.check(folder, True) == []
    sets = load(source, folder)
    assert source.counts == (1000, 111)
    assert sets.train.images.shape == (1111, 1, 28, 28) and sets.test.images.shape[0] == 1000
    assert (sets.train.images[:, 0, 0, 0] == sets.train_classes).all()
    assert (sets.test.images[:, 0, 0, 0] == sets.test_classes).all()
    assert not sets.variant
    (folder / "t10k-labels-idx1-ubyte").unlink()
    assert made.check(folder, False) == [f"{folder}/t10k-labels-idx1-ubyte[.gz] is missing"]
    with pytest.raises(DataError, match=r"mnist .*t10k-labels.* is missing"):
        made.find(tmp_path)


@pytest.mark.slow
def test_other_data_in_the_files_of_mnist(tmp_path):
    """Fashion-MNIST comes in files of the same names and sizes."""
    folder = write_mnist(tmp_path / "mnist", (6000,) * 10)
    source = BinarySource("mnist", UPPER, 0.1)
    with pytest.raises(DataError, match="class 0 has 6000 training images, expected 5923"):
        load(source, folder)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    (problem,) = dataset(source).check(folder, True)
    assert f"{path} is damaged" in problem and "\n" not in problem


@pytest.mark.slow
@pytest.mark.skipif(
    not FASHION.is_dir(), reason=f"no {FASHION}: apt-get install dataset-fashion-mnist"
)
def test_the_real_fashion_mnist():
    source = BinarySource("fashion-mnist", UPPER, 0.1, negatives=200, test=100)
    sets = load(source, dataset(source).find(FASHION))
    assert source.counts == (1000, 111) and not sets.variant
    assert sets.train.images.shape == (1111, 1, 28, 28)
    assert np.bincount(sets.test_classes).tolist() == [100] * 10


# -- Tiny ImageNet

SMALL = replace(tiny("bird"), negatives=1, prior=0.02, test=1)


def write_tiny(root):
    """What `SMALL` reads of it; the lists are whole. Images are grey levels: the class, and 255 less it in the test."""
    folder = root / "tiny-imagenet-200"
    known = tiny_imagenet.wnids()
    (folder / "val" / "images").mkdir(parents=True)
    # the order of the copy's list means nothing
    (folder / "wnids.txt").write_text("\n".join(sorted(known)) + "\n")
    lines = []
    for k in range(10_000):
        lines.append(f"val_{k}.JPEG\t{known[(7 * k) % 200]}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    for c, wnid in enumerate(known):
        (folder / "train" / wnid / "images").mkdir(parents=True)
        Image.new("RGB", (64, 64), (c, c, c)).save(
            folder / "train" / wnid / "images" / f"{wnid}_0.JPEG", quality=95
        )
    for k in range(200):
        grey = 255 - (7 * k) % 200
        Image.new("L", (64, 64), grey).save(folder / "val" / "images" / f"val_{k}.JPEG", quality=95)
    return folder


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny_copy(tiny_folder, tmp_path):
    load.cache_clear()
    yield Path(shutil.copytree(tiny_folder, tmp_path / "tiny-imagenet-200"))
    load.cache_clear()


def test_tiny_imagenet(tiny_folder):
    made = dataset(SMALL)
    assert SMALL.counts == (196, 4)
    assert made.find(tiny_folder.parent) == made.find(tiny_folder) == tiny_folder
    sets = load(SMALL, tiny_folder)
    assert sets.train.images.shape == (200, 3, 64, 64)
    assert sets.train_classes.tolist() == list(range(200))
    assert np.flatnonzero(sets.train.labels).tolist() == list(tiny_imagenet.POSITIVES["bird"])
    middle = sets.train.images[:, :, 32, 32].astype(int)
    assert np.abs(middle - sets.train_classes[:, None]).max() <= 1
    # grey files become colour ones
    assert sets.test.images.shape == (200, 3, 64, 64)
    tested = 255 - sets.test.images[:, 0, 32, 32].astype(int)
    assert np.abs(tested - sets.test_classes).max() <= 1
    assert sets.test_places.tolist() == list(range(200))
    assert sets.test_classes.tolist() == [(7 * k) % 200 for k in range(200)]
    assert len(sets.released_labels) == len(sets.released_files) == 10_000
    assert sets.released_files[3] == f"{tiny_imagenet.wnids()[21]}/val_3.JPEG"
    assert not sets.variant


def test_tiny_imagenet_c_finds_the_same_images_by_their_names(tiny_folder, tmp_path):
    sets = load(replace(SMALL, left_out=(0,)), tiny_folder)
    assert len(sets.test_places) == 199 and 0 not in sets.test_places
    for file in np.array(sets.released_files)[sets.test_places]:
        path = tmp_path / "fog" / "3" / file
        path.parent.mkdir(parents=True)
        clean = tiny_folder / "val" / "images" / path.name
        path.write_bytes(clean.read_bytes())
    corrupted = TINY_IMAGENET_C.read(tmp_path, "fog", 3, sets.clean)
    assert (corrupted == sets.test.images).all()


def test_lines_of_tiny_imagenets_list_may_end_as_on_windows(tiny_copy):
    path = tiny_copy / "wnids.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(SMALL, tiny_copy).train.labels.sum() == 4


def spoil_line(text):
    def spoil(folder):
        path = folder / "val" / "val_annotations.txt"
        lines = path.read_text().splitlines(keepends=True)
        lines[4] = text
        path.write_text("".join(lines))

    return spoil


def first_image(folder):
    wnid = tiny_imagenet.wnids()[0]
    return folder / "train" / wnid / "images" / f"{wnid}_0.JPEG"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: first_image(f).unlink(), "n02124075_0.JPEG .*there is no such file"),
        (lambda f: first_image(f).write_bytes(b"GIF"), "n02124075_0.JPEG cannot be read"),
        (
            lambda f: Image.new("RGB", (32, 64)).save(first_image(f)),
            "n02124075_0.JPEG is 32x64, expected 64x64",
        ),
        (spoil_line("val_3.JPEG\tn02124075\n"), "txt:5: val_3.JPEG is listed twice"),
        (spoil_line("../../secret n02124075\n"), "txt:5: expected val_<number>.JPEG"),
        (spoil_line("val_4.JPEG\n"), "txt:5: expected val_<number>.JPEG and a class"),
        (spoil_line("val_4.JPEG\tn99999999\n"), "txt:5: expected val_<number>.JPEG and a class"),
        (spoil_line("\n"), "val_4.JPEG is not listed"),
        (spoil_line("val_4.JPEG\tn02124075\n"), "class 0 has 51 validation images, expected 50"),
        (
            lambda f: (f / "wnids.txt").write_text("n02124075\n"),
            "lists 1 classes that are not the 200 of Tiny ImageNet",
        ),
        (lambda f: (f / "wnids.txt").write_bytes(b"\xff\xfe\x00"), "wnids.txt:1: not UTF-8"),
    ],
)
def test_damaged_copies_of_tiny_imagenet(tiny_copy, spoil, message):
    spoil(tiny_copy)
    with pytest.raises(DataError, match=message) as raised:
        load(SMALL, tiny_copy)
    assert "\n" not in str(raised.value) and str(tiny_copy) in str(raised.value)


def test_tiny_imagenet_is_looked_for_by_its_names(tiny_copy, tmp_path):
    made = dataset(SMALL)
    # most of its images were not written
    train, val = made.check(tiny_copy, False)
    assert "(train)" in train and "(val)" in val
    (tiny_copy / "wnids.txt").unlink()
    with pytest.raises(DataError, match=r"is not whole: wnids.txt is missing; expected tiny-ima"):
        made.find(tmp_path)
    assert "wnids.txt is missing" in made.check(tiny_copy, False)[0]
    shutil.rmtree(tiny_copy / "val")
    # a folder `train` may be anybody's
    with pytest.raises(DataError, match="tiny-imagenet: expected tiny-imagenet-200/"):
        made.find(tmp_path)


# -- solar cells

CELLS = BinarySource("elpv", elpv.POSITIVES, None)


def write_labels(folder, change=lambda lines: lines):
    """The package's data without images."""
    data = folder / "elpv_dataset" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise SystemExit('imported')")
    lines = []
    for c, size in enumerate(elpv.SIZES):
        kind, text = elpv.KINDS[c // 4], repr(elpv.PROBABILITIES[c % 4])
        lines += [f"images/cell{len(lines) + k + 1:04d}.png  {text:20} {kind}" for k in range(size)]
    (data / "labels.csv").write_text("\n".join(change(lines)) + "\n")
    return data


def test_solar_cells_are_found_without_importing_the_package(tmp_path, monkeypatch):
    data = write_labels(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    made = dataset(CELLS)
    assert made.embedded and made.find(tmp_path / "cache") == data
    files, labels = elpv._labels(data)
    assert np.bincount(labels).tolist() == list(elpv.SIZES) and len(files) == 2624
    (problem,) = made.check(data, False)
    assert "2,624 of 2,624 images" in problem
    with pytest.raises(DataError, match=r"cell0001.png .*there is no such file"):
        load(CELLS, data)


def test_solar_cells_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"elpv is not installed: .*: pip install elpv-dataset=="):
        dataset(CELLS).find(Path("unused"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[1:], "class 0 has 587 listed images, expected 588"),
        (lambda lines: [lines[1], *lines[1:]], "names an image twice"),
        (
            lambda lines: ["images/../x.png 0.0 mono", *lines[1:]],
            "labels.csv:1: expected images/ce",
        ),
        (lambda lines: ["images/cell0001.png 0.5 mono", *lines[1:]], "labels.csv:1: expected"),
        (lambda lines: ["images/cell0001.png nan mono", *lines[1:]], "labels.csv:1: expected"),
        (lambda lines: ["images/cell0001.png 0.0 multi", *lines[1:]], "labels.csv:1: expected"),
        (lambda lines: [*lines[:9], "", *lines[9:]], "labels.csv:10: expected"),
    ],
)
def test_damaged_lists_of_solar_cells(tmp_path, change, message):
    data = write_labels(tmp_path, change)
    with pytest.raises(DataError, match=message) as raised:
        load(CELLS, data)
    assert "\n" not in str(raised.value) and str(data) in str(raised.value)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason=f"pip install {elpv.PACKAGE}"
)
def test_the_real_solar_cells():
    made = dataset(CELLS)
    path = made.find(Path("unused"))
    sets = load(CELLS, path)
    assert sets.train.images.shape == (1970, 1, 60, 60)
    assert (sets.train.labels.sum(), sets.test.labels.sum()) == (617, 204)
    assert not sets.variant and made.differs(path, True) == ""
    every = np.concatenate([sets.train.images, sets.test.images]) / 255
    assert every.mean() == pytest.approx(CELLS.mean[0], abs=5e-5)
    assert every.std() == pytest.approx(CELLS.std[0], abs=5e-5)
    assert math.isclose(sets.test.labels.mean(), 821 / 2624, abs_tol=0.002)
