"""What the losses of several methods share: where they go in a config, and their mean."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def set_loss(cfg: Any, loss: dict[str, Any]) -> Any:
    """`cfg` with `loss` as the only training loss: of mmseg's decode head, or of a classifier's head."""
    if "decode_head" in cfg.model:
        cfg.model.decode_head.loss_decode = [loss]
    else:
        cfg.model.head.loss = loss
    return cfg


def labelled_mean(loss: Tensor, label: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
    """Mean over labelled samples of `loss` times `weight`, all of the shape of `label`.

    `loss` is zero where the label is ignored. The divisor is the number of labelled samples, whatever
    their weights; the clamp keeps a batch without any finite.
    """
    if weight is not None:
        loss = loss * weight
    return loss.sum() / (label != ignore_index).sum().clamp(min=1)
