"""The generated corruptions by name: of which table each takes its constants, and what makes them reproducible.

Motion blur and snow need ImageMagick, frost needs photographs, and glass blur, elastic transform and spatter are read from
official arrays too (`official`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError, UserError, did_you_mean
from tasks.robust_auc.data import formulas
from tasks.robust_auc.data.constants import SEVERITIES, TABLES

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SMALLEST = 8
"""Pixels along a side."""
_AT_ONCE = 1 << 16
"""Values that are worked on at a time: they stay in a core's cache, and what memory a corruption takes does not depend on
the number of images."""


@dataclass(frozen=True)
class Corruption:
    """Attributes:
    formula: of `formulas`.
    whole: whether it takes and gives uint8 levels instead of float64 in [0, 1].
    colour: whether it has a meaning for colour images alone.
    libraries: packages whose version enters its results beside numpy's frozen `RandomState`.
    """

    formula: Callable[[Array, Any, np.random.RandomState], Array]
    whole: bool = False
    colour: bool = False
    libraries: tuple[str, ...] = ()


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(formulas.gaussian_noise),
    "shot_noise": Corruption(formulas.shot_noise),
    "impulse_noise": Corruption(formulas.impulse_noise),
    "speckle_noise": Corruption(formulas.speckle_noise),
    "gaussian_blur": Corruption(formulas.gaussian_blur),
    "defocus_blur": Corruption(formulas.defocus_blur),
    "zoom_blur": Corruption(formulas.zoom_blur),
    "fog": Corruption(formulas.fog),
    "brightness": Corruption(formulas.brightness),
    "contrast": Corruption(formulas.contrast),
    "saturate": Corruption(formulas.saturate, colour=True),
    "pixelate": Corruption(formulas.pixelate, whole=True, libraries=("pillow",)),
    # decoders differ between builds of libjpeg too: not for the protocols
    "jpeg_compression": Corruption(formulas.jpeg_compression, whole=True, libraries=("pillow",)),
}


def get(name: str) -> Corruption:
    """Raises UserError with the nearest names for one that is not generated."""
    if name not in CORRUPTIONS:
        raise UserError(f"no generated corruption {name!r}{did_you_mean(name, CORRUPTIONS)}")
    return CORRUPTIONS[name]


def constant(name: str, severity: int, table: str) -> Any:
    """The constant of a corruption: a number, or two.

    Raises UserError: an unknown corruption or table, a severity outside 1..5, a corruption that the table leaves out.
    """
    get(name)
    if table not in TABLES:
        raise UserError(f"no table of constants {table!r}{did_you_mean(table, TABLES)}")
    if type(severity) is not int or severity not in SEVERITIES:
        raise UserError(f"{name} has no severity {severity}; severities are 1 to 5")
    by_severity = TABLES[table].get(name)
    if by_severity is None:
        has = ", ".join(TABLES[table])
        raise UserError(f"{name} has no constants for images of {table}; choose of {has}")
    return by_severity[SEVERITIES.index(severity)]


def seed(name: str, severity: int) -> int:
    """32 bits, of `numpy.random.RandomState`: its stream is frozen (NEP 19)."""
    return int.from_bytes(hashlib.sha256(f"{name} {severity}".encode()).digest()[:4], "big")


def corrupt(images: Array, name: str, severity: int, table: str) -> Array:
    """The images, uint8 (N, C, S, S) with C 1 or 3, under a corruption; the same type and shape.

    Drawn for the whole set in its order, each image's numbers before the next one's. Levels are truncated, as those of the
    official arrays are. Raises UserError as `constant` does, and for a colour corruption of grey images; DataError for
    other arrays.
    """
    import numpy as np

    value, corruption = constant(name, severity, table), get(name)
    _require_images(images)
    if corruption.colour and images.shape[1] == 1:
        grey = ", ".join(n for n in TABLES[table] if not CORRUPTIONS[n].colour)
        raise UserError(f"{name} changes colours, and these images are grey; choose of {grey}")
    draw = np.random.RandomState(seed(name, severity))
    made = np.empty_like(images, order="C")
    step = max(1, _AT_ONCE // int(np.prod(images.shape[1:])))
    for begin in range(0, len(images), step):
        part = np.ascontiguousarray(images[begin : begin + step].transpose(0, 2, 3, 1))
        if not corruption.whole:
            changed = corruption.formula(part / 255.0, value, draw)
            part = (np.clip(changed, 0, 1) * 255).astype(np.uint8)
        else:
            part = corruption.formula(part, value, draw)
        made[begin : begin + step] = part.transpose(0, 3, 1, 2)
    return made


def pool(images: Array, factor: int) -> Array:
    """Means over squares of `factor` pixels, uint8 (N, C, S / factor, S / factor), one half rounded up.

    For the clean images of a pooled protocol as for the corrupted ones. Raises DataError where S is no multiple.
    """
    import numpy as np

    if factor == 1:
        return images
    count, channels, height, width = images.shape
    if height % factor or width % factor:
        raise DataError(
            f"images of {height}x{width} cannot be pooled by {factor}, which does not divide their sides"
        )
    squares = images.reshape(count, channels, height // factor, factor, width // factor, factor)
    area = factor * factor
    pooled: Array = (squares.sum(axis=(3, 5), dtype=np.uint32) + area // 2) // area
    return pooled.astype(np.uint8)


def _require_images(images: Array) -> None:
    shape = images.shape
    if images.dtype != "uint8" or images.ndim != 4 or shape[1] not in (1, 3):
        raise DataError(
            f"images to corrupt are {images.dtype} {shape}, expected uint8 (N, 1 or 3, S, S)"
        )
    if shape[2] != shape[3] or shape[2] < SMALLEST:
        raise DataError(
            f"images to corrupt are {shape[2]}x{shape[3]}, expected squares of {SMALLEST} pixels or more"
        )
    if not len(images):
        raise DataError("there is no image to corrupt")
