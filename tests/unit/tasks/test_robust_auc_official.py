"""Official corrupted test sets: found, checked, and read in the order of the clean test set; nothing is unpickled."""

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corrupted_files import (
    COUNT,
    block,
    clean_labels,
    clean_test,
    contrasts,
    make,
    make_cifar10_1,
    make_cifar_c,
    picture,
    small,
    with_header,
)
from PIL import Image

from suite.base.errors import DataError, UserError
from tasks.robust_auc.data import cifar10_1, official
from tasks.robust_auc.data.official import RELEASES
from tasks.robust_auc.data.release import COMMON, HELD_OUT, CleanTest
from tasks.vision.data.npy import open_npy

ARRAYS = ("cifar10-c", "cifar100-c", "mnist-c")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Data root -> a whole copy of every release; not to be changed."""
    root = tmp_path_factory.mktemp("corrupted")
    for name in RELEASES:
        release = small(name)
        make(release, root / release.folders[0])
    return root


@pytest.fixture(params=RELEASES)
def copy(request, originals):
    """(release, folder) of each, not to be changed."""
    release = small(request.param)
    return release, originals / release.folders[0]


@pytest.fixture
def mine(originals, tmp_path):
    """(release, folder) of a CIFAR-10-C of the test's own."""
    release = small("cifar10-c")
    return release, shutil.copytree(originals / "CIFAR-10-C", tmp_path / "CIFAR-10-C")


def tell(release, folder, deep=False):
    """What a check says of a copy, its folder left out."""
    return [line.replace(f"{folder}/", "") for line in release.check(folder, deep)]


class Trap:
    """Unpickling it is noticed."""

    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


@pytest.fixture(autouse=True)
def _nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("unpickled").exists()


# -- what there is


def test_the_lists_of_corruptions():
    assert list(RELEASES) == ["cifar10-c", "cifar100-c", "mnist-c", "tiny-imagenet-c"]
    assert len(COMMON) == 15 and len(HELD_OUT) == 4 and not set(COMMON) & set(HELD_OUT)
    for name in ("cifar10-c", "cifar100-c", "tiny-imagenet-c"):
        assert RELEASES[name].corruptions == COMMON
        assert len(RELEASES[name].conditions) == 75
        assert RELEASES[name].conditions[:2] == (("gaussian_noise", 1), ("gaussian_noise", 2))
    mnist = RELEASES["mnist-c"]
    assert len(mnist.conditions) == 15
    assert ("canny_edges", None) in mnist.conditions
    assert "identity" not in mnist.corruptions
    with pytest.raises(UserError, match=r"no official corrupted set 'cifar-c'; did you mean cifar"):
        official.get("cifar-c")


@pytest.mark.parametrize("place", [".", "inside"])
def test_a_copy_is_found(copy, place):
    release, folder = copy
    assert release.find(folder if place == "inside" else folder.parent) == folder
    assert release.check(folder) == release.check(folder, True) == []
    assert release.differs(folder, False) == release.differs(folder, True) == ""


def test_what_is_not_there(copy, tmp_path):
    release, _ = copy
    with pytest.raises(DataError, match=f"{release.title}: there is no folder"):
        release.find(tmp_path / "none")
    (tmp_path / "labels.npy").touch()  # many data sets have one
    with pytest.raises(DataError, match=f"{release.title}: expected .*; found there: labels.npy"):
        release.find(tmp_path)
    assert tell(release, tmp_path) == [
        f"{tmp_path} holds nothing of {release.title}; expected {release.layout}"
    ]


# -- reading


def test_images_come_in_the_order_of_the_clean_test_set(copy):
    release, folder = copy
    test = clean_test(release)
    for corruption, severity in (release.conditions[0], release.conditions[-1]):
        made = release.read(folder, corruption, severity, test)
        height, width, channels = release.shape
        assert made.dtype == np.uint8 and made.shape == (4, channels, height, width)
        assert made.flags.c_contiguous and made.flags.writeable
        assert type(made) is np.ndarray  # not a piece of the file
        for image, place in zip(made, test.places, strict=True):
            expected = picture(release, corruption, severity, place).transpose(2, 0, 1)
            if release.name == "tiny-imagenet-c":  # of one colour, through JPEG
                assert np.abs(image.astype(int) - expected[:, :1, :1]).max() <= 4
            else:
                assert (image == expected).all()


def test_severities_are_blocks_one_after_the_other(originals):
    release = small("cifar10-c")
    everything = clean_test(release, range(COUNT))
    for severity in range(1, 6):
        made = release.read(originals / "CIFAR-10-C", "fog", severity, everything)
        assert (made.transpose(0, 2, 3, 1) == block(release, "fog", severity)).all()


def test_only_the_chosen_images_are_read(mine, monkeypatch):
    """Of a file of full length all but the chosen images is a hole."""
    release, folder = mine
    release = replace(release, count=10_000)
    labels = np.arange(10_000) % 10
    np.save(folder / "labels.npy", np.tile(labels, 5))
    shape = (50_000, *release.shape)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    (folder / "fog.npy").write_bytes(with_header(header))
    os.truncate(folder / "fog.npy", (folder / "fog.npy").stat().st_size + int(np.prod(shape)))
    test = CleanTest(labels=labels, places=np.array([0, 9_999]))
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("read whole"))
    assert release.read(folder, "fog", 5, test).shape == (2, 3, 32, 32)


def test_further_corruptions_are_read_by_name(tmp_path):
    release = small("cifar10-c")
    folder = make_cifar_c(release, tmp_path / "c", further=("saturate",))
    test = clean_test(release)
    made = release.read(folder, "saturate", 2, test)
    assert (made[0].transpose(1, 2, 0) == picture(release, "saturate", 2, 3)).all()
    assert release.check(folder, True) == []
    with pytest.raises(DataError, match=r"spatter\.npy is missing"):
        release.read(folder, "spatter", 2, test)


@pytest.mark.parametrize(
    ("name", "corruption", "severity", "line"),
    [
        (
            "cifar10-c",
            "motion",
            1,
            "CIFAR-10-C has no corruption 'motion'; did you mean motion_blur",
        ),
        ("cifar10-c", "fog", 6, "CIFAR-10-C: fog has no severity 6; there are 1 to 5"),
        ("cifar10-c", "fog", None, "fog has no severity None"),
        ("cifar10-c", "fog", True, "fog has no severity True"),
        ("tiny-imagenet-c", "fog", 0, "Tiny-ImageNet-C: fog has no severity 0"),
        ("mnist-c", "fog", 1, "MNIST-C: fog has one strength; leave severity 1 out"),
        ("mnist-c", "identity", None, "identity is the clean test set, and no corruption"),
        ("mnist-c", "zigzac", None, "did you mean zigzag"),
    ],
)
def test_conditions_that_there_are_not(originals, name, corruption, severity, line):
    release = small(name)
    with pytest.raises(UserError, match=line):
        release.read(originals / release.folders[0], corruption, severity, clean_test(release))


# -- labels


@pytest.mark.parametrize("name", ARRAYS)
def test_labels_that_disagree_with_the_clean_test_set(originals, name):
    release = small(name)
    test = clean_test(release)
    other = CleanTest(labels=np.roll(test.labels, 1), places=test.places)
    corruption, severity = release.conditions[0]
    with pytest.raises(
        DataError,
        match=rf"labels.npy disagrees with the clean test set of {release.clean}: image 0 is of class 0 there and "
        rf"\d+ here \({COUNT} of {COUNT} differ\); {release.title} follows the order of the release, which a pack has not",
    ):
        release.read(originals / release.folders[0], corruption, severity, other)
    fewer = CleanTest(labels=test.labels[:-1], places=test.places)
    with pytest.raises(DataError, match=rf"repeats {COUNT} .* the clean test set has {COUNT - 1}"):
        release.read(originals / release.folders[0], corruption, severity, fewer)


@pytest.mark.parametrize("name", RELEASES)
def test_a_whole_copy_is_required_before_a_training(originals, name, tmp_path):
    release = small(name)
    test = clean_test(release)
    release.require_whole(originals / release.folders[0], test)
    folder = shutil.copytree(originals / release.folders[0], tmp_path / "copy")
    last = release.conditions[-1][0]
    if name == "tiny-imagenet-c":
        moved = zip(np.roll(test.labels, 1), test.files, strict=True)
        files = tuple(f"n{c:08}/{file.split('/')[1]}" for c, file in moved)
        other = CleanTest(labels=test.labels, places=test.places, files=files)
        said, gone = r"val_\d+\.JPEG is missing: Tiny-ImageNet-C repeats", folder / last / "5"
        spoil = shutil.rmtree
    else:
        other = CleanTest(labels=np.roll(test.labels, 1), places=test.places)
        said, spoil = r"labels.npy disagrees with the clean test set", Path.unlink
        gone = folder / (f"{last}/test_images.npy" if name == "mnist-c" else f"{last}.npy")
    with pytest.raises(DataError, match=said):
        release.require_whole(folder, other)
    with pytest.raises(DataError, match=rf"repeats {COUNT} .* the clean test set has {COUNT - 1}"):
        release.require_whole(
            folder, CleanTest(labels=test.labels[:-1], places=test.places, files=test.files[:-1])
        )
    spoil(gone)
    with pytest.raises(DataError, match=rf"{last}.* is missing"):
        release.require_whole(folder, test)


def test_labels_that_one_condition_has_otherwise_are_found_before_a_training(originals, tmp_path):
    release = small("mnist-c")
    folder = shutil.copytree(originals / release.folders[0], tmp_path / "copy")
    file = folder / release.corruptions[-1] / "test_labels.npy"
    labels = np.load(file)
    labels[3] = (labels[3] + 1) % 10
    np.save(file, labels)
    with pytest.raises(
        DataError, match=r"MNIST-C: .*canny_edges/test_labels\.npy has other labels"
    ):
        release.require_whole(folder, clean_test(release))


def test_each_severity_has_its_own_labels(mine):
    release, folder = mine
    labels = np.tile(clean_labels(release), 5)
    labels[3 * COUNT + 4] += 1
    np.save(folder / "labels.npy", labels.astype(np.uint8))
    test = clean_test(release)
    release.read(folder, "fog", 1, test)
    with pytest.raises(
        DataError, match=r"image 4 is of class 9 there and 8 here \(1 of 20 differ\)"
    ):
        release.read(folder, "fog", 4, test)
    assert tell(release, folder) == [
        "labels.npy: 1 labels of severity 4 are not those of severity 1; copy it again"
    ]


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (np.zeros(99, np.uint8), r"labels.npy is uint8 \(99,\), expected integers \(100,\)"),
        (np.zeros(20, np.uint8), r"labels.npy is uint8 \(20,\)"),
        (np.zeros(100), r"labels.npy is float64 \(100,\), expected integers"),
        (np.full(100, 10), r"labels lie in 10..10, expected 0..9"),
        (np.full(100, -1), r"labels lie in -1..-1"),
    ],
)
def test_labels_that_are_none(mine, labels, line):
    release, folder = mine
    np.save(folder / "labels.npy", labels)
    with pytest.raises(DataError, match=line):
        release.read(folder, "fog", 1, clean_test(release))
    (told,) = release.check(folder)
    with pytest.raises(DataError, match=line):
        raise DataError(told)


def test_folders_of_mnist_agree_on_their_labels(originals, tmp_path):
    release = small("mnist-c")
    folder = shutil.copytree(originals / "MNIST-C", tmp_path / "MNIST-C")
    np.save(folder / "zigzag" / "test_labels.npy", clean_labels(release)[::-1].copy())
    assert tell(release, folder) == [
        "zigzag/test_labels.npy has other labels than shot_noise; copy it again"
    ]


# -- arrays


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (np.zeros((60, 32, 32, 3), np.uint8),
         "fog.npy holds 60 images, expected 100: severity 4, 5 are missing; copy it again"),
        (np.zeros((80, 32, 32, 3), np.uint8), "holds 80 images, expected 100: severity 5 is missing"),
        (np.zeros((99, 32, 32, 3), np.uint8), "fog.npy holds 99 images, expected 100; copy it again"),
        (np.zeros((120, 32, 32, 3), np.uint8), "holds 120 images, expected 100; copy"),
        (np.zeros((100, 32, 32, 3), np.float32),
         r"fog.npy is float32 \(100, 32, 32, 3\), expected uint8 \(100, 32, 32, 3\)"),
        (np.zeros((100, 32, 32, 3), np.int8), "fog.npy is int8"),
        (np.zeros((100, 3, 32, 32), np.uint8), r"is uint8 \(100, 3, 32, 32\), expected"),
        (np.zeros((100, 28, 28, 1), np.uint8), r"is uint8 \(100, 28, 28, 1\), expected"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"holds nothing: its shape is \(0, 32, 32, 3\)"),
        (np.array([None, 1], object), "holds pickled Python objects; nothing of others is unpickled"),
        (np.zeros(3, "U4"), "holds <U4, not plain numbers"),
        (np.zeros(3, [("a", "u1")]), "not plain numbers"),
    ],
)  # fmt: skip
def test_arrays_of_another_kind(mine, array, line):
    release, folder = mine
    np.save(folder / "fog.npy", array)
    with pytest.raises(DataError, match=line):
        release.read(folder, "fog", 1, clean_test(release))
    (told,) = release.check(folder)
    with pytest.raises(DataError, match=line):
        raise DataError(told)
    release.read(folder, "snow", 1, clean_test(release))  # the others are as they were


GOOD = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "is no npy file; copy it again"),
        (b"PK\x03\x04 a zip", "is no npy file"),
        (
            with_header(GOOD, b"abc"),
            "is damaged: 3 bytes of data, its header says 4; copy it again",
        ),
        (with_header(GOOD, b"abcde"), "is damaged: 5 bytes of data"),
        (
            with_header(GOOD.replace("(2, 2)", f"({1 << 40}, {1 << 40})"), b"abcd"),
            "damaged: 4 bytes",
        ),
        (with_header(GOOD.replace("(2, 2)", "(-1, 2)")), r"damaged header \(shape \(-1, 2\)\)"),
        (with_header(GOOD.replace("(2, 2)", "(2.0, 2)")), "damaged header"),
        (with_header("{'descr': __import__('os').mkdir('unpickled')}"), "damaged header"),
        (with_header("{" * 5000), "damaged header"),
        (b"\x93NUMPY\x09\x00" + b"\x00" * 80, "damaged header"),
        (b"\x93NUMPY", "damaged header"),
        (
            with_header(GOOD.replace("|u1", "|O"), pickle.dumps(Trap())),
            "holds pickled Python objects",
        ),
    ],
)
def test_files_that_are_no_arrays(tmp_path, content, line):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=line):
        open_npy(path)


def test_arrays_are_mapped_as_they_are(tmp_path):
    array = np.arange(12, dtype=">i4").reshape(3, 4)
    for order in ("C", "F"):
        np.save(tmp_path / "x.npy", np.asarray(array, order=order))
        mapped = open_npy(tmp_path / "x.npy")
        assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
        assert (mapped == array).all()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(DataError, match=r"x\.npy cannot be read"):
        open_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_called_npy(mine, protocol):
    release, folder = mine
    (folder / "fog.npy").write_bytes(pickle.dumps(Trap(), protocol))
    line = r"fog\.npy is a pickle; nothing of others is unpickled: save it as plain numbers"
    with pytest.raises(DataError, match=line):
        release.read(folder, "fog", 1, clean_test(release))
    assert len(release.check(folder, True)) == 1


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".pt"])
def test_a_released_pickle_among_the_arrays(mine, suffix):
    release, folder = mine
    (folder / "fog.npy").unlink()
    (folder / f"fog{suffix}").write_bytes(pickle.dumps(Trap()))
    line = f"fog.npy is missing, and fog{suffix}, a pickle, is not read"
    assert tell(release, folder) == [line]
    with pytest.raises(DataError, match=f"CIFAR-10-C in .* is not whole: {line}"):
        release.find(folder.parent)
    with pytest.raises(
        DataError, match=rf"fog\.npy is missing, and fog{suffix} is a pickle; nothing"
    ):
        release.read(folder, "fog", 1, clean_test(release))


def test_missing_files(mine):
    release, folder = mine
    for name in ("labels.npy", "fog.npy", "snow.npy"):
        (folder / name).unlink()
    assert tell(release, folder) == [
        "labels.npy is missing", "snow.npy is missing", "fog.npy is missing",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"labels\.npy is missing \(and 2 more problems\)"):
        release.find(folder)
    with pytest.raises(DataError, match=r"labels\.npy is missing$"):
        release.read(folder, "frost", 1, clean_test(release))


def test_a_long_list_of_problems_is_cut(mine):
    release, folder = mine
    for corruption in COMMON[:9]:
        (folder / f"{corruption}.npy").unlink()
    assert tell(release, folder)[4:] == ["glass_blur.npy is missing", "4 more problems"]


def test_images_that_an_interrupted_copy_left_blank(mine, originals, tmp_path):
    release, folder = mine
    array = np.load(folder / "fog.npy")
    array[3 * COUNT + 5 :] = 0
    np.save(folder / "fog.npy", array)
    assert release.check(folder) == []
    assert tell(release, folder, True) == [
        "fog.npy: 15 of 20 images of severity 4 are blank; copy it again",
        "fog.npy: 20 of 20 images of severity 5 are blank; copy it again",
    ]
    mnist = small("mnist-c")
    folder = shutil.copytree(originals / "MNIST-C", tmp_path / "MNIST-C")
    np.save(folder / "scale" / "test_images.npy", np.zeros((COUNT, 28, 28, 1), np.uint8))
    assert tell(mnist, folder) == []
    assert tell(mnist, folder, True) == [
        "scale/test_images.npy: 20 of 20 images are blank; copy it again"
    ]


def test_a_copy_with_the_constants_of_imagenet_differs(mine):
    release, folder = mine
    np.save(folder / "contrast.npy", contrasts(release, (0.4, 0.3, 0.2, 0.1, 0.05)))
    assert release.check(folder, True) == []
    assert release.differs(folder, False) == ""
    assert release.differs(folder, True) == (
        "contrast.npy was made with other constants than the published ones"
    )


@pytest.mark.parametrize(
    ("labels", "places", "line"),
    [
        ([0, 1, 2], [0, 3], "places of test images lie in 0..3, of 3 images"),
        ([0, 1, 2], [-1], "lie in -1..-1"),
        ([0, 1, 2], [], r"places of the clean test set are float64 \(0,\), expected int64"),
        ([0, 1, 2], [True, False, True], "are bool"),
        ([0.5], [0], "labels of the clean test set are float64"),
    ],
)
def test_clean_test_sets_that_are_none(labels, places, line):
    with pytest.raises(DataError, match=line):
        CleanTest(labels=np.array(labels), places=np.array(places))


# -- image files


@pytest.fixture
def tiny(originals, tmp_path):
    release = small("tiny-imagenet-c")
    return release, shutil.copytree(originals / "Tiny-ImageNet-C", tmp_path / "Tiny-ImageNet-C")


def test_image_files_that_are_missing_or_damaged(tiny):
    release, folder = tiny
    test = clean_test(release)
    file = folder / "fog" / "2" / test.files[17]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{file} cannot be read as an image"):
        release.read(folder, "fog", 2, test)
    assert release.check(folder) == []
    (told,) = release.check(folder, True)
    assert str(file) in told
    Image.new("RGB", (32, 32)).save(file)
    with pytest.raises(DataError, match=rf"{file} is 32x32, expected 64x64; copy it again"):
        release.read(folder, "fog", 2, test)
    file.unlink()
    with pytest.raises(
        DataError, match=f"{file} cannot be read as an image: there is no such file"
    ):
        release.read(folder, "fog", 2, test)
    assert tell(release, folder, True) == [f"fog/2/{test.files[17][:9]} holds 4 images, expected 5"]
    release.read(folder, "fog", 2, clean_test(release, (3, 0)))


def test_folders_of_image_files_that_are_missing(tiny):
    release, folder = tiny
    shutil.rmtree(folder / "fog" / "2" / "n00000001")
    assert tell(release, folder) == ["fog/2 holds 3 folders of classes, expected 4"]
    shutil.rmtree(folder / "fog" / "2")
    assert tell(release, folder) == ["folder fog/2/ is missing"]
    shutil.rmtree(folder / "snow")
    with pytest.raises(DataError, match=r"folder snow/1/ is missing \(and 5 more problems\)"):
        release.find(folder.parent)


def test_image_files_need_the_names_of_the_clean_ones(tiny):
    release, folder = tiny
    test = clean_test(release)
    nameless = CleanTest(labels=test.labels, places=test.places)
    with pytest.raises(DataError, match="the clean test set must name its own"):
        release.read(folder, "fog", 1, nameless)
    with pytest.raises(DataError, match="2 names for 20 test images"):
        CleanTest(labels=test.labels, places=test.places, files=("a/b.JPEG", "a/c.JPEG"))


# -- CIFAR-10.1

RENAMED = ("data.npy", "label.npy")


@pytest.mark.parametrize("names", [("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy"), RENAMED])
def test_cifar10_1(tmp_path, names):
    folder = make_cifar10_1(tmp_path / "CIFAR-10.1", names)
    assert cifar10_1.find(tmp_path) == cifar10_1.find(folder) == folder
    assert cifar10_1.check(folder) == cifar10_1.check(folder, True) == []
    assert cifar10_1.differs(folder, True) == ""
    loaded = cifar10_1.load(folder)
    assert loaded.images.shape == (2000, 3, 32, 32)
    assert (loaded.images[5] == np.load(folder / names[0])[5].transpose(2, 0, 1)).all()
    assert loaded.labels[:11].tolist() == [*range(10), 0]
    assert cifar10_1.SET_NAME == "shift=cifar10.1"


def test_cifar10_1_that_is_not_whole(tmp_path):
    folder = make_cifar10_1(tmp_path / "CIFAR-10.1")
    data, label = (folder / name for name in ("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy"))
    labels = np.arange(2000) % 10
    labels[0] = 1
    np.save(label, labels)
    with pytest.raises(DataError, match="class 0 has 199 test images, expected 200"):
        cifar10_1.load(folder)
    label.write_bytes(pickle.dumps(Trap()))
    (told,) = cifar10_1.check(folder)
    assert "is a pickle; nothing of others is unpickled" in told
    np.save(data, np.zeros((2021, 32, 32, 3), np.uint8))  # version 4
    (told,) = cifar10_1.check(folder)
    assert told == f"{data} holds 2,021 images, expected 2,000; copy it again"
    label.unlink()
    with pytest.raises(DataError, match=r"is not whole: cifar10.1_v6_labels.npy is missing"):
        cifar10_1.find(tmp_path)
    data.rename(folder / "data.npy")  # anybody's
    with pytest.raises(DataError, match=r"CIFAR-10.1: expected .*found there: CIFAR-10.1"):
        cifar10_1.find(tmp_path)
