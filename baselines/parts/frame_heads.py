"""Classifiers whose rows are a frame that stays: a simplex equiangular tight frame (ETF), or a spherical code.

The frame is a buffer: no optimiser knows of it, so that neither gradient nor weight decay reaches it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from tasks.vision.geometry import frames
from tasks.vision.networks.classifier import CosineHead, Head, Linear


def frame_of(
    classes: int,
    dims: int,
    kind: str,
    permutation: int | None = None,
    rotation: int | None = None,
) -> Any:
    """The frame, (K, d) float64, unit rows: of `kind` `etf` or `code`, an arm of it where numbers are given.

    Raises UserError as `tasks.vision.geometry.frames`: d too small (or too large) for the frame, no such arm, no such
    code; DataError for a damaged one.
    """
    if kind not in ("etf", "code"):
        raise ValueError(f"kind is {kind!r}, expected etf or code")
    made = frames.simplex(classes, dims) if kind == "etf" else frames.code(classes, dims)
    return frames.rotated(frames.permuted(made, permutation), rotation)


@MODELS.register_module()
class FrameHead(Head):
    """z = s <m_c, h>, without bias; h the features, or their projection, at unit length or as long as they are.

    Args:
        in_channels: D.
        classes: K.
        loss: see `Head`.
        frame: further arguments of `frame_of`.
        scale: s > 0.
        dims: d of a learned bias-free projection; None: h are the features themselves.
        unit: whether h is h / |h|.
        batch_norm: whether there is a learned batch normalisation before that.
    """

    frame: Tensor

    def __init__(
        self,
        in_channels: int,
        classes: int,
        loss: dict[str, Any],
        frame: dict[str, Any],
        scale: float = 1.0,
        dims: int | None = None,
        unit: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(loss)
        self.projection = None if dims is None else nn.Linear(in_channels, dims, bias=False)
        width = in_channels if dims is None else dims
        self.norm = nn.BatchNorm1d(width) if batch_norm else None
        self.scale, self.unit = scale, unit
        # kept with the weights: a QR differs between machines in the last place
        self.register_buffer("frame", torch.tensor(frame_of(classes, width, **frame)).float())

    def seen(self, features: Tensor) -> Tensor:
        """h (B, d) of features (B, D)."""
        if self.projection is not None:
            features = self.projection(features)
        if self.norm is not None:
            features = self.norm(features)
        return F.normalize(features) if self.unit else features

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, K)."""
        return self.scale * F.linear(self.seen(features), self.frame)

    def linear(self, features: Tensor) -> Linear:
        """h, s M and no bias."""
        return self.seen(features), self.scale * self.frame, None


@MODELS.register_module()
class ProjectedCosineHead(CosineHead):
    """A cosine classifier behind a learned bias-free projection D -> d.

    Args:
        in_channels: D.
        classes: K.
        loss: see `Head`.
        scale: s > 0.
        dims: d.
    """

    def __init__(
        self, in_channels: int, classes: int, loss: dict[str, Any], scale: float, dims: int
    ) -> None:
        super().__init__(dims, classes, loss, scale)
        self.projection = nn.Linear(in_channels, dims, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> logits (B, K) in [-s, s]."""
        return super().forward(self.projection(features))

    def linear(self, features: Tensor) -> Linear:
        """The projection's h / |h|, s w_c / |w_c| and no bias."""
        seen = F.normalize(self.projection(features))
        return seen, self.scale * F.normalize(self.weight), None


def set_head(cfg: Any, head: type[Head], loss: dict[str, Any], **about: Any) -> Any:
    """`cfg` with another classifier on the same features; `about` are further arguments of `head`."""
    old = cfg.model.head
    sizes = {"in_channels": old.in_channels, "classes": old.classes}
    cfg.model.head = {"type": head.__name__, **sizes, "loss": loss, **about}
    return cfg


def set_frame(
    cfg: Any,
    loss: dict[str, Any],
    frame: dict[str, Any],
    *,
    head: type[FrameHead] = FrameHead,
    **about: Any,
) -> Any:
    """`cfg` with a frame as classifier. Raises as `frame_of`, before anything is trained."""
    old = cfg.model.head
    frame_of(old.classes, about.get("dims") or old.in_channels, **frame)
    return set_head(cfg, head, loss, frame=frame, **about)
