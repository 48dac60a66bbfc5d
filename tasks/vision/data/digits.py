"""Embedded data of the protocols `quick` and `smoke`: scikit-learn's handwritten digits, long-tailed.

1,797 real 8x8 digits (BSD-3). The first 50 of each class in file order test, and of the rest the first
n_c train: the exponential profile from 120 zeros to 3 nines, imbalance ratio 40.
"""

from __future__ import annotations

from typing import Any

from suite.base.errors import DataError
from tasks.vision import groups as profiles
from tasks.vision.data.arrays import ImageArrays, LongTailed, digest

CLASSES = tuple(f"digit {c}" for c in range(10))
COUNTS = profiles.class_counts("exp", 120, 10, 40)
THRESHOLDS = (40, 10)
TEST_IMAGES = 50
SHA256 = "411b63d0437a4bcaf217fcdb0f40364275d32e698b0edaf4fee766c7fc995c1e"


def load() -> LongTailed:
    """Images uint8 (N, 1, 8, 8), grey levels 0..240. Raises DataError where they are not as expected."""
    import hashlib

    import numpy as np
    import sklearn
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    # 0..16 in the original
    images = (bunch.images * 15).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    every = ImageArrays(images, labels)
    place = np.zeros(len(labels), dtype=np.int64)
    for c in range(10):
        members = np.flatnonzero(labels == c)
        place[members] = np.arange(len(members))
    test = place < TEST_IMAGES
    rest = np.flatnonzero(~test)
    chosen = rest[profiles.select(labels[rest], COUNTS, "first")]
    made = LongTailed(
        train=every.take(chosen),
        test=every.take(test),
        class_counts=COUNTS,
        observed={"digits-lt": SHA256},
    )
    parts = [made.train.images, made.train.labels, made.test.images, made.test.labels]
    found = hashlib.sha256("".join(map(digest, parts)).encode()).hexdigest()
    if found != SHA256:
        raise DataError(
            f"the digits of scikit-learn {sklearn.__version__} are not those expected (sha256 {found}); "
            "install the version that pyproject.toml asks for"
        )
    return made
