"""Classifiers of several modalities: preprocessing, an encoder for each, the model around them. This is a torch module.

What a training step minimises is an `Objective` (`tasks.multimodal.objectives`); how features become logits is a fusion
(`tasks.multimodal.fusions`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from suite.engine.data import mixed_seed

Features = Mapping[str, Tensor]
"""Modality -> pooled features (B, D)."""


@MODELS.register_module()
class ModalityBatch(BaseDataPreprocessor):  # type: ignore[misc]
    """Moves a batch to the device and normalises each modality: (x - mean) / std, in float32.

    Args:
        statistics: modality -> {"mean": [...], "std": [...]}, per channel of images (..., C, H, W) and per feature of
            vectors and sequences (..., D); of one value for all. A modality that is not named stays as it is.
    """

    def __init__(self, statistics: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        super().__init__(non_blocking=True)
        self._names = tuple(statistics)
        for name, about in statistics.items():
            for key in ("mean", "std"):
                self.register_buffer(f"{name}_{key}", torch.tensor(list(about[key])), False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        data = self.cast_data(data)
        return {**data, "inputs": {name: self._of(name, x) for name, x in data["inputs"].items()}}

    def _of(self, name: str, values: Tensor) -> Tensor:
        values = values.float()
        if name not in self._names:
            return values
        mean, std = (getattr(self, f"{name}_{key}") for key in ("mean", "std"))
        if values.ndim > 3:
            mean, std = mean.view(-1, 1, 1), std.view(-1, 1, 1)
        normalised: Tensor = (values - mean) / std
        return normalised


@contextmanager
def seeded(name: str) -> Iterator[None]:
    """Initial weights made in this block follow from the run's seed and `name` alone, whatever was made before: so an
    encoder starts alike whether others stand beside it or not. Blocks within blocks follow from all their names. The
    stream of random numbers goes on as if it had not been."""
    with torch.random.fork_rng(devices=[]):
        # of the CPU, where weights are made: `torch.manual_seed` would leave a GPU's generator at this seed
        torch.default_generator.manual_seed(
            mixed_seed(torch.initial_seed(), zlib.crc32(name.encode()))
        )
        yield


@MODELS.register_module()
class ConvEncoder(nn.Module):
    """3x3 convolutions with batch normalisation and ReLU, then the mean over all places. (B, C, H, W) -> (B, widths[-1]).

    Args:
        in_channels: C.
        widths, strides: of each convolution.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (inputs, outputs), stride in zip(
            pairwise([in_channels, *widths]), strides, strict=True
        ):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.layers(x)
        return maps.mean((2, 3))


@MODELS.register_module()
class VectorEncoder(nn.Module):
    """Fully connected layers with ReLU after each. (B, D) -> (B, widths[-1]).

    Args:
        in_features: D.
        widths: of each layer.
    """

    def __init__(self, in_features: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([in_features, *widths]):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


def pooled(maps: Tensor | Sequence[Tensor]) -> Tensor:
    """Features (B, D) of what an encoder gives: features, maps (B, D, H, W), or a tuple of which the last is meant."""
    last: Tensor = maps if isinstance(maps, Tensor) else maps[-1]
    return last if last.ndim == 2 else last.mean((2, 3))


@MODELS.register_module()
class MultimodalClassifier(BaseModel):  # type: ignore[misc]
    """An encoder for each modality, a fusion of their features, and the objective they are trained by.

    Args:
        encoders: modality -> config of a module (B, ...) -> features (B, D), or maps that are pooled (`pooled`).
        fusion: config of a fusion (`tasks.multimodal.fusions`), without `modalities`.
        objective: config of an `Objective` (`tasks.multimodal.objectives`).
        modalities: those of `encoders` that are used; None for all. What is not used is not built.
        bf16: compute the encoders in bfloat16 where autocast does, in training and test alike; fusion and losses are in
            float32.
    """

    def __init__(
        self,
        encoders: Mapping[str, dict[str, Any]],
        fusion: dict[str, Any],
        objective: dict[str, Any],
        data_preprocessor: dict[str, Any],
        modalities: Sequence[str] | None = None,
        bf16: bool = False,
    ) -> None:
        super().__init__(data_preprocessor)
        self.bf16 = bf16
        self.modalities = tuple(encoders if modalities is None else modalities)
        self.encoders = nn.ModuleDict()
        for name in self.modalities:
            with seeded(name):
                self.encoders[name] = MODELS.build(encoders[name])
        with seeded("fusion"):
            self.fusion = MODELS.build({**fusion, "modalities": self.modalities})
        with seeded("objective"):
            self.objective = MODELS.build(objective)

    def features_of(self, name: str, values: Tensor) -> Tensor:
        """Pooled features (B, D) of one modality's inputs, in full precision."""
        with torch.autocast(values.device.type, torch.bfloat16, enabled=self.bf16):
            features = pooled(self.encoders[name](values))
        return features.float()

    def features(self, inputs: Features) -> dict[str, Tensor]:
        """Pooled features (B, D) of each modality in use."""
        return {name: self.features_of(name, inputs[name]) for name in self.modalities}

    def train_step(self, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """One iteration, as the objective makes it; what is logged of it."""
        logged: dict[str, Tensor] = self.objective.train_step(self, data, optim_wrapper)
        return logged

    def forward(
        self,
        inputs: Features,
        label: Tensor,
        mode: str = "tensor",
        index: Tensor | None = None,
        **_: Any,
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Any]]:
        """`loss`: the objective's losses; `tensor`: fused logits (B, C); `predict`: one dict for the batch with `label`
        (B,), `logits` (B, C), `features` {modality: (B, D)}, and where the fusion has them `modality_logits` (B, M, C)
        and `subset_logits` (B, 2^M - 2, C)."""
        if mode == "loss":
            made: dict[str, Tensor] = self.objective.features(self, inputs)
            losses: dict[str, Tensor] = self.objective.losses(self, made, label, index)
            return losses
        features = self.features(inputs)
        logits: Tensor = self.fusion(features)
        if mode == "tensor":
            return logits
        predicted = {"logits": logits, "label": label, "features": features}
        own = self.fusion.modality_logits(features)
        if own is not None:
            predicted["modality_logits"] = torch.stack([own[name] for name in self.modalities], 1)
        subsets = proper_subsets(self.modalities)
        if subsets and self.fusion.takes_missing:
            predicted["subset_logits"] = torch.stack(
                [self.fusion(features, present) for present in subsets], 1
            )
        return [predicted]


def proper_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Subsets but the empty and the full one, in the order of the binary numbers whose bit k is the k-th modality."""
    count = len(modalities)
    return [
        tuple(name for k, name in enumerate(modalities) if mask >> k & 1)
        for mask in range(1, 2**count - 1)
    ]
