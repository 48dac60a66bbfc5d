"""Decode heads that mmsegmentation has in another form. This is the OpenMMLab side."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from torch import Tensor

with contextlib.redirect_stdout(io.StringIO()):  # mmseg prints about optional packages
    from mmseg.models.decode_heads import LightHamHead, OCRHead
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead
    from mmseg.registry import MODELS

_SEED = 0


@MODELS.register_module()
class SeededHamHead(LightHamHead):  # type: ignore[misc]
    """SegNeXt's head, whose test-time factorisation starts from the same draw in every call.

    `rand_init` draws the bases from torch's CPU generator at each call. Training draws go on as they
    are; at test time what is predicted for a picture would hang on what was predicted before it.
    """

    def forward(self, inputs: Any) -> Tensor:
        if self.training:
            logits: Tensor = super().forward(inputs)
            return logits
        # the bases are drawn on the CPU: a GPU's generators are not touched
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(_SEED)
        try:
            logits = super().forward(inputs)
        finally:
            torch.set_rng_state(before)
        return logits


@MODELS.register_module()
class RegionOCRHead(OCRHead):  # type: ignore[misc]
    """OCRNet's heads in one: `region`, a head of its own, makes the soft object regions.

    The region head is trained with plain cross entropy of weight 0.4, whatever the loss of the head.

    Args:
        region: config of the region head; gets this head's classes.
        kwargs: those of OCRHead.
    """

    def __init__(self, region: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        shared = dict(num_classes=self.num_classes, align_corners=self.align_corners)
        loss = dict(type="CrossEntropyLoss", loss_weight=0.4, avg_non_ignore=True)
        self.region = MODELS.build({**region, **shared, "loss_decode": loss})

    def forward(self, inputs: Any) -> Tensor:
        logits: Tensor = super().forward(inputs, self.region(inputs))
        return logits

    def loss(self, inputs: Any, batch_data_samples: Any, train_cfg: Any) -> dict[str, Tensor]:
        regions = self.region(inputs)
        losses = {
            f"region.{name}": value
            for name, value in self.region.loss_by_feat(regions, batch_data_samples).items()
        }
        logits = super().forward(inputs, regions)
        losses.update(self.loss_by_feat(logits, batch_data_samples))
        return losses

    def predict(self, inputs: Any, batch_img_metas: Any, test_cfg: Any) -> Tensor:
        # not the cascade's, which wants the output of an earlier head
        logits: Tensor = BaseDecodeHead.predict(self, inputs, batch_img_metas, test_cfg)
        return logits
