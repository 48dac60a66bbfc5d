"""The class frequencies of the training data as a prior."""

from collections.abc import Sequence

import torch
from torch import Tensor


def log_prior(class_counts: Sequence[float]) -> Tensor:
    """log of the training share of each class, float32 (C,).

    A class absent from training has no log prior; it counts as one sample, which keeps it finite.
    """
    counts = torch.tensor(list(class_counts), dtype=torch.float64).clamp(min=1)
    return (counts / counts.sum()).log().float()
