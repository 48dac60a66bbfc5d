"""Networks on feature vectors: their preprocessing, and a perceptron. This is a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class VectorBatch(BaseDataPreprocessor):  # type: ignore[misc]
    """Moves a batch to the device and standardises its vectors: (x - mean) / std.

    Args:
        mean, std: (D,) of the training vectors; None leaves them as they are.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__(non_blocking=True)
        for name, values in (("mean", mean), ("std", std)):
            buffer = None if values is None else torch.tensor(list(values))
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        data = self.cast_data(data)
        vectors = data["inputs"].float()
        if self.mean is not None:
            vectors = (vectors - self.mean) / self.std
        return {**data, "inputs": vectors}


@MODELS.register_module()
class Perceptron(nn.Module):
    """One hidden layer with ReLU and dropout. (B, D) -> features (B, width).

    Args:
        in_features: D.
        width: of the hidden layer.
        dropout: share of hidden units that are zero in a training step.
    """

    def __init__(self, in_features: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, width), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features
