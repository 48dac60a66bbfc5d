"""Constants of the generated corruptions by severity 1..5.

Those of 32x32 are CIFAR-10-C's and those of 64x64 Tiny-ImageNet-C's (Hendrycks and Dietterich, "Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations", ICLR 2019, and the scripts that made the two sets). Those of
8x8 are ours, strong enough for handwritten digits; 14x14, digits of 28x28 pooled after they are corrupted, has the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEVERITIES = (1, 2, 3, 4, 5)

_ZOOMS = (7, 12, 16, 21, 26)
"""How many zooms 1, 1.01, ...: `numpy.arange(1, 1.06, .01)` and so on, whose open end is met by rounding in the first two."""

_DIGITS: Mapping[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60, 25, 12, 5, 3),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "gaussian_blur": (0.4, 0.6, 0.8, 1, 1.3),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "pixelate": (0.9, 0.75, 0.65, 0.5, 0.4),
}

TABLES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "8x8": _DIGITS,
    "14x14": _DIGITS,
    "32x32": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.1),
        "shot_noise": (500, 250, 100, 75, 50),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
        "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "zoom_blur": _ZOOMS,
        "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
        "jpeg_compression": (80, 65, 58, 50, 40),
    },
    "64x64": {
        "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
        "shot_noise": (250, 100, 50, 30, 15),
        "impulse_noise": (0.01, 0.02, 0.05, 0.08, 0.14),
        "speckle_noise": (0.15, 0.2, 0.25, 0.3, 0.35),
        "gaussian_blur": (0.5, 0.75, 1, 1.25, 1.5),
        "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "zoom_blur": _ZOOMS,
        "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        "pixelate": (0.9, 0.8, 0.7, 0.6, 0.5),
        "jpeg_compression": (65, 58, 50, 40, 25),
    },
}
"""Table, called by the edge of the images that are classified -> corruption -> its constant at each severity. What a
constant means is said by the corruption's formula (`formulas`)."""


def set_name(corruption: str, severity: int | None = None) -> str:
    """Of the prediction set: `corruption=C,severity=S`, or `corruption=C` where there is one strength."""
    return f"corruption={corruption}" + ("" if severity is None else f",severity={severity}")
