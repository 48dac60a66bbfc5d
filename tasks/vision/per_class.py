"""Scores of `longtail-cls` on resamples of the test images, for a bootstrap over them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.define.task import Predictions, Trained, Units
from tasks.longtail_cls.evaluation import predict, resolve_groups

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def units(predictions: Predictions, settings: Mapping[str, Any], trained: Trained) -> Units:
    """Test images; keys `top1`, `balanced_accuracy`, `worst_class` and `top1[group=...]`.

    A class that a resample does not hold is left out of its means, as `evaluate` leaves out a class
    without test images. Scores that adapt to the test set are made once, of the whole one: a resample
    weights its images and is no new set to adapt to. Raises RecordError as `evaluate` does, and where
    no set `test` is stored.
    """
    import numpy as np

    classes = len(settings["classes"])
    label, predicted = predict(predictions, classes, trained)
    members = resolve_groups(settings, trained.class_counts)
    # all that the scores need of an image: its class, and whether it is right
    cell = 2 * label + (predicted == label)
    present = np.bincount(label, minlength=classes) > 0

    def score(weights: Array) -> dict[str, Array]:
        # O(N) a resample whatever the number of classes, and exact
        mass = np.stack([np.bincount(cell, row, 2 * classes) for row in np.asarray(weights)])
        wrong, hit = mass[:, ::2], mass[:, 1::2]
        total = wrong + hit
        with np.errstate(divide="ignore", invalid="ignore"):
            recall = hit / total
            overall = hit.sum(axis=1) / total.sum(axis=1)
        seen = np.ascontiguousarray(recall[:, present])
        found = {
            "balanced_accuracy": row_means(seen),
            "top1": overall,
            "worst_class": _row_minima(seen),
        }
        for group, ids in members.items():
            found[f"top1[group={group}]"] = row_means(np.ascontiguousarray(recall[:, ids]))
        return found

    digest = hashlib.sha256(label.astype("<i8").tobytes()).hexdigest()
    return Units(count=len(label), score=score, digest=digest)


def row_means(values: Array) -> Array:
    """(R,) means of (R, K) over what is not NaN; NaN where nothing is. Sums as `numpy.nanmean`."""
    import numpy as np

    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Array = np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)
    return means


def _row_minima(values: Array) -> Array:
    import numpy as np

    lowest = np.where(np.isnan(values), np.inf, values).min(axis=1, initial=np.inf)
    return np.where(np.isinf(lowest), np.nan, lowest)
