"""Embedded data of the protocols `quick` and `smoke`: scenes of real handwritten digits.

A scene is 64x64 RGB: up to four of scikit-learn's `load_digits` (1,797 real 8x8 digits, BSD-3),
enlarged to 22-30 pixels, one in each quarter, on a mildly textured background. Class c in 0..9 is
the digit c, marked on its strokes; class 10 is the background, counted in mIoU and in no group.

Training instances follow the exponential profile n_c = round(600 * 30^(-c/9)): 600 zeros down to
20 nines (imbalance ratio 30 in instances). Test scenes hold 100 instances of every digit, made of
50 digit images per class that training never saw (the images are split before anything is drawn).
Groups are by training instances: head > 200, medium 50-200, tail < 50.

The arrays are the same on every machine, and `SHA256` proves it: randomness is `drawing.Draw`'s, and
every pixel is computed in integers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision.data import handwritten
from tasks.vision.data.drawing import Draw

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

BACKGROUND = 10
CLASSES: tuple[str, ...] = (*(f"digit {c}" for c in range(10)), "background")
PALETTE: tuple[tuple[int, int, int], ...] = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75),
    (227, 119, 194), (188, 189, 34), (23, 190, 207), (255, 215, 0), (32, 32, 32),
)  # fmt: skip
IMBALANCE_RATIO = 30
TRAIN_INSTANCES: tuple[int, ...] = tuple(
    round(600 * IMBALANCE_RATIO ** (-c / 9)) for c in range(10)
)
TEST_INSTANCES = 100
GROUP_RULE = "training instances: head > 200, medium 50-200, tail < 50"
GROUPS: dict[str, tuple[int, ...]] = {
    "head": tuple(c for c, n in enumerate(TRAIN_INSTANCES) if n > 200),
    "medium": tuple(c for c, n in enumerate(TRAIN_INSTANCES) if 50 <= n <= 200),
    "tail": tuple(c for c, n in enumerate(TRAIN_INSTANCES) if n < 50),
}

SIZE = 64
SEED = 20240311
SHA256 = "712b8e4ef5f4c0d750c591af5af3da49863cff3eb259c9222fde0bdedd9807c1"

_CELL = SIZE // 2
_TEST_IMAGES = 50  # per class; load_digits has at least 174 of each


def load(cache_dir: Path) -> dict[str, Array]:
    """The data set, from `cache_dir` if it is there and whole, else made (a second) and kept there.

    Returns `train_images` uint8 (N, 64, 64, 3) RGB, `train_labels` uint8 (N, 64, 64) in 0..10,
    `test_images`, `test_labels`, and `train_instances`, `test_instances` int64 (10,).
    Several processes may call this at once. A damaged cache file is replaced; a folder that cannot
    be written costs only the time to make the arrays again. Arrays that were read are shared by later
    calls and cannot be written.

    Raises DataError if the arrays made are not those of `SHA256` (scikit-learn's digits changed).
    """
    path = Path(cache_dir) / f"digits-{SHA256[:12]}.npz"
    cached = _read(path, _stamp(path))
    if cached is not None:
        return dict(cached)
    arrays = make()
    if checksum(arrays) != SHA256:
        raise DataError(
            f"the digit scenes made here have sha256 {checksum(arrays)}, expected {SHA256}: "
            "this scikit-learn's load_digits differs; install scikit-learn 1.3 or newer unmodified"
        )
    with contextlib.suppress(OSError):
        _write(path, arrays)
    return arrays


def checksum(arrays: Mapping[str, Array]) -> str:
    """sha256 (hex) over name, dtype, shape and little-endian bytes of every array, by name."""
    import numpy as np

    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def make() -> dict[str, Array]:
    """Make the data set from scikit-learn's digits; see `load` for what it holds."""
    import numpy as np

    levels, digits = handwritten.digits()
    images = levels.astype(np.int64)  # (1797, 8, 8), 0..16
    draw = Draw(SEED)
    train_pools, test_pools = [], []
    for c in range(10):
        ids = draw.shuffled(np.flatnonzero(digits == c).tolist())
        test_pools.append(ids[:_TEST_IMAGES])
        train_pools.append(ids[_TEST_IMAGES:])
    train = _scenes(draw, images, train_pools, TRAIN_INSTANCES)
    test = _scenes(draw, images, test_pools, (TEST_INSTANCES,) * 10)
    return {
        "train_images": train[0],
        "train_labels": train[1],
        "train_instances": np.array(TRAIN_INSTANCES, dtype=np.int64),
        "test_images": test[0],
        "test_labels": test[1],
        "test_instances": np.array((TEST_INSTANCES,) * 10, dtype=np.int64),
    }


def _scenes(
    draw: Draw, digits: Array, pools: list[list[int]], counts: tuple[int, ...]
) -> tuple[Array, Array]:
    """Scenes holding counts[c] instances of class c, cycling through its pool of digit images."""
    import numpy as np

    instances = [(c, pools[c][i % len(pools[c])]) for c in range(10) for i in range(counts[c])]
    instances = draw.shuffled(instances)
    scenes = [instances[i : i + 4] for i in range(0, len(instances), 4)]
    images = np.empty((len(scenes), SIZE, SIZE, 3), dtype=np.uint8)
    labels = np.empty((len(scenes), SIZE, SIZE), dtype=np.uint8)
    for index, scene in enumerate(scenes):
        images[index], labels[index] = _scene(draw, [(c, digits[i]) for c, i in scene])
    return images, labels


def _scene(draw: Draw, instances: list[tuple[int, Array]]) -> tuple[Array, Array]:
    import numpy as np

    base = draw.integers(20, 120, 3)
    waves = _enlarge(draw.integers(-15, 16, 81).reshape(9, 9), SIZE)
    grain = draw.integers(-10, 11, SIZE * SIZE).reshape(SIZE, SIZE)
    image = base + (waves + grain)[..., None]
    label = np.full((SIZE, SIZE), BACKGROUND, dtype=np.uint8)
    for cell, (c, digit) in enumerate(instances):
        side = draw.integer(22, 31)
        top = cell // 2 * _CELL + draw.integer(0, _CELL - side + 1)
        left = cell % 2 * _CELL + draw.integer(0, _CELL - side + 1)
        colour = base + draw.integers(60, 136, 3)
        window = (slice(top, top + side), slice(left, left + side))
        ink = _enlarge(digit * 16, side)  # 0..256
        under = image[window]
        image[window] = (under * (256 - ink[..., None]) + colour * ink[..., None]) // 256
        label[window][ink >= 96] = c
    return np.clip(image, 0, 255).astype(np.uint8), label


def _enlarge(grid: Array, side: int) -> Array:
    """Bilinear enlargement of an integer (h, h) grid to (side, side), in 1/256 pixel steps."""
    import numpy as np

    last = len(grid) - 1
    position = ((2 * np.arange(side) + 1) * len(grid) * 256) // (2 * side) - 128
    position = np.clip(position, 0, last * 256)
    low, part = position >> 8, position & 255
    high = np.minimum(low + 1, last)
    rows = grid[low] * (256 - part)[:, None] + grid[high] * part[:, None]
    enlarged: Array = (rows[:, low] * (256 - part) + rows[:, high] * part) >> 16
    return enlarged


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1)
def _read(path: Path, stamp: tuple[int, int] | None) -> dict[str, Array] | None:
    """The arrays in `path`, or None where the file is missing, damaged or of other content. `stamp` is
    there to miss the cache once the file has changed; a run asks four times."""
    import numpy as np

    if stamp is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # a damaged zip fails in a dozen ways, and the remedy is always to remake it
        return None
    for array in arrays.values():
        array.setflags(write=False)
    return arrays if checksum(arrays) == SHA256 else None


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write `path` so that it is either whole or absent, however this process ends."""
    import numpy as np

    named: dict[str, Any] = dict(arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **named)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
