"""Scores of `longtail-cls` on resamples of the test images, for a bootstrap over them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.errors import RecordError
from suite.task import Predictions, Trained, Units
from tasks.longtail_cls.evaluation import adapted, resolve_groups, restore_views
from tasks.longtail_cls.stored import blocks, checked, plain, restore

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

    if "test" not in predictions:
        raise RecordError("stored predictions hold no set 'test'")
    classes = len(settings["classes"])
    members = resolve_groups(settings, trained.class_counts)
    label, predicted = _predicted(predictions, classes, trained)
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


def _predicted(predictions: Predictions, classes: int, trained: Trained) -> tuple[Array, Array]:
    """(label, predicted class), (N,) each, of the scores whose rows carry no `scores=unadapted`."""
    import numpy as np

    arrays = predictions["test"]
    label, capped = checked(arrays, classes)
    if trained.infer is not None:
        logits = restore(arrays, classes)
        prior = np.bincount(label, minlength=classes) / len(label)
        views = restore_views(predictions, label, classes) if trained.adapts else None
        return label, adapted(trained, logits, prior, views).argmax(axis=1)
    predicted = np.empty(len(label), np.int64)
    for rows in blocks(len(label), classes):
        # rows of a stored set are a stored set; dense, a capped one may not fit into memory
        part = restore({key: array[rows] for key, array in arrays.items()}, classes)
        scores = plain(part.astype(np.float64) if capped else part)
        predicted[rows] = scores.argmax(axis=1)
    return label, predicted
