"""Networks of other shapes than `model.SmallResNet`. Imports mmseg."""

from __future__ import annotations

from mmengine.registry import MODELS
from mmseg.models.backbones import ResNet
from torch import nn


@MODELS.register_module()
class WideStemResNet(ResNet):
    """The ImageNet ResNet (He et al. 2016, table 1) for small images: a 3x3 stem of stride 1, no pooling.

    (B, C, H, W) -> a tuple of the last maps (B, 8w, ceil(H/8), ceil(W/8)), of basic blocks. Parameters
    are named and initialised as torchvision's: convolutions by Kaiming's normal distribution (fan-out),
    normalisation with 1 and 0, the last one of a block too. The stem's convolution starts as torch's own,
    uniform within 1 / sqrt(fan-in): SSE-SAM's code puts it in place of torchvision's after that has been
    initialised.

    Args:
        depth: 18 or 34.
        width: channels w of the stem and the first of four stages, each of twice the one before.
        in_channels: 3, or 1 for grey images.

    Raises ValueError for another depth.
    """

    def __init__(self, depth: int, width: int = 64, in_channels: int = 3) -> None:
        if depth not in (18, 34):
            raise ValueError(f"depth is {depth}, expected 18 or 34")
        super().__init__(
            depth,
            in_channels=in_channels,
            stem_channels=width,
            base_channels=width,
            out_indices=(3,),
            zero_init_residual=False,
        )

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        self.conv1 = nn.Conv2d(in_channels, stem_channels, 3, padding=1, bias=False)
        self.maxpool = nn.Identity()

    def init_weights(self) -> None:
        """As the class says."""
        super().init_weights()
        self.conv1.reset_parameters()
