"""Several experts on one trunk: the network of RIDE, SADE, DirMixE and BalPoE, and what their losses share.

The experts share the stem and the first stages of the protocol's backbone; each has the later stages and a
cosine classifier of its own. The plain scores are the mean of the experts' logits. In the released code a
ResNet-32's first stage of three is shared, of ResNet-50's and ResNeXt-50's four (`Expert_ResNet.py`) two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from mmengine.registry import MODELS
from mmseg.models.backbones import ResNet
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss
from suite.base.errors import UserError
from tasks.vision.networks.classifier import Head, ImageClassifier, SmallBlock, SmallResNet

REDUCED = 0.75
"""Width of the last two stages of a reduced expert: 24 and 48 channels in ResNet-32 instead of 32 and 64, 192
and 384 planes in ResNet-50 instead of 256 and 512 (RIDE's code)."""


def split(backbone: nn.Module, experts: int, reduced: bool, shared: int = 1) -> nn.ModuleList:
    """Take the stages after the first `shared` out of `backbone`; returned are new ones for every expert.

    `backbone` is a `SmallResNet` or one of mmseg's ResNets; it ends after its shared stages then. Raises
    ValueError for another, UserError where no stage is left for the experts.
    """
    if not isinstance(backbone, SmallResNet | ResNet):
        raise ValueError(f"{type(backbone).__name__} cannot be split among experts")
    stages = 3 if isinstance(backbone, SmallResNet) else backbone.num_stages
    if not 1 <= shared < stages:
        raise UserError(
            f"experts share {shared} of the {stages} stages of the network: 1 to {stages - 1}, "
            "so that each has a stage of its own"
        )
    if isinstance(backbone, SmallResNet):
        blocks = len(backbone.blocks) // 3
        width = backbone.conv.out_channels
        backbone.blocks = nn.Sequential(*list(backbone.blocks)[: shared * blocks])
        return nn.ModuleList(_small_stages(width, blocks, reduced, shared) for _ in range(experts))
    # mmengine's, which hands `init_weights` on
    made: nn.ModuleList = ModuleList(_stages(backbone, reduced, shared) for _ in range(experts))
    for name in backbone.res_layers[shared:]:
        delattr(backbone, name)
    backbone.res_layers, backbone.out_indices = backbone.res_layers[:shared], (shared - 1,)
    return made


def _small_stages(width: int, blocks: int, reduced: bool, shared: int) -> nn.Sequential:
    factor = REDUCED if reduced else 1.0
    widths = [int(factor * width * 2**i) for i in range(shared, 3) for _ in range(blocks)]
    made: list[nn.Module] = []
    for before, after in zip([width * 2 ** (shared - 1), *widths[:-1]], widths, strict=True):
        made.append(SmallBlock(before, after, stride=1 if before == after else 2))
    stages = nn.Sequential(*made)
    for module in stages.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return stages


def _stages(backbone: ResNet, reduced: bool, shared: int) -> BaseModule:
    """The stages after the shared ones, initialised as the backbone's own."""
    stages = BaseModule(init_cfg=backbone.init_cfg)
    inplanes = backbone.base_channels * 2 ** (shared - 1) * backbone.block.expansion
    count = backbone.num_stages
    for i in range(shared, count):
        planes = backbone.base_channels * 2**i
        if reduced and i >= count - 2:
            planes = int(REDUCED * planes)
        block = getattr(backbone, backbone.res_layers[i])[0]
        layer = backbone.make_res_layer(
            block=backbone.block,
            inplanes=inplanes,
            planes=planes,
            num_blocks=backbone.stage_blocks[i],
            stride=backbone.strides[i],
            dilation=backbone.dilations[i],
            style=backbone.style,
            avg_down=backbone.avg_down,
            with_cp=backbone.with_cp,
            conv_cfg=backbone.conv_cfg,
            norm_cfg=backbone.norm_cfg,
            init_cfg=block.init_cfg,
        )
        inplanes = planes * backbone.block.expansion
        stages.add_module(f"layer{i + 1}", layer)
    return stages


def _through(stages: nn.Module, maps: Tensor) -> Tensor:
    for stage in stages.children():
        maps = stage(maps)
    return maps


@MODELS.register_module()
class ExpertClassifier(ImageClassifier):
    """The classifier with its backbone's later stages once for every expert.

    Args:
        experts: E.
        reduced: whether the last two stages have `REDUCED` of their width.
        shared: stages that the experts share, from the first.
        others: as in `ImageClassifier`; `head` is an `ExpertHeads`.
    """

    def __init__(self, experts: int, reduced: bool, shared: int = 1, **others: Any) -> None:
        super().__init__(**others)
        self.experts = split(self.backbone, experts, reduced, shared)
        if others.get("channels_last"):
            self.to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (B, E, D) of normalised images (B, C, H, W)."""
        maps = self.backbone(images)
        if isinstance(maps, tuple):
            maps = maps[-1]
        return torch.stack([_through(one, maps).mean((2, 3)) for one in self.experts], dim=1)


@MODELS.register_module()
class ExpertHeads(Head):
    """scale * cos(w_kc, h_k) for expert k: a cosine classifier each, without bias.

    Args:
        experts: E.
        in_channels: D.
        scale: factor s of the cosines.
    """

    def __init__(
        self, experts: int, in_channels: int, classes: int, loss: dict[str, Any], scale: float
    ) -> None:
        super().__init__(loss)
        self.weight = nn.Parameter(torch.empty(experts, classes, in_channels))
        for weight in self.weight:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """(B, E, D) -> logits (B, E, C) in [-scale, scale]."""
        cosines = torch.einsum(
            "bed,ecd->bec", F.normalize(features, dim=-1), F.normalize(self.weight, dim=-1)
        )
        return self.scale * cosines


def expert_losses(scores: Tensor, label: Tensor) -> Tensor:
    """Cross entropy (B, E) of each sample under each expert, from logits (B, E, C) and ids (B,)."""
    repeated = label[:, None].expand(-1, scores.shape[1])
    return F.cross_entropy(scores.transpose(1, 2), repeated, reduction="none")


@MODELS.register_module()
class ExpertAdjustedLoss(nn.Module):
    """The sum or the mean over experts k of CE(v_k + a_k): an adjustment of the logits for each expert.

    Args:
        adjustments: a, (E, C).
        mean: over the experts, instead of the sum.
    """

    adjustments: Tensor

    def __init__(self, adjustments: Sequence[Sequence[float]], mean: bool) -> None:
        super().__init__()
        # Derived from the data, so not part of the weights.
        self.register_buffer("adjustments", torch.tensor(adjustments), persistent=False)
        self.mean = mean

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits (B, E, C), ids (B,) and optional weights (B,)."""
        losses = expert_losses(scores + self.adjustments, label)
        total = losses.mean(1) if self.mean else losses.sum(1)
        return labelled_mean(total, label, weight, -100)


def reversed_prior(class_counts: Sequence[float]) -> list[float]:
    """pi_inv: the training shares given to the classes in reversed order of rank (SADE), (C,).

    Classes of equal count are ranked by id; one absent from training counts as one sample.
    """
    counts = [max(float(n), 1.0) for n in class_counts]
    order = sorted(range(len(counts)), key=lambda c: -counts[c])
    shares = [0.0] * len(counts)
    for c, other in zip(order, reversed(order), strict=True):
        shares[c] = counts[other] / sum(counts)
    return shares


def use_experts(
    cfg: Any,
    loss: dict[str, Any],
    experts: int,
    reduced: bool,
    scale: float = 30.0,
    shared: int = 1,
) -> Any:
    """`cfg` with `experts` experts that train under `loss`, and share so many stages. Raises UserError where
    another network is."""
    if cfg.model.type != "ImageClassifier":
        raise UserError(f"experts need an ImageClassifier, but the model is a {cfg.model.type}")
    cfg.model.type = ExpertClassifier.__name__
    cfg.model.experts, cfg.model.reduced, cfg.model.shared = experts, reduced, shared
    head = cfg.model.head
    width = int(REDUCED * head.in_channels) if reduced else head.in_channels
    cfg.model.head = {
        "type": ExpertHeads.__name__,
        "experts": experts,
        "in_channels": width,
        "classes": head.classes,
        "scale": scale,
        "loss": {},
    }
    return set_loss(cfg, loss)
