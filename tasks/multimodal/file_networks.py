"""Encoders of pictures, spectrograms and sequences. This is a torch module."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmengine.model import initialize
from mmengine.registry import MODELS
from torch import Tensor, nn

from tasks.multimodal.networks import pooled


@MODELS.register_module()
class PictureEncoder(nn.Module):
    """A backbone's last maps, the mean over all places and, of several frames, over the frames.

    (B, C, H, W) or (B, T, C, H, W) -> (B, D).

    Args:
        backbone: config of an OpenMMLab backbone. Its initial weights are made here, as it wants them (of mmseg's ResNet:
            He et al.'s), since the model's `init_weights` does not look into its encoders.
    """

    def __init__(self, backbone: dict[str, Any]) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        # as its own `init_weights`, which writes lines for each parameter into the log
        for module in self.backbone.modules():
            if getattr(module, "init_cfg", None):
                initialize(module, module.init_cfg)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return pooled(self.backbone(x))
        batch, count = x.shape[:2]
        features = pooled(self.backbone(x.flatten(0, 1)))
        return features.view(batch, count, -1).mean(1)


@MODELS.register_module()
class SequenceEncoder(nn.Module):
    """The mean over the steps of a sequence of what a perceptron makes of each: (B, T, D) -> (B, width).

    Steps that are all zeros are padding and left out. Batch normalisation, Linear, ReLU of each step, the mean over the steps,
    Linear, ReLU. Like the sub-networks for sound and vision of late fusion (Zadeh et al., EMNLP 2017), which take the mean
    first; theirs for text is an LSTM. Ours in its details.

    Args:
        in_features: D.
        width: of both layers.
    """

    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_features)
        self.step = nn.Linear(in_features, width)
        self.last = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        there = x.ne(0).any(2)
        made = x.new_zeros(*there.shape, self.step.out_features)
        made[there] = self.step(self._normalised(x[there])).relu()
        # a sample without any step has means of zero
        mean = made.sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        features: Tensor = self.last(mean).relu()
        return features

    def _normalised(self, steps: Tensor) -> Tensor:
        """Steps (K, D); fewer than two have no variance of their own."""
        norm = self.norm
        normalised: Tensor = (
            norm(steps)
            if len(steps) > 1
            else F.batch_norm(steps, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return normalised
