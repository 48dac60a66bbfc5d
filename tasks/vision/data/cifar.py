"""CIFAR-10 and CIFAR-100, long-tailed: the released pickles, or packs of their first images.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. How both are read is in
`cifar_files`.

A *pack* is an npz file of lossless WebP mosaics: all test images and, class by class, as many training
images as the exponential profile of ratio 10 has. From it every exponential profile of ratio 10 or more
comes in the convention `first`. Pixels are the released ones, but the order is not: CIFAR-10's first
training frog is the 522nd of the pack, its first test cat the 126th. So the first images of a pack are
not those of the release, and whatever trains on a pack is a `variant`. The test set is the same as a set.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision import groups as profiles
from tasks.vision.data.cifar_files import CLASSES as CLASSES
from tasks.vision.data.cifar_files import FILES, read_pack, read_released
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing

if TYPE_CHECKING:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays, LongTailed

    Array = np.ndarray[Any, np.dtype[Any]]

N_MAX = {"cifar10": 5000, "cifar100": 500}
"""Training images of every class of the complete data set."""
N_TEST = {"cifar10": 1000, "cifar100": 100}
"""Test images of every class."""
FOLDER = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
PACK = {"cifar10": "cifar10_lt.npz", "cifar100": "cifar100_lt.npz"}
LAYOUT = {
    name: f"{FOLDER[name]}/ as released (pickles), or the pack {PACK[name]}" for name in CLASSES
}
PACK_RATIO = 10

Stamp = tuple[tuple[int, int], ...]
_MANIFEST = Path(__file__).parent / "manifests" / "cifar.json"


def find(name: str, root: Path) -> Path:
    """The released folder or else the pack: `root` itself, or below it. Raises DataError, see `find.find`."""
    pack = PACK[name]
    if Path(root).is_file() and Path(root).name == pack:
        return Path(root)

    def lacking(place: Path) -> list[str] | None:
        if place.name == pack:
            return [] if place.is_file() else None
        files = _files(name, place)
        return missing(
            [file.name for file in files], [file.name for file in files if not file.is_file()]
        )

    return find_in(name, root, (FOLDER[name], pack), LAYOUT[name], lacking)


def is_pack(path: Path) -> bool:
    """Whether `path`, as `find` gave it, is a pack."""
    return Path(path).suffix == ".npz"


def cannot_give(
    path: Path, profile: str, ratio: float, convention: str, n_max: int | None = None
) -> str | None:
    """Why the copy at `path` cannot give that training set, one line; None if it can."""
    if not is_pack(path):
        return None
    if profile == "exp" and ratio >= PACK_RATIO and convention == "first":
        return None
    name = next((n for n, pack in PACK.items() if pack == Path(path).name), None)
    fewest = min(pack_counts(name)) if name else 0
    if profile == profiles.BALANCED:
        if convention == "first" and n_max is not None and n_max <= fewest:
            return None
        asked = "all images" if n_max is None else f"{n_max} images"
        return (
            f"{path} holds only the first images of the exponential profile of ratio {PACK_RATIO}, of every class the "
            f"first {fewest} at least: for {asked} of every class, {convention}, put the complete "
            f"{FOLDER[name] if name else 'release'}/ beside it"
        )
    folder = next((FOLDER[n] for n, pack in PACK.items() if pack == Path(path).name), "release")
    return (
        f"{path} holds only the first images of the exponential profile of ratio {PACK_RATIO}: for "
        f"{profile}, ratio {ratio:g}, {convention} put the complete {folder}/ beside it"
    )


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy at `path`, one line each: missing files.

    `deep` also reads it. Other images than those of the manifest are no problem here: see `differs`.
    """
    path = Path(path)
    absent = [file for file in _files(name, path) if not file.is_file()]
    if absent or not deep:
        return [f"{file} is missing" for file in absent]
    try:
        load(name, path, "exp", PACK_RATIO, "first")
    except DataError as error:
        return [str(error)]
    return []


def differs(name: str, path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for files that cannot be read."""
    path = Path(path)
    found = ["it is a pack, whose first images of a class are not the release's"] * is_pack(path)
    if not deep:
        return ", ".join(found)
    loaded = load(name, path, "exp", PACK_RATIO, "first")
    tracked = {"test": manifest(name)["test"]}
    if is_pack(path):
        tracked["train"] = manifest(name)["train"][f"exp-{PACK_RATIO}-first"]["pack"]
    found += [
        f"the {split} images are not those of the tracked manifest"
        for split, known in tracked.items()
        if loaded.observed[split] != known
    ]
    return ", ".join(found)


def load(
    name: str, path: Path, profile: str, ratio: float, convention: str, n_max: int | None = None
) -> LongTailed:
    """Long-tailed (or balanced) training set, class after class, and the whole test set: images (N, 3, 32, 32), RGB.

    `observed` holds `arrays.set_digest` of both, so it tells copies apart, not their orders. `variant`
    is True for a pack, and for a test set other than the manifest's. Raises DataError: a damaged or
    foreign file, or a profile that the copy cannot give; UserError: no such profile.
    """
    from tasks.vision.data.arrays import LongTailed, set_digest

    path = Path(path)
    problem = cannot_give(path, profile, ratio, convention, n_max)
    if problem:
        raise DataError(problem)
    most = profiles.largest(n_max, N_MAX[name], name)
    counts = profiles.class_counts(profile, most, len(CLASSES[name]), ratio)
    full, test = read_whole(name, path)
    train = full.take(profiles.select(full.labels, counts, convention))
    found = {"train": set_digest(train), "test": set_digest(test)}
    return LongTailed(
        train=train,
        test=test,
        class_counts=counts,
        observed=found,
        variant=is_pack(path) or found["test"] != manifest(name)["test"],
    )


def read_whole(name: str, path: Path) -> tuple[ImageArrays, ImageArrays]:
    """All training and all test images of a copy in its order, to be left as they are.

    Of a pack these are the first images of each class, `pack_counts` of them. Raises DataError.
    """
    path = Path(path)
    return _read(name, path, _stamp(name, path))


def pack_counts(name: str) -> tuple[int, ...]:
    """Training images of each class that a pack has."""
    return profiles.class_counts("exp", N_MAX[name], len(CLASSES[name]), PACK_RATIO)


def split_digest(
    name: str, profile: str, ratio: float, convention: str, n_max: int | None = None
) -> str:
    """12 hex digits over which images of each class train, by their place in the class in the release.

    Needs no data. The manifest's, and computed only where it has none: protocols are declared at every
    start, and numpy takes its time. Raises UserError for another profile, ratio or convention.
    """
    tracked = manifest(name)["train"].get(f"{profile}-{ratio:g}-{convention}")
    if tracked is None or n_max is not None:
        return compute_split_digest(name, profile, ratio, convention, n_max)
    digest: str = tracked["split"]
    return digest


def compute_split_digest(
    name: str, profile: str, ratio: float, convention: str, n_max: int | None = None
) -> str:
    """What `split_digest` reads from the manifest."""
    most = profiles.largest(n_max, N_MAX[name], name)
    counts = profiles.class_counts(profile, most, len(CLASSES[name]), ratio)
    return profiles.split_digest(name, N_MAX[name], counts, convention)


@cache
def manifest(name: str) -> dict[str, Any]:
    """The tracked manifest: {"train": {"PROFILE-RATIO-CONVENTION": {"split": 12 hex, "pack": the
    training set's digest from our pack, where that gives one}}, "test": digest of the test set}.

    Digests of sets are `arrays.set_digest`.
    """
    every: dict[str, dict[str, Any]] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    return every[name]


@lru_cache(maxsize=2)
def _read(name: str, path: Path, stamp: Stamp) -> tuple[ImageArrays, ImageArrays]:
    """(train, test) of a copy, whole. `stamp` is there to miss the cache once a file has changed."""
    from tasks.vision.data.arrays import check_counts, check_labels

    classes, n_max = len(CLASSES[name]), N_MAX[name]
    if is_pack(path):
        train, test = read_pack(name, path)
        counts = pack_counts(name)
    else:
        train, test = read_released(name, path)
        counts = (n_max,) * classes
    check_labels(train.labels, classes, path, training=True)
    check_labels(test.labels, classes, path)
    check_counts(train.labels, counts, path, "training")
    check_counts(test.labels, (N_TEST[name],) * classes, path, "test")
    return train, test


def _files(name: str, path: Path) -> list[Path]:
    if is_pack(path):
        return [path]
    return [path / file for files in FILES[name].values() for file in files]


def _stamp(name: str, path: Path) -> Stamp:
    try:
        found = [file.stat() for file in _files(name, path)]
    except OSError as error:
        raise DataError(f"{name}: {error.filename}: {error.strerror}") from None
    return tuple((file.st_size, file.st_mtime_ns) for file in found)
