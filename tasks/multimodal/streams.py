"""Streams of modalities as the protocols on a CPU have them: encoders, and what inputs are standardised by. Nothing heavy is
imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.multimodal.data.sources import Modalities
from tasks.multimodal.recipes import Stream

WIDTHS = (16, 32, 64)
HIDDEN = (128, 64)
_ROWS, _BYTES = 1 << 16, 1 << 26
"""Of a mapped array, rows that its statistics are over, and about how many bytes: they are told well enough by so many."""


def convolutions(
    channels: int,
    mean: float,
    std: float,
    *,
    widths: Sequence[int] = WIDTHS,
    strides: Sequence[int] = (2, 2, 2),
) -> Stream:
    """3x3 convolutions on pictures (C, H, W). Mean and standard deviation are of pixels as they are stored."""
    return Stream(
        encoder={
            "type": "ConvEncoder",
            "in_channels": channels,
            "widths": list(widths),
            "strides": list(strides),
        },
        width=widths[-1],
        statistics={"mean": [mean] * channels, "std": [std] * channels},
    )


def perceptron(
    features: int, statistics: dict[str, Any] | None, widths: Sequence[int] = HIDDEN
) -> Stream:
    """Fully connected layers on vectors (D,)."""
    encoder = {"type": "VectorEncoder", "in_features": features, "widths": list(widths)}
    return Stream(encoder=encoder, width=widths[-1], statistics=statistics)


def standardised(train: Modalities, name: str) -> dict[str, list[float]]:
    """Mean and standard deviation of each feature (D,) of a modality over the training samples that have it, in float64; of a
    mapped array over some of them, evenly spread (at most 65,536, of wide rows fewer, but a thousand). A feature that never
    varies is divided by 1."""
    import numpy as np

    places = np.flatnonzero(~train.lacking(name))
    if train.places is not None:
        row = train.inputs[name][:1].nbytes
        most = min(_ROWS, max(1000, _BYTES // row))
        if len(places) > most:
            places = places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
    rows = train.rows(name, places)
    spread = rows.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1
    return {"mean": rows.mean(axis=0, dtype=np.float64).tolist(), "std": spread.tolist()}


def perceptrons(
    shapes: Mapping[str, tuple[int, ...]], train: Modalities | None
) -> dict[str, Stream]:
    """A perceptron for each modality of vectors, standardised by the training samples once they are there."""
    return {
        name: perceptron(shape[0], None if train is None else standardised(train, name))
        for name, shape in shapes.items()
    }
