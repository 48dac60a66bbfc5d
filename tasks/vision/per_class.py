"""Scores class by class, the metric rows of classes and groups, and a bootstrap over test images.

A class without test images has no score (NaN), and is left out of means. Pure numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from suite.define.metrics import MetricRow, subset
from suite.define.task import Predictions, Trained
from tasks.vision.groups import resolve_groups
from tasks.vision.predicted import predict

if TYPE_CHECKING:
    import numpy as np

    from suite.stats.bootstrap import Units

    Array = np.ndarray[Any, np.dtype[Any]]


def recalls(label: Array, predicted: Array, classes: int) -> Array:
    """Recall of each class, (C,) float64 in [0, 1], NaN for a class without samples.

    `label` and `predicted` are (N,) integer classes 0..C-1.
    """
    import numpy as np

    total = np.bincount(label, minlength=classes)
    hit = np.bincount(label[predicted == label], minlength=classes)
    with np.errstate(invalid="ignore"):
        recall: Array = hit / total
    return recall


def mean(values: Array) -> float | None:
    """Over what is not NaN; None where nothing is."""
    import numpy as np

    return float(np.nanmean(values)) if np.isfinite(values).any() else None


# -- metric rows


def row(
    metric: str, value: Any, where: Mapping[str, str] | None = None, class_: str | None = None
) -> MetricRow:
    """A row of the subset `where`; its value is null where it is None, NaN or infinite."""
    import numpy as np

    known = value is not None and np.isfinite(value)
    return MetricRow(
        metric=metric,
        subset=subset(**(where or {})),
        class_=class_,
        value=float(value) if known else None,
    )


def class_rows(
    metric: str, values: Array, names: Sequence[str], where: Mapping[str, str] | None = None
) -> list[MetricRow]:
    """A row for each class, of `values` (C,)."""
    return [row(metric, values[c], where, name) for c, name in enumerate(names)]


def group_rows(
    metric: str,
    values: Array,
    members: Mapping[str, Sequence[int]],
    where: Mapping[str, str] | None = None,
) -> list[MetricRow]:
    """A row for each group: the mean of `values` over its classes, the first axis."""
    return [
        row(metric, mean(values[list(ids)]), {**(where or {}), "group": group})
        for group, ids in members.items()
    ]


# -- what classification tasks offer of their runs


def confusion(predictions: Predictions, settings: Mapping[str, Any], trained: Trained) -> Array:
    """Test images by (true, predicted) class, (C, C) int64, of the scores whose rows carry no
    `scores=unadapted`. Raises RecordError as `predict` does, and where no set `test` is stored."""
    import numpy as np

    classes = len(settings["classes"])
    label, predicted = predict(predictions, classes, trained)
    counts = np.bincount(label * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64)


def units(predictions: Predictions, settings: Mapping[str, Any], trained: Trained) -> Units:
    """Test images; keys `top1`, `balanced_accuracy`, `worst_class` and `top1[group=...]`.

    A class that a resample does not hold is left out of its means, as one without test images is.
    Scores that adapt to the test set are made once, of the whole one: a resample
    weights its images and is no new set to adapt to. Raises RecordError as `predict` does, and where
    no set `test` is stored.
    """
    import numpy as np

    from suite.stats.bootstrap import Units

    classes = len(settings["classes"])
    label, predicted = predict(predictions, classes, trained)
    members = resolve_groups(settings, trained.class_counts)
    # all that the scores need of an image: its class, and whether it is right
    cell = 2 * label + (predicted == label)
    present = np.bincount(label, minlength=classes) > 0

    def score(weights: Array) -> dict[str, Array]:
        # O(N) a resample whatever the number of classes, and exact
        mass = np.stack([np.bincount(cell, one, 2 * classes) for one in np.asarray(weights)])
        wrong, hit = mass[:, ::2], mass[:, 1::2]
        total = wrong + hit
        with np.errstate(divide="ignore", invalid="ignore"):
            recall = hit / total
            overall = hit.sum(axis=1) / total.sum(axis=1)
        seen = recall[:, present]
        found = {
            "balanced_accuracy": row_means(seen),
            "top1": overall,
            "worst_class": row_minima(seen),
        }
        for group, ids in members.items():
            found[f"top1[group={group}]"] = row_means(recall[:, ids])
        return found

    return Units(count=len(label), score=score, digest=label_digest(label))


OFFERS: Mapping[str, Any] = {"units": units, "confusion": confusion, "groups": resolve_groups}
"""`Task.offers` of a classification task on stored logits."""


def label_digest(label: Array) -> str:
    """SHA-256 (hex) of integer labels, in their order: what test units are."""
    return hashlib.sha256(label.astype("<i8").tobytes()).hexdigest()


def row_means(values: Array) -> Array:
    """(R,) means of (R, K) over what is not NaN; NaN where nothing is. Sums as `numpy.nanmean`."""
    import numpy as np

    known = ~np.isnan(values)
    # contiguous, so that the order of summation is that of one row
    filled = np.ascontiguousarray(np.where(known, values, 0.0))
    with np.errstate(invalid="ignore"):
        means: Array = filled.sum(axis=1) / known.sum(axis=1)
    return means


def row_minima(values: Array) -> Array:
    """(R,) minima of (R, K) over what is not NaN; NaN where nothing is."""
    import numpy as np

    lowest = np.where(np.isnan(values), np.inf, values).min(axis=1, initial=np.inf)
    return np.where(np.isinf(lowest), np.nan, lowest)
