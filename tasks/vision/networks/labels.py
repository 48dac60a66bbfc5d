"""Classifiers whose targets are label vectors: the model around a backbone, its head, and plain cross entropy.

This is a torch module.
"""

from __future__ import annotations

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
