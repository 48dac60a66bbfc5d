"""Classifiers of several labels: the model around a backbone, its head, and the network of the digit scenes.

This is a torch module.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from tasks.vision.networks.classifier import Head, ImageClassifier


@MODELS.register_module()
class BinaryCrossEntropy(nn.Module):
    """Sigmoid cross entropy of every label, the mean over samples and labels: the loss of the base config."""

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits and targets in [0, 1], (B, L) each."""
        return F.binary_cross_entropy_with_logits(scores, targets)


@MODELS.register_module()
class MultiLabelHead(Head):
    """Logits W h + b, with torch's initial values, and the training loss.

    Args:
        loss: config of a loss `forward(scores, targets, index=None, features=None)`.
    """

    def __init__(self, in_channels: int, classes: int, loss: dict[str, Any]) -> None:
        super().__init__(loss)
        self.fc = nn.Linear(in_channels, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, L)."""
        scores: Tensor = self.fc(features)
        return scores

    def label_loss(self, features: Tensor, targets: Tensor, index: Tensor) -> dict[str, Tensor]:
        """{"loss": scalar} of features (B, D), targets (B, L) of 0 and 1, and `index` (B,), the places of the samples
        in the training set."""
        scores = self(features).float()
        return {"loss": self.loss_module(scores, targets, index=index, features=features.float())}


@MODELS.register_module()
class MultiLabelClassifier(ImageClassifier):
    """Backbone, pooling, `MultiLabelHead`. Arguments as those of `ImageClassifier`; nothing is mixed."""

    def forward(
        self,
        inputs: Tensor,
        label: Tensor,
        mode: str = "tensor",
        index: Tensor | None = None,
        **_: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """`loss`: losses; `predict`: [{logits, label}], (B, L) each; `tensor`: logits (B, L)."""
        if mode == "loss":
            with self.autocast(inputs):
                losses: dict[str, Tensor] = self.head.label_loss(
                    self.features(inputs), label, index
                )
            return losses
        logits: Tensor = self.head(self.features(inputs)).float()
        return [{"logits": logits, "label": label}] if mode == "predict" else logits


@MODELS.register_module()
class SceneNet(nn.Module):
    """3x3 convolutions with batch normalisation and ReLU, all but the first of stride 2, then the maximum over all
    places: whether a digit is somewhere. (B, C, H, W) -> features (B, widths[-1]).

    Args:
        in_channels: C.
        widths: channels of each convolution.
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        channels = [in_channels, *widths]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=2 if layer else 1, padding=1, bias=False)
            for layer, (inputs, outputs) in enumerate(pairwise(channels))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)), inplace=True)
        return x.amax((2, 3))
