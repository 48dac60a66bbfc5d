"""Pictures and label images from files that may be damaged. PIL is imported inside: only names of data sets
are needed at a start."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    Array = np.ndarray[Any, np.dtype[Any]]


LOSSLESS = ("PNG", "BMP", "GIF", "PPM", "TIFF", "TGA")
"""Formats that give a label's ids back as they were (TIFF but for its JPEG compression)."""


class DamagedError(DataError):
    """A file is missing, or no image that can be decoded."""


class OtherIdsError(DataError):
    """A label image holds ids that mean nothing."""


class OtherSizeError(DataError):
    """A label image is not of its picture's size."""


def read_image(path: Path) -> Image.Image:
    """A decoded picture, mode RGB (grey, palette and CMYK files are converted, what is transparent is shown as it would
    be opaque), as the file stores it: an orientation tag turns no picture, since it would not turn its label.

    Of 16 bits a grey level's high eight are taken, as PIL does of 16-bit colours. Raises DamagedError, also for levels
    without a known white: 32-bit whole numbers and floating ones.
    """
    with opened(path) as picture:
        if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
            return _high_byte(picture).convert("RGB")
        if picture.mode in ("I", "F"):
            kind = {"I": "32-bit whole", "F": "floating-point"}[picture.mode]
            raise DamagedError(
                f"{path} holds {kind} grey levels, of which nobody knows how bright they are; save it with 8 or 16 bits"
            )
        return picture.convert("RGB")


def _high_byte(picture: Image.Image) -> Image.Image:
    """16-bit grey levels as 8-bit ones. (PIL itself clips them: all but the darkest 256th would be white.)"""
    import numpy as np
    from PIL import Image

    return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))


def read_ids(path: Path, known: Collection[int]) -> Array:
    """uint8 (H, W), the ids as a label image holds them: grey levels or places in a palette.

    Raises DamagedError, also for other modes and for files that are stored with loss, whatever they are called, and
    OtherIdsError for an id that is not in `known`.
    """
    import numpy as np

    with opened(path) as picture:
        if picture.format not in LOSSLESS or "jpeg" in str(picture.info.get("compression", "")):
            raise DamagedError(
                f"{path} is no label image: stored as {picture.format}, which keeps no ids at the edges of classes; "
                "copy the original again"
            )
        if picture.mode not in ("L", "P"):
            raise DamagedError(
                f"{path} is no label image: mode {picture.mode}, expected one byte of ids"
            )
        ids = np.asarray(picture)
    found = np.flatnonzero(np.bincount(ids.ravel(), minlength=256)).tolist()
    odd = [i for i in found if i not in known]
    if odd:
        shown = ", ".join(map(str, odd[:5])) + ", ..." * (len(odd) > 5)
        raise OtherIdsError(f"{path} holds label ids outside {_ranges(known)}: {shown}")
    return ids


def require_same_size(
    image: Path, label: Path, image_size: tuple[int, int], label_size: tuple[int, int]
) -> None:
    """Raises OtherSizeError where the sizes (width, height) of a picture and its label differ."""
    if image_size != label_size:
        raise OtherSizeError(
            f"{image} is {image_size[0]}x{image_size[1]}, its label {label} is "
            f"{label_size[0]}x{label_size[1]}"
        )


def opened(path: Path, decode: bool = True) -> Image.Image:
    """The open picture, decoded, so that a truncated file is noticed here; to be closed. Raises DamagedError."""
    from PIL import Image

    try:
        picture = Image.open(path)
    except Exception as error:  # OSError, SyntaxError, struct.error, DecompressionBombError, ...
        raise _damaged(path, error) from error
    if decode:
        decode_now(picture, path)
    return picture


def decode_now(picture: Image.Image, path: Path) -> None:
    """Raises DamagedError, the picture being closed then."""
    try:
        picture.load()
    except Exception as error:
        picture.close()
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DamagedError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, FileNotFoundError):
        reason = "there is no such file"
    return DamagedError(f"{path} cannot be read as an image: {reason}; copy the file again")


def _ranges(ids: Collection[int]) -> str:
    """Such as `0-18, 255`."""
    runs: list[list[int]] = []
    for i in sorted(ids):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
