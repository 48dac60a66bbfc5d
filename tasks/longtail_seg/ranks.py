"""How the loss of a segmentor is taken over several ranks, so that it is that of one process.

Where every loss of a decode head knows how to be shared (the mean cross entropy, and losses with a
file NAME_ranks.py beside theirs), each rank computes its own pixels' part of it. Otherwise the head's
outputs are gathered before they are resized to the labels, for most networks a sixteenth of the numbers
or less, and every rank computes the losses of the whole batch: that holds for any loss, and takes each rank
the time and memory of a single process's loss.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suite.engine import ranks

with contextlib.redirect_stdout(io.StringIO()):  # mmseg prints about optional packages
    from mmengine.structures import PixelData
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead
    from mmseg.models.losses import CrossEntropyLoss, accuracy
    from mmseg.models.utils import resize
    from mmseg.structures import SegDataSample

Samples = Sequence[SegDataSample]
Shared = Callable[..., Tensor]
"""(logits (b, C, H, W) and label (b, H, W) of this rank, ignore_index) -> the loss of all ranks."""


def join(model: nn.Module) -> None:
    """Make every decode head of the model take the losses of all ranks' samples."""
    for head in model.modules():
        if isinstance(head, BaseDecodeHead):
            shared = _shares(head)
            if shared is None:
                head.loss_by_feat = functools.partial(_whole, head.loss_by_feat)
            else:
                head.loss_by_feat = functools.partial(_parts, head, shared)


def _shares(head: BaseDecodeHead) -> list[tuple[str, Shared]] | None:
    """The head's losses, each with its name, as they are shared; None where one cannot be."""
    if type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat or head.sampler is not None:
        return None
    losses = head.loss_decode
    found = []
    for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
        share = _share(loss)
        if share is None:
            return None
        found.append((str(loss.loss_name), share))
    return found


def _share(loss: nn.Module) -> Shared | None:
    if type(loss) is CrossEntropyLoss:
        plain = not loss.use_sigmoid and not loss.use_mask and loss.class_weight is None
        if plain and loss.reduction == "mean" and loss.avg_non_ignore:
            return functools.partial(_mean, loss)
        return None
    beside = f"{type(loss).__module__}_ranks"
    if importlib.util.find_spec(beside) is None:
        return None
    shared: Shared | None = importlib.import_module(beside).over_ranks(loss)
    return shared


def _mean(loss: CrossEntropyLoss, logits: Tensor, label: Tensor, ignore_index: int) -> Tensor:
    number = ranks.total((label != ignore_index).sum()).item()
    return ranks.total(loss(logits, label, avg_factor=number, ignore_index=ignore_index))


def _parts(
    head: BaseDecodeHead, losses: list[tuple[str, Shared]], outputs: Tensor, samples: Samples
) -> dict[str, Tensor]:
    """As BaseDecodeHead.loss_by_feat, the losses shared."""
    label = torch.stack([sample.gt_sem_seg.data[0] for sample in samples])
    logits = resize(outputs, label.shape[1:], mode="bilinear", align_corners=head.align_corners)
    found: dict[str, Tensor] = {}
    for name, loss in losses:
        value = loss(logits, label, ignore_index=head.ignore_index)
        found[name] = found[name] + value if name in found else value
    with torch.no_grad():
        right = accuracy(logits, label, ignore_index=head.ignore_index)
        number = (label != head.ignore_index).sum()
        sums = ranks.total(torch.stack([right.double().squeeze() * number, number.double()]))
        found["acc_seg"] = (sums[0] / sums[1].clamp(min=1)).to(right.dtype).view_as(right)
    return found


def _whole(
    own: Callable[[Any, list[SegDataSample]], dict[str, Tensor]], outputs: Any, samples: Samples
) -> dict[str, Tensor]:
    """The head's own loss_by_feat, of the samples of all ranks."""
    maps = {
        name: ranks.whole(torch.stack([sample.get(name).data for sample in samples]))
        for name, value in samples[0].items()
        if isinstance(value, PixelData)
    }
    everything = [
        SegDataSample(**{name: PixelData(data=data[i]) for name, data in maps.items()})
        for i in range(len(next(iter(maps.values()))))
    ]
    return own(_joined(outputs), everything)


def _joined(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return ranks.joined(outputs)
    return type(outputs)(_joined(one) for one in outputs)
