"""Embedded data of the protocols `quick` and `smoke`: scikit-learn's handwritten digits, in two fixed profiles.

1,797 real 8x8 digits (BSD-3). Long-tailed: the first 50 of each class in file order test, and of the rest the first
n_c train: the exponential profile from 120 zeros to 3 nines, imbalance ratio 40. Balanced: the images of each class are
shuffled, the first 30 train and all others test (144 to 153 of a class); at 100 a class nothing is left to gain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError, UserError
from tasks.vision import groups as profiles
from tasks.vision.data import handwritten
from tasks.vision.data.arrays import ImageArrays, LongTailed, digest
from tasks.vision.data.drawing import Draw

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = tuple(f"digit {c}" for c in range(10))
COUNTS = profiles.class_counts("exp", 120, 10, 40)
THRESHOLDS = (40, 10)
TEST_IMAGES = 50
SHA256 = "411b63d0437a4bcaf217fcdb0f40364275d32e698b0edaf4fee766c7fc995c1e"
BALANCED_COUNTS = profiles.class_counts(profiles.BALANCED, 30, 10, 1)
BALANCED_SHA256 = "7a0dfc0fc2dabc46a6d858d343ceaaa68d3a9ad29d42ba2a07780a722c3b6d55"
_SEED = 20240311  # of the digit scenes too


def counts(profile: str = "exp", n_max: int | None = None) -> tuple[int, ...]:
    """Training images per class. Raises UserError for another number than the profile's own."""
    made = BALANCED_COUNTS if profile == profiles.BALANCED else COUNTS
    if n_max is not None and n_max != made[0]:
        raise UserError(
            f"digits: {n_max} training images of a class are asked for; its profile {profile} is fixed, with "
            f"{made[0]} of the first class: leave n_max out"
        )
    return made


def split(profile: str = "exp", n_max: int | None = None) -> str:
    """`NAME@DIGEST` of the profile's training and test images. Raises as `counts`."""
    counts(profile, n_max)
    if profile == profiles.BALANCED:
        return f"digits-balanced@{BALANCED_SHA256[:12]}"
    return f"digits-lt@{SHA256[:12]}"


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


def load(profile: str = "exp", n_max: int | None = None) -> LongTailed:
    """Images uint8 (N, 1, 8, 8), grey levels 0..240. Raises DataError where they are not as expected, and as `counts`."""
    counts(profile, n_max)
    return _balanced() if profile == profiles.BALANCED else _long_tailed()


def _balanced() -> LongTailed:
    import numpy as np

    images, _ = every()
    draw = Draw(_SEED)
    shuffled = [draw.shuffled(np.flatnonzero(images.labels == c).tolist()) for c in range(10)]
    chosen = [place for ids, n in zip(shuffled, BALANCED_COUNTS, strict=True) for place in ids[:n]]
    test = np.ones(len(images.labels), bool)
    test[chosen] = False
    made = LongTailed(
        train=images.take(np.array(chosen)),
        test=images.take(test),
        class_counts=BALANCED_COUNTS,
        observed={"digits-balanced": BALANCED_SHA256},
    )
    require(BALANCED_SHA256, made.train, made.test)
    return made


def _long_tailed() -> LongTailed:
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
