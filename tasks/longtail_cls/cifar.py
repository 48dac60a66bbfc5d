"""CIFAR-10 and CIFAR-100, long-tailed: the released pickles, or packs of their first images.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The released files are
pickles made by Python 2. They are read by an unpickler that knows nothing but what an array of bytes
takes; anything else in them is refused before it can act.

A *pack* is an npz file of lossless WebP mosaics: all test images and, class by class, the training
images of the exponential profile of ratio 10 in file order. From it every exponential profile of ratio
10 or more comes in the convention `first`, with the very pixels of the complete data set.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.errors import DataError
from suite.jsonio import short_hash
from tasks.longtail_cls import profiles

if TYPE_CHECKING:
    import numpy as np

    from tasks.longtail_cls.arrays import ImageArrays, LongTailed

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
_LABELS = {"cifar10": b"labels", "cifar100": b"fine_labels"}
_SIDE, _COLUMNS = 32, 50
_MANIFEST = Path(__file__).parent / "manifests" / "cifar.json"


def find(name: str, root: Path) -> Path:
    """The released folder or else the pack: `root` itself, or below it. Raises DataError."""
    root = Path(root)
    if not root.exists():
        raise DataError(f"{name}: there is no {root}; expected {LAYOUT[name]}")
    train = _FILES[name]["train"][0]
    for path in (root, root / FOLDER[name]):
        if (path / train).is_file() and (path / _FILES[name]["test"][0]).is_file():
            absent = [f for f in _FILES[name]["train"] if not (path / f).is_file()]
            if absent:
                raise DataError(f"{name} in {path} is not whole: {absent[0]} is missing")
            return path
    for path in (root, root / PACK[name]):
        if path.is_file() and path.name == PACK[name]:
            return path
    inside = sorted(p.name for p in root.iterdir()) if root.is_dir() else [root.name]
    found = ", ".join(inside[:5] + ["..."] * (len(inside) > 5)) or "nothing"
    raise DataError(f"{name}: expected {LAYOUT[name]} in {root}; found there: {found}")


def is_pack(path: Path) -> bool:
    """Whether `path`, as `find` gave it, is a pack."""
    return Path(path).suffix == ".npz"


def cannot_give(path: Path, profile: str, ratio: float, convention: str) -> str | None:
    """Why the copy at `path` cannot give that training set, one line; None if it can."""
    if not is_pack(path):
        return None
    if profile == "exp" and ratio >= PACK_RATIO and convention == "first":
        return None
    name = next(n for n, pack in PACK.items() if pack == Path(path).name)
    return (
        f"{path} holds only the first images of the exponential profile of ratio {PACK_RATIO}: for "
        f"{profile}, ratio {ratio:g}, {convention} put the complete {FOLDER[name]}/ beside it"
    )


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy at `path`, one line each. `deep` reads it and holds it against the
    manifest."""
    if not deep:
        return []
    try:
        loaded = load(name, path, "exp", 100, "first")
    except DataError as error:
        return [str(error)]
    return ["differs from the tracked manifest: runs carry data-variant"] if loaded.variant else []


def load(name: str, path: Path, profile: str, ratio: float, convention: str) -> LongTailed:
    """Long-tailed training set, class after class, and the whole test set.

    Raises DataError: a damaged or foreign file, or a profile that the copy cannot give.
    """
    from tasks.longtail_cls.arrays import ImageArrays, LongTailed, digest, observed

    problem = cannot_give(path, profile, ratio, convention)
    if problem:
        raise DataError(problem)
    counts = profiles.class_counts(profile, N_MAX[name], len(CLASSES[name]), ratio)
    full, test = _read(name, path, path.stat().st_mtime_ns)
    try:
        chosen = profiles.select(full.labels, counts, convention)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    train = ImageArrays(full.images[chosen], full.labels[chosen])
    found = observed(train, test)
    tracked = manifest(name)["test"] | manifest(name)["train"].get(
        f"{profile}-{ratio:g}-{convention}", {}
    )
    # labels follow from counts; images of step and shuffled are not known to the manifest
    differs = any(found[key] != value for key, value in tracked.items() if key in found)
    return LongTailed(
        train=train, test=test, class_counts=counts, observed=found, variant=differs
    )


def split_digest(name: str, profile: str, ratio: float, convention: str) -> str:
    """12 hex digits over which images of each class train, by their place in the class. Needs no data."""
    tracked: dict[str, str] = manifest(name)["train"][f"{profile}-{ratio:g}-{convention}"]
    return tracked["split"]


def compute_split_digest(name: str, profile: str, ratio: float, convention: str) -> str:
    """What `split_digest` reads from the manifest."""
    counts = profiles.class_counts(profile, N_MAX[name], len(CLASSES[name]), ratio)
    sizes = [N_MAX[name]] * len(counts)
    order = profiles.order_in_class(sizes, counts, convention)
    return short_hash({"data": name, "train": [o.tolist() for o in order], "test": "all"})


@cache
def manifest(name: str) -> dict[str, Any]:
    """The tracked manifest: {"train": {split: {"split": 12 hex, "train-images": sha256 where we could
    compute it}}, "test": {"test-images": ..., "test-labels": ...}}."""
    every: dict[str, dict[str, Any]] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    return every[name]


@lru_cache(maxsize=2)
def _read(name: str, path: Path, changed: int) -> tuple[ImageArrays, ImageArrays]:
    """(train, test) of a copy, whole."""
    from tasks.longtail_cls.arrays import check_labels

    read = _read_pack if is_pack(path) else _read_released
    train, test = read(name, Path(path))
    for arrays, training in ((train, True), (test, False)):
        check_labels(arrays.labels, len(CLASSES[name]), path, training)
    return train, test


def _read_released(name: str, folder: Path) -> tuple[ImageArrays, ImageArrays]:
    import numpy as np

    from tasks.longtail_cls.arrays import ImageArrays

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
                or not all(isinstance(i, int) for i in ids)
            ):
                wanted = f"data (N, 3072) uint8 and N {_LABELS[name].decode()}"
                raise DataError(f"{folder / file} is not {name}'s: expected {wanted}")
            images.append(data.reshape(-1, 3, _SIDE, _SIDE))
            labels.append(np.array(ids, dtype=np.int64))
        parts.append(ImageArrays(np.concatenate(images), np.concatenate(labels)))
    return parts[0], parts[1]


class _ArrayUnpickler(pickle.Unpickler):
    """Knows only what an array pickled by Python 2 is made of."""

    def find_class(self, module: str, name: str) -> Any:
        import _codecs

        import numpy as np

        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _codecs.encode,
        }
        for home in ("numpy.core.multiarray", "numpy._core.multiarray"):
            known[home, "_reconstruct"] = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known[module, name]


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

    from tasks.longtail_cls.arrays import ImageArrays

    try:
        with np.load(path, allow_pickle=False) as pack:
            parts = []
            for split in ("train", "test"):
                labels = pack[f"y_{split}"].astype(np.int64)
                images = _unpack(pack[f"webp_{split}"], pack[f"sizes_{split}"], len(labels))
                parts.append(ImageArrays(images, labels))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError, DataError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is not a pack of {name} ({text[:160]}); copy it again") from None
    return parts[0], parts[1]


def _unpack(blob: Array, sizes: Array, count: int) -> Array:
    """uint8 (count, 3, 32, 32) from mosaics of 50 columns that follow one another in `blob`."""
    import numpy as np
    from PIL import Image

    if blob.dtype != np.uint8 or sizes.dtype.kind not in "iu" or int(sizes.sum()) != len(blob):
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
    if len(images) < count:
        raise ValueError(f"{len(images)} images for {count} labels")
    return np.ascontiguousarray(images[:count])
