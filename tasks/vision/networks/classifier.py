"""Image classifiers as mmengine models: preprocessing, ResNets for small images, heads, training step.

This is the OpenMMLab side: it imports torch and mmengine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

Target = tuple[Tensor, Tensor | None]
"""Labels (B,) and their weights (B,), None for one each."""
Linear = tuple[Tensor, Tensor | None, Tensor | None]
"""Features h, weights W and bias b with logits h W^T + b; see `Head.linear`."""


@MODELS.register_module()
class ImageBatch(BaseDataPreprocessor):  # type: ignore[misc]
    """Moves a batch to the device and normalises uint8 images: (x - mean) / std.

    Args:
        mean, std: per channel, in grey levels 0..255.
        channels_last: memory format of the result (NHWC instead of NCHW).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], channels_last: bool = False
    ) -> None:
        super().__init__(non_blocking=True)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        data = self.cast_data(data)
        images = data["inputs"].float().contiguous(memory_format=self._format)
        return {**data, "inputs": images.sub_(self.mean).div_(self.std)}


class SmallBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut of option A: subsampled, new channels zero."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        if self.stride > 1 or self.extra:
            half = self.extra // 2
            x = F.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half)
            )
        return F.relu(out + x, inplace=True)


@MODELS.register_module()
class SmallResNet(nn.Module):
    """ResNet-(6n+2) for small images: three stages of n blocks, widths w, 2w, 4w, parameter-free
    shortcuts (He et al. 2016, section 4.2). (B, C, H, W) -> maps (B, 4w, ceil(H/4), ceil(W/4)).

    Args:
        depth: 6n + 2.
        width: w, 16 in the paper.
        in_channels: 3, or 1 for grey images.
        initial: distribution of the convolutions' first weights: `he`, normal with standard deviation sqrt(2 / fan-in), as
            in the released long-tailed CIFAR code; `torch`, its own default, uniform and smaller by a factor of sqrt(6).
            Behind batch normalisation it sets how far a step of a given rate turns the weights.
    """

    def __init__(
        self, depth: int, width: int = 16, in_channels: int = 3, initial: str = "he"
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6 or initial not in ("he", "torch"):
            raise ValueError(
                f"depth is {depth} and initial {initial!r}, expected 6n + 2, and he or torch"
            )
        blocks = (depth - 2) // 6
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        widths = [width] * blocks + [2 * width] * blocks + [4 * width] * blocks
        inputs = [width, *widths[:-1]]
        self.blocks = nn.Sequential(
            *(
                SmallBlock(i, o, stride=1 if i == o else 2)
                for i, o in zip(inputs, widths, strict=True)
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and initial == "he":
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.blocks(F.relu(self.bn(self.conv(x)), inplace=True))
        return maps


@MODELS.register_module()
class CrossEntropy(nn.Module):
    """Softmax cross entropy, the mean over the batch of weight * loss: the loss of the base config."""

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits (B, C), ids (B,) and optional weights (B,)."""
        if weight is None:
            return F.cross_entropy(scores, label)
        return (F.cross_entropy(scores, label, reduction="none") * weight).mean()


_ROUNDING = 1e-4


class Head(nn.Module):
    """Logits from pooled features, and the training loss. Subclasses give `forward`.

    Args:
        loss: config of a loss `forward(scores, label, weight=None, features=None)`.
    """

    def __init__(self, loss: dict[str, Any]) -> None:
        super().__init__()
        self.loss_module = MODELS.build(loss)

    def loss(self, features: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """{"loss": scalar}: the sum over `targets`, which are several where images are mixed."""
        return {"loss": self.loss_of(self(features), features, targets)}

    def loss_of(self, scores: Tensor, features: Tensor, targets: Sequence[Target]) -> Tensor:
        """The same from logits (B, C) that are there already."""
        scores, features = _full(scores), _full(features)
        total: Tensor = sum(
            self.loss_module(scores, label, weight=weight, features=features)
            for label, weight in targets
        )
        return total

    def linear(self, features: Tensor) -> Linear:
        """What the head's linear layer sees, and the layer.

        From pooled features (B, D), or (B, E, D) of E experts: h (B, d), W (C, d) and b (C,), or None where the layer
        has no bias, so that the logits are h W^T + b; of experts (B, E, d), (E, C, d) and (E, C). Factors of the
        logits are in W. W and b are None, and h the features themselves, where the logits are no such function.

        Here the layer is found by what the head does, whatever its weights are called: the logits of the unit
        vectors are the columns of W, held against the logits of `features`, as they are and at unit length.
        A head with something between features and layer, such as a projection, overrides it.
        """
        return _probed(self, features)


def _probed(head: nn.Module, features: Tensor) -> Linear:
    with torch.no_grad():
        units = torch.eye(features.shape[-1]).to(features)
        if features.ndim == 3:
            units = units[:, None].expand(-1, features.shape[1], -1)
        scores, bias = head(features), head(torch.zeros_like(units[:1]))[0]
        columns = head(units) - bias
        weight = columns.movedim(0, -1).contiguous()
        scale = scores.abs().max().clamp(min=torch.finfo(scores.dtype).tiny)
        for seen in (features, F.normalize(features, dim=-1)):
            made = torch.einsum("...d,...cd->...c", seen, weight) + bias
            # of float32: what rounding leaves of D terms, and far below any other function
            if (made - scores).abs().max() <= _ROUNDING * scale:
                return seen, weight, bias
    return features, None, None


def _full(values: Tensor) -> Tensor:
    """In full precision, whatever the network computes in."""
    return values.float() if values.itemsize < 4 else values


@MODELS.register_module()
class LinearHead(Head):
    """W h + b, W from He's normal distribution (the released long-tailed CIFAR code)."""

    def __init__(self, in_channels: int, classes: int, loss: dict[str, Any]) -> None:
        super().__init__(loss)
        self.fc = nn.Linear(in_channels, classes)
        nn.init.kaiming_normal_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, C)."""
        scores: Tensor = self.fc(features)
        return scores

    def linear(self, features: Tensor) -> Linear:
        return features, self.fc.weight, self.fc.bias


@MODELS.register_module()
class TorchLinearHead(LinearHead):
    """The same with torch's own initial values, as torchvision's networks end."""

    def __init__(self, in_channels: int, classes: int, loss: dict[str, Any]) -> None:
        super().__init__(in_channels, classes, loss)
        self.fc.reset_parameters()


@MODELS.register_module()
class CosineHead(Head):
    """scale * cos(w_c, h), without bias.

    Args:
        scale: factor s of the cosines; 30 in LDAM.
    """

    def __init__(
        self, in_channels: int, classes: int, loss: dict[str, Any], scale: float = 30.0
    ) -> None:
        super().__init__(loss)
        self.weight = nn.Parameter(torch.empty(classes, in_channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, C) in [-scale, scale]."""
        return self.scale * F.linear(F.normalize(features), F.normalize(self.weight))

    def linear(self, features: Tensor) -> Linear:
        """h / |h| and s w_c / |w_c|."""
        return F.normalize(features), self.scale * F.normalize(self.weight), None


@MODELS.register_module()
class ImageClassifier(BaseModel):  # type: ignore[misc]
    """Backbone, global average pooling, head.

    Args:
        backbone: gives maps (B, D, H, W), or a tuple of which the last is taken (mmseg's backbones), or features
            (B, D) that are pooled already.
        head: a `Head`.
        mixing: None, or a module (images, label) -> (images, targets) applied in training, such as
            mixup.
        channels_last: memory format of the weights.
        bf16: compute in bfloat16 in training where autocast does; its range is fp32's, so that no loss
            is scaled. (mmengine's AmpOptimWrapper refuses to work on a CPU.)
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        head: dict[str, Any],
        data_preprocessor: dict[str, Any],
        mixing: dict[str, Any] | None = None,
        channels_last: bool = False,
        bf16: bool = False,
    ) -> None:
        super().__init__(data_preprocessor)
        self.bf16 = bf16
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build(head)
        self.mixing = MODELS.build(mixing) if mixing else None
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (B, D) of normalised images (B, C, H, W), or of whatever else the backbone takes."""
        maps: Tensor = self.backbone(images)
        if isinstance(maps, tuple):
            maps = maps[-1]
        return maps if maps.ndim == 2 else maps.mean((2, 3))

    def mixed(self, images: Tensor, label: Tensor) -> tuple[Tensor, Sequence[Target]]:
        """Images and targets of a training step, mixed where the method mixes."""
        if self.mixing is None:
            return images, [(label, None)]
        mixed: tuple[Tensor, Sequence[Target]] = self.mixing(images, label)
        return mixed

    def autocast(self, images: Tensor) -> torch.autocast:
        """What the network and its loss are computed in."""
        return torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16)

    def forward(
        self, inputs: Tensor, label: Tensor, mode: str = "tensor", **_: Any
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """`loss`: losses; `predict`: [{logits, label (B,)}], logits (B, C) or of experts (B, E, C);
        `tensor`: logits (B, C), of experts their mean."""
        if mode == "loss":
            inputs, targets = self.mixed(inputs, label)
            with self.autocast(inputs):
                losses: dict[str, Tensor] = self.head.loss(self.features(inputs), targets)
            return losses
        logits: Tensor = self.head(self.features(inputs)).float()
        if mode == "predict":
            return [{"logits": logits, "label": label}]
        return logits if logits.ndim == 2 else logits.mean(1)
