"""Binary classifiers that own their pixels: images come in [0, 1], may be attacked there, and are normalised within.

This is a torch module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor, nn

from tasks.vision.networks.labels import MultiLabelClassifier


@MODELS.register_module()
class PixelBatch(BaseDataPreprocessor):  # type: ignore[misc]
    """Moves a batch to the device; uint8 images become float32 in [0, 1], and nothing else is done to them."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        data = self.cast_data(data)
        return {**data, "inputs": data["inputs"].float().div_(255)}


@MODELS.register_module()
class BinaryClassifier(MultiLabelClassifier):
    """Backbone, pooling and a head of one logit, on pixels in [0, 1].

    Args:
        mean, std: per channel, of pixels in [0, 1]: what images are normalised by.
        attack: None, or config of a module (model, pixels, label) -> pixels, (B, C, H, W) in [0, 1], applied in
            training before the loss. It leaves the model's mode, statistics and gradients as they were.
        others: as of `ImageClassifier`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *args: Any,
        mean: Sequence[float],
        std: Sequence[float],
        attack: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.attack: nn.Module | None = MODELS.build(attack) if attack else None

    @property
    def loss_module(self) -> nn.Module:
        """The training loss."""
        module: nn.Module = self.head.loss_module
        return module

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (B, D) of pixels (B, C, H, W) in [0, 1]."""
        return super().features((images - self.mean) / self.std)

    def logits(self, pixels: Tensor) -> Tensor:
        """(B, 1), of pixels (B, C, H, W) in [0, 1]."""
        scores: Tensor = self.head(self.features(pixels))
        return scores.float()

    def forward(
        self,
        inputs: Tensor,
        label: Tensor,
        mode: str = "tensor",
        index: Tensor | None = None,
        **_: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """`loss`: {"loss": scalar}, `label` (B, 1) of 0 and 1; `predict`: [{logits (B, 1), label (B,)}]; `tensor`: logits."""
        if mode != "loss":
            logits = self.logits(inputs)
            return [{"logits": logits, "label": label[:, 0]}] if mode == "predict" else logits
        pixels = inputs if self.attack is None else self.attack(self, inputs, label)
        if getattr(self.loss_module, "of_pixels", False):
            pixels = pixels.detach().requires_grad_(True)
        with self.autocast(pixels):
            features = self.features(pixels)
            scores = self.head(features).float()
        loss = self.loss_module(
            scores, label, index=index, features=features.float(), pixels=pixels
        )
        return {"loss": loss}
