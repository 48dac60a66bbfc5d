"""Embedded data of the protocols `quick` and `smoke`: scenes of handwritten digits, labelled with what they show.

A scene is 24x24 grey pixels, nine cells of 8x8. One to five of them hold a digit of scikit-learn's `load_digits` (1,797
real 8x8 digits, BSD-3), light on dark or, inverted, dark on light. A label is a digit and its kind, 20 in all: the l-th
is drawn with a probability in proportion to 40^(-l/19) for training scenes, and to its square root for test scenes. The
first 50 images of each digit in file order are for testing, the others train.

The arrays are the same on every machine, and `SHA256` proves it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from suite.define.protocol import DataSet
from tasks.multilabel.data.labelled import Labelled, LabelSets, observed, positives
from tasks.vision.data import handwritten
from tasks.vision.data.drawing import Draw
from tasks.vision.groups import group_rule

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

NAME = "digit-labels"
SHAPE = (1, 24, 24)
MEAN, STD = 40.0, 81.0
"""Grey levels of the training scenes, rounded."""
IMBALANCE_RATIO = 40
TRAIN, TEST = 1000, 500
THRESHOLDS = (149, 40)
TEST_IMAGES = 50
SEED = 20261130
SHA256 = "2d69ea7200904f0b82c6a9d9ff9941f833f5ea95beccac7d5105eb5bc63c58cf"
ORDER: tuple[tuple[int, bool], ...] = (
    (9, True), (8, False), (7, False), (0, True), (1, True), (2, False), (1, False), (6, False), (2, True),
    (5, True), (5, False), (4, True), (8, True), (3, True), (7, True), (9, False), (0, False), (4, False),
    (3, False), (6, True),
)  # fmt: skip
"""(digit, inverted) of each label, the most frequent first: drawn once."""
NAMES = tuple(f"digit {digit} {'inverted' if kind else 'plain'}" for digit, kind in ORDER)
_MOST = 5
_SIDE, _CELLS = 8, 3


def load(name: str = NAME, path: Path | None = None) -> LabelSets:
    """Scenes uint8 (N, 1, 24, 24), grey levels 0..240. Raises DataError where they are not as expected."""
    import numpy as np

    levels, digits = handwritten.digits()
    pools = [np.flatnonzero(digits == digit) for digit in range(10)]
    images = (levels * 15).astype(np.uint8)
    draw = Draw(SEED)
    train = _scenes(draw, images, [pool[TEST_IMAGES:] for pool in pools], TRAIN, 19)
    test = _scenes(draw, images, [pool[:TEST_IMAGES] for pool in pools], TEST, 38)
    found = observed(train, test)
    digest = hashlib.sha256("".join(found.values()).encode()).hexdigest()
    if digest != SHA256:
        raise DataError(
            f"the digits of scikit-learn {handwritten.version()} are not those expected (sha256 {digest}); "
            "install the version that pyproject.toml asks for"
        )
    return LabelSets(
        train=train,
        test=test,
        class_counts=positives(train.labels),
        observed={NAME: SHA256},
    )


def _check(path: Path, deep: bool) -> list[str]:
    load()
    return []


DATASET = DataSet(
    name=NAME,
    summary="scenes of scikit-learn's handwritten digits, 24x24, 20 labels, imbalance ratio 40",
    layout="embedded: made of scikit-learn's digits",
    classes=NAMES,
    groups={},
    group_rule=group_rule(*THRESHOLDS),
    group_thresholds=THRESHOLDS,
    find=lambda cache: cache,
    check=_check,
    embedded=True,
)


def _scenes(
    draw: Draw,
    digits: Array,
    pools: list[Array],
    count: int,
    steps: int,
) -> Labelled:
    """`count` scenes, label l drawn in proportion to 40^(-l / steps)."""
    import numpy as np

    # integers, since a power may differ in its last bit between machines
    weights = [round(1e6 * IMBALANCE_RATIO ** (-place / steps)) for place in range(len(ORDER))]
    bounds = np.cumsum(weights)
    images = np.zeros((count, *SHAPE), np.uint8)
    labels = np.zeros((count, len(ORDER)), bool)
    for scene in range(count):
        cells = draw.shuffled(list(range(_CELLS**2)))[: draw.integer(1, _MOST + 1)]
        drawn = np.searchsorted(
            bounds, draw.integers(0, int(bounds[-1]), len(cells)), side="right"
        ).tolist()
        for cell, label in zip(cells, drawn, strict=True):
            digit, inverted = ORDER[label]
            pool = pools[digit]
            image = digits[pool[draw.integer(0, len(pool))]]
            top, left = cell // _CELLS * _SIDE, cell % _CELLS * _SIDE
            images[scene, 0, top : top + _SIDE, left : left + _SIDE] = (
                240 - image if inverted else image
            )
            labels[scene, label] = True
    return Labelled(images, labels)
