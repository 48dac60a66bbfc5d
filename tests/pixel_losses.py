"""Pixels for losses of segmentation: scores, labels and class counts."""

import pytest
import torch
import torch.nn.functional as F

IGNORED = -100
COUNTS = [900.0, 90.0, 9.0, 1.0]
TOY = torch.tensor([2.0, 1.0, 0.1]).view(1, 3, 1, 1)
"""Scores of one pixel."""


@pytest.fixture
def batch():
    """Logits (2, 4, 5, 6) and labels with a fifth of the pixels ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 6, generator=generator)
    label = torch.randint(0, 4, (2, 5, 6), generator=generator)
    label[:, 0] = IGNORED
    return logits, label


def cross_entropy(logits, label, **kwargs):
    return F.cross_entropy(logits, label, ignore_index=IGNORED, **kwargs)
