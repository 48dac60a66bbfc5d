"""Rows of the geometry at one iteration of a training, from stored arrays. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from suite.define.metrics import MetricRow, subset
from tasks.vision.geometry import measures
from tasks.vision.geometry.rows import rows
from tasks.vision.geometry.stored import SETS, checked, split
from tasks.vision.per_class import row

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

TRACKED = (
    "top1",
    "nll",
    "nc1",
    "nc1_trace",
    "cdnv",
    "nc2_means",
    "nc2_weights",
    "equinorm",
    "equiangular",
    "max_cos",
    "nc3",
    "duality",
    "nc_bias",
    "nc4",
    "ncc_top1",
    "margin_min",
    "margin_q01",
    "margin_norm",
    "seli_weights",
    "seli_means",
)
"""What has a trajectory: 24 points of both splits stay below 1,000 rows."""


def tracked_rows(arrays: Mapping[str, Array], of: str, step: int) -> list[MetricRow]:
    """Rows of one look (`hook.collect`) at the split `of`, of the whole model and set, with `step` and `source` hook.

    Keys are those of the final model's rows, whose `top1` and `nll` of the test images have no subset. Raises RecordError
    for arrays of another form.
    """
    whole = split(arrays)[""]
    names = [str(c) for c in range(len(whole["counts"]))]
    (stored,) = (name for name, where in SETS.items() if where == of)
    plain = subset(split=of)
    found = [
        one
        for one in rows(stored, whole, names, {})
        if one.class_ is None and one.subset == plain and one.metric in TRACKED
    ]
    if of == "test":
        geometry = checked(whole, len(names))
        found += [row("top1", measures.top1(geometry)), row("nll", measures.nll(geometry))]
    return [msgspec.structs.replace(one, step=step, source="hook") for one in found]
