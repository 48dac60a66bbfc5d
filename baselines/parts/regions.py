"""What losses over regions share: the maps of the classes, and the mean over those in the batch."""

import torch.nn.functional as F
from torch import Tensor


def class_maps(scores: Tensor, label: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """(p, g), both (B, C, H, W) and 0 where the label is ignored: the softmax of logits `scores`
    (B, C, H, W), and ids `label` (B, H, W) as one-hot."""
    valid = label != ignore_index
    share = scores.softmax(dim=1) * valid.unsqueeze(1)
    classes = scores.shape[1]
    index = label.where(valid, classes)
    truth = F.one_hot(index, classes + 1)[..., :classes].movedim(-1, 1).to(share.dtype)
    return share, truth


def mean_miss(score: Tensor, pixels: Tensor) -> Tensor:
    """1 - score, averaged over the classes with pixels in the batch; both (C,)."""
    present = pixels > 0
    return ((1 - score) * present).sum() / present.sum().clamp(min=1)
