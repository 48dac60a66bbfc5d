"""What losses of several labels a sample share: relevant labels gathered, sums over pairs in bounded memory, K.

B samples, L labels, N+ relevant and N- irrelevant labels of a sample, M relevant (sample, label) places of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from suite.base.errors import UserError

PAIRS = 2**22
"""(relevant place, label) pairs that are in memory at a time: 16 MiB in float32. More are no faster."""


class Relevant(NamedTuple):
    """The relevant labels of a batch, one after another and not padded: a row of many costs the others nothing.

    Attributes:
        mask: bool (B, L).
        rows, labels: int64 (M,), sorted by row.
        counts: N+ of each row, int64 (B,).
    """

    mask: Tensor
    rows: Tensor
    labels: Tensor
    counts: Tensor


def relevant(targets: Tensor) -> Relevant:
    """From targets (B, L) of 0 and 1, of any type."""
    mask = targets if targets.dtype == torch.bool else targets > 0
    rows, labels = mask.nonzero(as_tuple=True)
    return Relevant(mask, rows, labels, torch.bincount(rows, minlength=len(mask)))


def over_pairs(term: Callable[[Tensor], Tensor], scores: Tensor, found: Relevant) -> Tensor:
    """Sum over a sample's relevant labels i of term(z_j - z_i over its irrelevant labels j), (B,).

    Never more than `PAIRS` differences are in memory, or one relevant label's L; of more, each block is computed
    again for its gradient.

    Args:
        term: differences (m, L) -> (m,). Where j is relevant itself the difference is -inf: the term must be 0
            there, with gradient 0.
        scores: logits (B, L).
    """
    size, width = scores.shape
    # a sample that all labels fit has no pair
    has_pair = found.counts[found.rows] < width
    rows, labels = found.rows[has_pair], found.labels[has_pair]
    own = scores[rows, labels]
    rivals = scores.masked_fill(found.mask, -torch.inf)

    def block(rivals: Tensor, rows: Tensor, own: Tensor) -> Tensor:
        # index_select: its gradient is an index_add, much faster on CPUs than that of rivals[rows]
        return term(rivals.index_select(0, rows) - own[:, None])

    step = max(1, PAIRS // width)
    if len(rows) <= step:
        sums = block(rivals, rows, own)
    else:
        parts = []
        for at in range(0, len(rows), step):
            part = rivals, rows[at : at + step], own[at : at + step]
            parts.append(checkpoint(block, *part, use_reentrant=False, preserve_rng_state=False))
        sums = torch.cat(parts)
    return scores.new_zeros(size).index_add(0, rows, sums)


def whole_k(cfg: Any, facts: Any, k: float | None, name: str, spare: int = 0) -> int:
    """K of a loss: the parameter's value, or the protocol's where that is None.

    Raises UserError where it is no whole number, or leaves less than `spare` of the protocol's labels.
    """
    value = cfg.test_evaluator["k"] if k is None else k
    most = facts.num_classes - spare
    if value != int(value) or not 1 <= value <= most:
        labels = f"the protocol has {facts.num_classes} label{'s' * (facts.num_classes > 1)}"
        if most < 1:
            raise UserError(f"{name}={value:g}: {labels}, which leaves no K to choose; use `bce`")
        raise UserError(
            f"{name}={value:g}: {labels}; set {name} to a whole number from 1 to {most}"
        )
    return int(value)
