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


class DamagedError(DataError):
    """A file is missing, or no image that can be decoded."""


class OtherIdsError(DataError):
    """A label image holds ids that mean nothing."""


class OtherSizeError(DataError):
    """A label image is not of its picture's size."""


def read_image(path: Path) -> Image.Image:
    """A decoded picture, mode RGB (grey, palette and CMYK files are converted), as the file stores it: an
    orientation tag turns no picture, since it would not turn its label. Raises DamagedError."""
    with opened(path) as picture:
        return picture.convert("RGB")


def read_ids(path: Path, known: Collection[int]) -> Array:
    """uint8 (H, W), the ids as a label image holds them: grey levels or places in a palette.

    Raises DamagedError, also for other modes, and OtherIdsError for an id that is not in `known`.
    """
    import numpy as np

    with opened(path) as picture:
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
