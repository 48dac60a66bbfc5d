"""CIFAR-10 and CIFAR-100, long-tailed: the released pickles, or packs of their first images.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The released files are
pickles made by Python 2. They are read by an unpickler that knows nothing but what an array of bytes
takes; anything else in them is refused before it can act.

A *pack* is an npz file of lossless WebP mosaics: all test images and, class by class, as many training
images as the exponential profile of ratio 10 has. From it every exponential profile of ratio 10 or more
comes in the convention `first`. Pixels are the released ones, but the order is not: CIFAR-10's first
training frog is the 522nd of the pack, its first test cat the 126th. So the first images of a pack are
not those of the release, and whatever trains on a pack is a `variant`. The test set is the same as a set.
"""

from __future__ import annotations

import importlib
import io
import json
import pickle
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.canonical import short_hash
from suite.base.errors import DataError
from tasks.vision import groups as profiles
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing

if TYPE_CHECKING:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays, LongTailed

    Array = np.ndarray[Any, np.dtype[Any]]

CLASSES: dict[str, tuple[str, ...]] = {
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    "cifar100": (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
        "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
        "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
        "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
        "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
        "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
        "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
        "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    ),
}  # fmt: skip
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

_FILES = {
    "cifar10": {"train": [f"data_batch_{k}" for k in range(1, 6)], "test": ["test_batch"]},
    "cifar100": {"train": ["train"], "test": ["test"]},
}
Stamp = tuple[tuple[int, int], ...]
_LABELS = {"cifar10": b"labels", "cifar100": b"fine_labels"}
_SIDE, _COLUMNS = 32, 50
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


def cannot_give(path: Path, profile: str, ratio: float, convention: str) -> str | None:
    """Why the copy at `path` cannot give that training set, one line; None if it can."""
    if not is_pack(path):
        return None
    if profile == "exp" and ratio >= PACK_RATIO and convention == "first":
        return None
    folder = next((FOLDER[n] for n, pack in PACK.items() if pack == Path(path).name), "release")
    return (
        f"{path} holds only the first images of the exponential profile of ratio {PACK_RATIO}: for "
        f"{profile}, ratio {ratio:g}, {convention} put the complete {folder}/ beside it"
    )


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy at `path`, one line each: missing files.

    `deep` also reads it, and holds it against the manifest.
    """
    path = Path(path)
    absent = [file for file in _files(name, path) if not file.is_file()]
    if absent or not deep:
        return [f"{file} is missing" for file in absent]
    try:
        loaded = load(name, path, "exp", PACK_RATIO, "first")
    except DataError as error:
        return [str(error)]
    tracked = {"test": manifest(name)["test"]}
    if is_pack(path):
        tracked["train"] = manifest(name)["train"][f"exp-{PACK_RATIO}-first"]["pack"]
    return [
        f"{path}: the {split} images are not those of the tracked manifest: runs carry data-variant"
        for split, known in tracked.items()
        if loaded.observed[split] != known
    ]


def load(name: str, path: Path, profile: str, ratio: float, convention: str) -> LongTailed:
    """Long-tailed training set, class after class, and the whole test set: images (N, 3, 32, 32), RGB.

    `observed` holds `arrays.set_digest` of both, so it tells copies apart, not their orders. `variant`
    is True for a pack, and for a test set other than the manifest's. Raises DataError: a damaged or
    foreign file, or a profile that the copy cannot give; UserError: no such profile.
    """
    from tasks.vision.data.arrays import ImageArrays, LongTailed, set_digest

    path = Path(path)
    problem = cannot_give(path, profile, ratio, convention)
    if problem:
        raise DataError(problem)
    counts = profiles.class_counts(profile, N_MAX[name], len(CLASSES[name]), ratio)
    full, test = _read(name, path, _stamp(name, path))
    chosen = profiles.select(full.labels, counts, convention)
    train = ImageArrays(full.images[chosen], full.labels[chosen])
    found = {"train": set_digest(train), "test": set_digest(test)}
    return LongTailed(
        train=train,
        test=test,
        class_counts=counts,
        observed=found,
        variant=is_pack(path) or found["test"] != manifest(name)["test"],
    )


def split_digest(name: str, profile: str, ratio: float, convention: str) -> str:
    """12 hex digits over which images of each class train, by their place in the class in the release.

    Needs no data. The manifest's, and computed only where it has none: protocols are declared at every
    start, and numpy takes its time. Raises UserError for another profile, ratio or convention.
    """
    tracked = manifest(name)["train"].get(f"{profile}-{ratio:g}-{convention}")
    if tracked is None:
        return compute_split_digest(name, profile, ratio, convention)
    digest: str = tracked["split"]
    return digest


def compute_split_digest(name: str, profile: str, ratio: float, convention: str) -> str:
    """What `split_digest` reads from the manifest. The legacy generator's stream never changes."""
    counts = profiles.class_counts(profile, N_MAX[name], len(CLASSES[name]), ratio)
    sizes = [N_MAX[name]] * len(counts)
    order = profiles.order_in_class(sizes, counts, convention)
    return short_hash({"data": name, "train": [o.tolist() for o in order], "test": "all"})


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
        train, test = _read_pack(name, path)
        counts = profiles.class_counts("exp", n_max, classes, PACK_RATIO)
    else:
        train, test = _read_released(name, path)
        counts = (n_max,) * classes
    check_labels(train.labels, classes, path, training=True)
    check_labels(test.labels, classes, path)
    check_counts(train.labels, counts, path, "training")
    check_counts(test.labels, (N_TEST[name],) * classes, path, "test")
    return train, test


def _files(name: str, path: Path) -> list[Path]:
    if is_pack(path):
        return [path]
    return [path / file for files in _FILES[name].values() for file in files]


def _stamp(name: str, path: Path) -> Stamp:
    try:
        found = [file.stat() for file in _files(name, path)]
    except OSError as error:
        raise DataError(f"{name}: {error.filename}: {error.strerror}") from None
    return tuple((file.st_size, file.st_mtime_ns) for file in found)


def _read_released(name: str, folder: Path) -> tuple[ImageArrays, ImageArrays]:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays

    parts = []
    for split in ("train", "test"):
        images, labels = [], []
        for file in _FILES[name][split]:
            content = _unpickled(folder / file)
            data, ids = content.get(b"data"), content.get(_LABELS[name])
            if (
                not isinstance(data, np.ndarray)
                or data.dtype != np.uint8
                or data.ndim != 2
                or data.shape[1] != 3 * _SIDE * _SIDE
                or not isinstance(ids, list)
                or len(ids) != len(data)
                or not all(isinstance(i, int) and 0 <= i < len(CLASSES[name]) for i in ids)
            ):
                labelled = f"{_LABELS[name].decode()} in 0..{len(CLASSES[name]) - 1}"
                wanted = f"data (N, 3072) uint8 and N {labelled}"
                raise DataError(f"{folder / file} is not {name}'s: expected {wanted}")
            images.append(data.reshape(-1, 3, _SIDE, _SIDE))
            labels.append(np.array(ids, dtype=np.int64))
        parts.append(ImageArrays(np.concatenate(images), np.concatenate(labels)))
    return parts[0], parts[1]


class _ArrayUnpickler(pickle.Unpickler):
    """Knows only what an array pickled by Python 2 is made of."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            # how Python 3 writes bytes for Python 2: copies that were pickled again
            ("_codecs", "encode"): _encode,
        }
        # the module moved in numpy 2; pickles name the old place or the new
        multiarray = importlib.import_module("numpy._core.multiarray")
        for home in ("numpy.core.multiarray", "numpy._core.multiarray"):
            known[home, "_reconstruct"] = multiarray._reconstruct
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known[module, name]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


def _unpickled(path: Path) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="bytes").load()
    except Exception as error:  # whatever a damaged or hostile pickle brings about
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} is not a pickle of CIFAR's ({text[:120]}); copy it again"
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"{path} is not CIFAR's: it holds a {type(content).__name__}, not a dict")
    return content


def _read_pack(name: str, path: Path) -> tuple[ImageArrays, ImageArrays]:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays

    try:
        with np.load(path, allow_pickle=False) as pack:
            parts = []
            if tuple(pack["classes"].tolist()) != CLASSES[name]:
                raise ValueError("other classes")
            for split in ("train", "test"):
                labels = pack[f"y_{split}"]
                if labels.dtype != np.uint8 or labels.ndim != 1:
                    raise ValueError(f"y_{split} is {labels.dtype} {labels.shape}, not uint8 (N,)")
                images = _unpack(pack[f"webp_{split}"], pack[f"sizes_{split}"], len(labels))
                parts.append(ImageArrays(images, labels.astype(np.int64)))
    except Exception as error:  # a damaged zip or picture fails in a dozen ways
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is not a pack of {name} ({text[:160]}); copy it again") from None
    return parts[0], parts[1]


def _unpack(blob: Array, sizes: Array, count: int) -> Array:
    """uint8 (count, 3, 32, 32) from mosaics of 50 columns that follow one another in `blob`."""
    import numpy as np
    from PIL import Image

    if blob.dtype != np.uint8 or blob.ndim != 1 or sizes.dtype.kind not in "iu" or sizes.ndim != 1:
        raise ValueError(f"mosaics are {blob.dtype} {blob.shape}, their sizes {sizes.dtype}")
    if sizes.size == 0 or sizes.min() < 1 or int(sizes.sum()) != len(blob):
        raise ValueError("sizes and bytes of its mosaics disagree")
    made, at = [], 0
    for size in sizes.tolist():
        with Image.open(io.BytesIO(blob[at : at + size].tobytes()), formats=["WEBP"]) as picture:
            mosaic = np.asarray(picture.convert("RGB"))
        at += size
        rows, rest = divmod(mosaic.shape[0], _SIDE)
        if rest or mosaic.shape[1] != _COLUMNS * _SIDE:
            raise ValueError(f"a mosaic is {mosaic.shape[1]}x{mosaic.shape[0]}")
        tiles = mosaic.reshape(rows, _SIDE, _COLUMNS, _SIDE, 3).transpose(0, 2, 4, 1, 3)
        made.append(tiles.reshape(-1, 3, _SIDE, _SIDE))
    images = np.concatenate(made)
    # only the last row of the last mosaic may be filled up
    if not count <= len(images) < count + _COLUMNS:
        raise ValueError(f"{len(images)} images for {count} labels")
    return np.ascontiguousarray(images[:count])
