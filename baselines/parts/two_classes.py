"""What losses of a positive and a negative class share: the two parts of a batch."""

from __future__ import annotations

from torch import Tensor

from suite.base.errors import UserError


def same_column(scores: Tensor, label: Tensor) -> None:
    """Raise ValueError where broadcasting would make a loss of something else than (B, 1) and (B, 1)."""
    if scores.shape != (len(scores), 1) or label.shape != scores.shape:
        raise ValueError(
            f"scores are {tuple(scores.shape)} and labels {tuple(label.shape)}, expected (B, 1) both"
        )


def is_positive(scores: Tensor, label: Tensor, method: str) -> Tensor:
    """Which samples are positive, bool (B,), from logits and labels of 0 and 1, both (B, 1).

    Raises UserError where one class has no sample: a mean over none would silently teach nothing.
    """
    same_column(scores, label)
    positive = label[:, 0] > 0.5
    count = int(positive.sum())
    if not 0 < count < len(positive):
        missing = "negative" if count else "positive"
        raise UserError(
            f"{method}: a batch of {len(positive)} has no {missing} sample, and the loss needs both classes; "
            "train under a protocol of robust-auc, whose batches hold both, or with a larger batch"
        )
    return positive
