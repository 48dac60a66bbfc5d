"""The pools of small images that are read whole: digits, CIFAR, Fashion-MNIST and MNIST."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from suite.base.errors import DataError
from tasks.robust_auc.data.pools import Places, Pool, Taken, take
from tasks.vision.data import cifar, digits, fashion, idx_files

if TYPE_CHECKING:
    from tasks.vision.data.arrays import ImageArrays

_DIGIT_SIZES = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
_DIGITS_SHA256 = "d9d4cac429d6e02ca974369ee61047cc705b1b588fd22317f97b70cb318c59a8"
_MNIST_TRAIN = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
_MNIST_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
_MNIST_FOLDERS = ("mnist", "MNIST/raw", "MNIST")


# -- digits


def _read_digits(path: Path, train_places: Places, test_places: Places) -> Taken:
    images, place = digits.every()
    digits.require(_DIGITS_SHA256, images)
    tests = place < digits.TEST_IMAGES
    train, test = images.take(~tests), images.take(tests)
    return take(train, test, train_places, test_places, "scikit-learn's digits", False)


def _check_digits(path: Path, deep: bool) -> list[str]:
    images, _ = digits.every()
    digits.require(_DIGITS_SHA256, images)
    return []


DIGITS = Pool(
    name="digits",
    summary="scikit-learn's handwritten digits, 10 classes of 8x8 grey images",
    layout="embedded: part of scikit-learn",
    classes=digits.CLASSES,
    edge=8,
    mean=(73.0 / 255,),
    std=(90.0 / 255,),
    train_sizes=tuple(n - digits.TEST_IMAGES for n in _DIGIT_SIZES),
    test_sizes=(digits.TEST_IMAGES,) * 10,
    find=lambda cache: cache,
    check=_check_digits,
    differs=lambda path, deep: "",
    read=_read_digits,
    rule=f"the first {digits.TEST_IMAGES} of each class test",
    embedded=True,
)


# -- CIFAR


def _cifar(name: str) -> Pool:
    classes = len(cifar.CLASSES[name])

    def read(path: Path, train_places: Places, test_places: Places) -> Taken:
        train, test = cifar.read_whole(name, path)
        return take(train, test, train_places, test_places, path, _cifar_variant(name, path, test))

    return Pool(
        name=name,
        summary=f"CIFAR-{classes}, {classes} classes of 32x32 colour images",
        layout=cifar.LAYOUT[name],
        classes=cifar.CLASSES[name],
        edge=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        train_sizes=(cifar.N_MAX[name],) * classes,
        test_sizes=(cifar.N_TEST[name],) * classes,
        find=lambda root: cifar.find(name, root),
        check=lambda path, deep: cifar.check(name, path, deep),
        differs=lambda path, deep: cifar.differs(name, path, deep),
        read=read,
        held=lambda path: cifar.pack_counts(name) if cifar.is_pack(path) else None,
        scarce=f"put the complete {cifar.FOLDER[name]}/ beside it, or keep fewer images of each class",
    )


def _cifar_variant(name: str, path: Path, test: ImageArrays) -> bool:
    """As of the long-tailed sets: a pack's first images of a class are not the release's."""
    from tasks.vision.data.arrays import set_digest

    return cifar.is_pack(path) or set_digest(test) != cifar.manifest(name)["test"]


CIFAR10, CIFAR100 = _cifar("cifar10"), _cifar("cifar100")


# -- idx files


def _read_fashion(path: Path, train_places: Places, test_places: Places) -> Taken:
    from tasks.vision.data.arrays import observed

    train, test = fashion.read_whole(fashion.NAME, path)
    variant = observed(train, test) != fashion.manifest()["observed"]
    return take(train, test, train_places, test_places, path, variant)


FASHION_MNIST = Pool(
    name=fashion.NAME,
    summary="Fashion-MNIST, 10 classes of 28x28 grey images",
    layout=fashion.LAYOUT,
    classes=fashion.CLASSES,
    edge=28,
    mean=(72.94 / 255,),
    std=(90.02 / 255,),
    train_sizes=(fashion.N_MAX,) * 10,
    test_sizes=(fashion.N_TEST,) * 10,
    find=lambda root: fashion.find(fashion.NAME, root),
    check=lambda path, deep: fashion.check(fashion.NAME, path, deep),
    differs=lambda path, deep: fashion.differs(fashion.NAME, path, deep),
    read=_read_fashion,
)


@lru_cache(maxsize=1)
def _mnist(path: Path, stamp: idx_files.Stamp) -> tuple[ImageArrays, ImageArrays]:
    """(train, test), whole. `stamp` is there to miss the cache once a file has changed."""
    return idx_files.read("MNIST", path, MNIST.train_sizes, MNIST.test_sizes)


def _read_mnist(path: Path, train_places: Places, test_places: Places) -> Taken:
    train, test = _mnist(path, idx_files.stamp(path))
    return take(train, test, train_places, test_places, path, False)


def _check_mnist(path: Path, deep: bool) -> list[str]:
    absent = idx_files.absent(path)
    if absent or not deep:
        return [f"{path / file} is missing" for file in absent]
    try:
        _mnist(path, idx_files.stamp(path))
    except DataError as error:
        return [str(error)]
    return []


MNIST = Pool(
    name="mnist",
    summary="MNIST, 10 handwritten digits as 28x28 grey images (LeCun et al., 1998)",
    layout=idx_files.LAYOUT,
    classes=digits.CLASSES,
    edge=28,
    mean=(0.1307,),
    std=(0.3081,),
    train_sizes=_MNIST_TRAIN,
    test_sizes=_MNIST_TEST,
    find=lambda root: idx_files.find("mnist", _MNIST_FOLDERS, root),
    check=_check_mnist,
    # no digest of it is tracked: the counts of its classes, which no copy may miss, tell it from the data sets that
    # come in the same four files
    differs=lambda path, deep: "",
    read=_read_mnist,
)
