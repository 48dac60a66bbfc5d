"""Embedded data of the protocols `quick` and `smoke`: scikit-learn's handwritten digits, long-tailed.

1,797 real 8x8 digits (BSD-3). The first 50 of each class in file order test, and of the rest the first
n_c train: the exponential profile from 120 zeros to 3 nines, imbalance ratio 40.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision import groups as profiles
from tasks.vision.data import handwritten
from tasks.vision.data.arrays import ImageArrays, LongTailed, digest

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = tuple(f"digit {c}" for c in range(10))
COUNTS = profiles.class_counts("exp", 120, 10, 40)
THRESHOLDS = (40, 10)
TEST_IMAGES = 50
SHA256 = "411b63d0437a4bcaf217fcdb0f40364275d32e698b0edaf4fee766c7fc995c1e"


def every() -> tuple[ImageArrays, Array]:
    """All images in file order, uint8 (1797, 1, 8, 8), grey levels 0..240, and each one's place in its class (N,)."""
    import numpy as np

    levels, labels = handwritten.digits()
    # 0..16 in the original
    images = (levels * 15).astype(np.uint8)[:, None]
    place = np.zeros(len(labels), dtype=np.int64)
    for c in range(10):
        members = np.flatnonzero(labels == c)
        place[members] = np.arange(len(members))
    return ImageArrays(images, labels), place


def load() -> LongTailed:
    """Images uint8 (N, 1, 8, 8), grey levels 0..240. Raises DataError where they are not as expected."""
    import numpy as np

    images, place = every()
    test = place < TEST_IMAGES
    rest = np.flatnonzero(~test)
    chosen = rest[profiles.select(images.labels[rest], COUNTS, "first")]
    made = LongTailed(
        train=images.take(chosen),
        test=images.take(test),
        class_counts=COUNTS,
        observed={"digits-lt": SHA256},
    )
    require(SHA256, made.train, made.test)
    return made


def require(sha256: str, *parts: ImageArrays) -> None:
    """Raises DataError where the images and labels of `parts` are not those of a SHA-256 (hex) over their digests."""
    import hashlib

    digests = [digest(array) for part in parts for array in (part.images, part.labels)]
    found = hashlib.sha256("".join(digests).encode()).hexdigest()
    if found != sha256:
        raise DataError(
            f"the digits of scikit-learn {handwritten.version()} are not those expected (sha256 {found}); "
            "install the version that pyproject.toml asks for"
        )
