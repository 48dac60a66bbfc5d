"""The network of the digit scenes. This is a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


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
