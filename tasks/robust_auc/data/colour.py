"""Hue, saturation and value of RGB images: Smith's hexcone (SIGGRAPH 1978), for whole arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def to_hsv(rgb: Array) -> tuple[Array, Array, Array]:
    """Hue in [0, 1), saturation and value in [0, 1], each (...), of float64 (..., 3) in [0, 1]. Greys have hue 0."""
    import numpy as np

    red, green, blue = (rgb[..., c] for c in range(3))
    value = rgb.max(axis=-1)
    spread = value - rgb.min(axis=-1)
    grey = spread == 0
    safe = np.where(grey, 1.0, spread)
    sextant = np.where(
        blue == value,
        4 + (red - green) / safe,
        np.where(green == value, 2 + (blue - red) / safe, (green - blue) / safe),
    )
    hue = np.where(grey, 0.0, (sextant / 6) % 1)
    saturation = np.where(grey, 0.0, spread / np.where(value == 0, 1.0, value))
    return hue, saturation, value


def from_hsv(hue: Array, saturation: Array, value: Array) -> Array:
    """float64 (..., 3) in [0, 1]."""
    import numpy as np

    sixth = np.floor(hue * 6)
    part = hue * 6 - sixth
    low = value * (1 - saturation)
    falling = value * (1 - part * saturation)
    rising = value * (1 - (1 - part) * saturation)
    sector = sixth.astype(np.int64) % 6
    channels = (
        (value, falling, low, low, rising, value),
        (rising, value, value, falling, low, low),
        (low, low, rising, value, value, falling),
    )
    return np.stack([np.choose(sector, levels) for levels in channels], axis=-1)
