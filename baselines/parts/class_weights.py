"""Weights of the classes from their counts, and the mean under them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def class_weights(counts: Sequence[float], scheme: str, beta: float) -> list[float]:
    """Weight per class from pixels per class, mean 1 over the classes present.

    `inverse`: 1/n. `effective`: (1 - beta)/(1 - beta^n), equation (2) of the paper inverted;
    beta 0 gives equal weights and beta -> 1 inverse frequency. A class without a pixel gets 0: no
    training pixel can use it.
    """
    if scheme == "inverse":
        raw = [1 / n if n > 0 else 0.0 for n in counts]
    elif scheme == "effective":
        # expm1 and log1p: beta^n is close to 1 for rare classes.
        log_beta = math.log1p(beta - 1) if beta > 0 else -math.inf
        raw = [-(1 - beta) / math.expm1(n * log_beta) if n > 0 else 0.0 for n in counts]
    else:
        raise ValueError(f"scheme is {scheme!r}, expected 'inverse' or 'effective'")
    present = [w for w in raw if w > 0]
    if not present:
        raise ValueError("no class has a training pixel")
    mean = sum(present) / len(present)
    return [w / mean for w in raw]


def weighted_mean(
    loss: Tensor,
    label: Tensor,
    class_weight: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Sum of w_y * loss over labelled samples, divided by the sum of their w_y; `weight` comes on top.

    `loss`, `label` and `weight` are of one shape; `class_weight` is (C,).
    """
    valid = label != ignore_index
    share = class_weight[label.where(valid, 0)] * valid
    if weight is not None:
        loss = loss * weight
    # The clamp keeps a batch without any label finite.
    return (loss * share).sum() / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
