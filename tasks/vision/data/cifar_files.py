"""CIFAR's files: the released pickles, and packs of lossless WebP mosaics.

The released files are pickles made by Python 2. They are read by an unpickler that knows nothing but what an
array of bytes takes; anything else in them is refused before it can act.
"""

from __future__ import annotations

import importlib
import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays

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
FILES = {
    "cifar10": {"train": [f"data_batch_{k}" for k in range(1, 6)], "test": ["test_batch"]},
    "cifar100": {"train": ["train"], "test": ["test"]},
}
_LABELS = {"cifar10": b"labels", "cifar100": b"fine_labels"}
_SIDE, _COLUMNS = 32, 50


def read_released(name: str, folder: Path) -> tuple[ImageArrays, ImageArrays]:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays

    parts = []
    for split in ("train", "test"):
        images, labels = [], []
        for file in FILES[name][split]:
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


def read_pack(name: str, path: Path) -> tuple[ImageArrays, ImageArrays]:
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
