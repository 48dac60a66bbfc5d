"""Rows of the geometry at one iteration of a training, from stored arrays. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from suite.define.metrics import MetricRow
from tasks.vision.per_class import row

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def tracked_rows(arrays: Mapping[str, Array], split: str, step: int) -> list[MetricRow]:
    """Rows of one look (`hook.collect`) at a split, of the whole of it, with `step` and `source` hook.

    Keys are those of the final model's rows: `top1` and `nll` of test images are without a subset.
    """
    found = score_rows(arrays, {} if split == "test" else {"split": split})
    return [msgspec.structs.replace(one, step=step, source="hook") for one in found]


def score_rows(arrays: Mapping[str, Array], where: Mapping[str, str]) -> list[MetricRow]:
    """`top1`, where a tie is no hit, and `nll` (nats) over all images."""
    import numpy as np

    counts, loss = arrays["counts"], arrays["nll"]
    seen = counts > 0
    return [
        row("top1", arrays["correct"].sum() / counts.sum(), where),
        row("nll", np.average(loss[seen], weights=counts[seen]), where),
    ]
