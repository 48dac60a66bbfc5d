"""Embedded data of the protocols `quick` and `smoke`: pairs of handwritten digits, one clean and one noisy.

scikit-learn's `load_digits` (1,797 real 8x8 digits, BSD-3), class by class in file order: neighbours are a pair, and no image
is in two (896 pairs, the last image of a class with an odd number is left out). Of a pair the first image, with noise
N(0, 0.2^2), is the modality `clean`; the second, often another writer's, with noise N(0, 0.5^2) is `noisy`. Both noises are
drawn once and for all: the noise belongs to the data, no run draws another. The first 25 pairs of each class test (250), the
others train (646).

The arrays are the same on every machine, and `SHA256` proves it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from suite.define.protocol import DataSet
from tasks.multimodal.data.sources import Modalities, ModalitySet, ModalitySets, register
from tasks.vision.data import handwritten
from tasks.vision.data.arrays import digest
from tasks.vision.data.drawing import Draw

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

NAME = "digit-pairs"
NOISE = {"clean": 0.2, "noisy": 0.5}
"""Modality -> standard deviation of its noise; pixels lie in [0, 1] before."""
SHAPE = (1, 8, 8)
MEAN, STD = 0.3, 0.4
"""What pixels are normalised by, both modalities."""
TEST_PAIRS = 25
COUNTS = (64, 66, 63, 66, 65, 66, 65, 64, 62, 65)
"""Training pairs of each class."""
SEED = 20261130
SHA256 = "6a022c6a4f6934da927380f743880afb4c5d0a68de48ad4484f235404b8610dc"


def load(path: Path | None = None) -> ModalitySets:
    """Pairs float32 (N, 1, 8, 8) by modality, class after class. Raises DataError where they are not as expected."""
    train, test = pairs()
    digests = [
        digest(array) for part in (train, test) for array in (*part.inputs.values(), part.labels)
    ]
    found = hashlib.sha256("".join(digests).encode()).hexdigest()
    if found != SHA256:
        raise DataError(
            f"the digits of scikit-learn {handwritten.version()} are not those expected (sha256 {found}); "
            "install the version that pyproject.toml asks for"
        )
    return ModalitySets(train=train, test=test, class_counts=COUNTS, observed={NAME: SHA256})


@cache
def pairs() -> tuple[Modalities, Modalities]:
    """(train, test), as they come out of scikit-learn."""
    import numpy as np

    levels, digits = handwritten.digits()
    images = (levels / 16).astype(np.float32)[:, None]
    draw = Draw(SEED)
    first: list[Array] = []
    labels: list[int] = []
    place: list[int] = []
    for c in range(10):
        members = np.flatnonzero(digits == c)
        count = len(members) // 2
        first.append(members[: 2 * count].reshape(count, 2))
        labels += [c] * count
        place += range(count)
    both = np.concatenate(first)
    inputs = {
        name: images[both[:, k]] + _normal(draw, (len(both), *SHAPE), spread)
        for k, (name, spread) in enumerate(NOISE.items())
    }
    whole = Modalities(inputs, np.array(labels, np.int64))
    test = np.array(place) < TEST_PAIRS
    return whole.take(~test), whole.take(test)


def _normal(draw: Draw, shape: tuple[int, ...], spread: float) -> Array:
    """N(0, spread^2) as float32, in steps of 1 / 4096: logarithm and cosine may differ in their last bits between
    machines, the nearest step does not (Box and Muller, 1958)."""
    import numpy as np

    count = int(np.prod(shape))
    radius, angle = (draw.integers(0, 1 << 30, count).astype(float) for _ in range(2))
    normal = np.sqrt(-2 * np.log((radius + 0.5) / (1 << 30))) * np.cos(
        2 * np.pi * angle / (1 << 30)
    )
    made: Array = (np.rint(spread * normal * 4096) / 4096).astype(np.float32)
    return made.reshape(shape)


def _check(path: Path, deep: bool) -> list[str]:
    load()
    return []


SET = register(
    ModalitySet(
        dataset=DataSet(
            name=NAME,
            summary="pairs of scikit-learn's handwritten digits, 8x8, one clean and one noisy",
            layout="embedded: made of scikit-learn's digits",
            classes=tuple(f"digit {c}" for c in range(10)),
            groups={},
            group_rule="",
            find=lambda cache: cache,
            check=_check,
            embedded=True,
        ),
        modalities=tuple(NOISE),
        split=f"{NAME}@{SHA256[:12]}",
        counts=COUNTS,
        load=load,
    )
)
