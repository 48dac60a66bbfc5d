"""Scores of `longtail-seg` from a run's stored sketches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.task import Predictions, Trained
from tasks.vision import groups
from tasks.vision.data import coco_stuff
from tasks.vision.groups import resolve_groups
from tasks.vision.per_class import group_rows, mean, row

if TYPE_CHECKING:
    import numpy as np

VERSION = 1


def settings(protocol: Protocol) -> dict[str, Any]:
    """Classes and their groups: what the scores depend on besides the predictions.

    Where the training pixels of a data set are known only from a copy, `groups` holds the tail and
    `head` the number of head classes: see `groups.resolve_groups`.
    """
    made = groups.settings(protocol.dataset)
    if protocol.dataset.name == coco_stuff.SPEC.name:
        made["head"] = coco_stuff.SPEC.head
    return made


def evaluate(
    predictions: Predictions, settings: Mapping[str, Any], trained: Trained
) -> list[MetricRow]:
    """Rows of every stored prediction set; those of sets other than `test` carry `split=NAME`.

    Expects per set `confusion` (N, C, C), pixels per image by (true, predicted) class, or its sparse
    form (`margins`), and the arrays `auc_*` of a `PixelAUC`. A class without test pixels is undefined
    (null) and left out of means. Raises RecordError for arrays of another form.
    """
    settings = {**settings, "groups": resolve_groups(settings, trained.class_counts)}
    rows: list[MetricRow] = []
    for name, arrays in predictions.items():
        split = {} if name == "test" else {"split": name}
        rows += _confusion_rows(_confusion(arrays, len(settings["classes"])), settings, split)
        rows += _auc_rows(arrays, settings, split)
    return rows


def confusion(
    predictions: Predictions, settings: Mapping[str, Any], trained: Trained
) -> np.ndarray:
    """Labelled test pixels by (true, predicted) class, (C, C) int64, summed over the images.

    Raises RecordError where no set `test` is stored, or of another form.
    """
    return _confusion(predictions.get("test", {}), len(settings["classes"]))


SPARSE = ("confusion_cells", "confusion_pixels", "confusion_images")
"""Names of the arrays of a sparse confusion, see `sparse_confusion`."""


def sparse_confusion(
    arrays: Mapping[str, np.ndarray], classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(image, cell, pixels) of every cell of an image's confusion that holds a pixel, int64 (M,) each,
    and so the whole (N, C, C); None where the arrays hold no sparse confusion.

    A picture shows a few classes: of 150 x 150 cells about a hundred are not empty. Stored are
    `confusion_cells` (M,), true * C + predicted; `confusion_pixels` (M,), above 0; and
    `confusion_images` (N,), how many cells are each image's, image by image. Raises RecordError for
    arrays of another form.
    """
    import numpy as np

    if SPARSE[0] not in arrays:
        return None
    found = []
    for name in SPARSE:
        array = arrays.get(name)
        if array is None or array.ndim != 1 or array.dtype.kind not in "iu":
            raise RecordError(f"stored predictions hold no integers (M,) as {name}")
        found.append(array.astype(np.int64))
    cells, pixels, images = found
    # none can be negative, and sums of 2^44 pixels do not overflow
    sound = len(cells) == len(pixels) and all((a >= 0).all() and (a < 2**44).all() for a in found)
    if not sound or int(images.sum()) != len(cells) or (cells >= classes**2).any():
        raise RecordError("stored sparse confusion is not one of the test images' classes")
    return np.repeat(np.arange(len(images)), images), cells, pixels


def margins(
    arrays: Mapping[str, np.ndarray], classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true, predicted, right) pixels per image and class, int64 (N, C) each. Raises RecordError for
    arrays of another form, or of no image."""
    import numpy as np

    sparse = sparse_confusion(arrays, classes)
    if sparse is None:
        whole = _dense_confusion(arrays, classes)
        found = (
            whole.sum(axis=2, dtype=np.int64),
            whole.sum(axis=1, dtype=np.int64),
            np.diagonal(whole, axis1=1, axis2=2).astype(np.int64),
        )
    else:
        image, cell, pixels = sparse
        count = len(arrays["confusion_images"])
        true, predicted = np.divmod(cell, classes)
        right = true == predicted

        def summed(of: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
            made = np.zeros((count, classes), np.int64)
            np.add.at(made, (image[chosen], of[chosen]), pixels[chosen])
            return made

        found = summed(true), summed(predicted), summed(true, right)
    if not len(found[0]):
        raise RecordError("stored confusion is of no image")
    return found


def _confusion(arrays: Mapping[str, np.ndarray], classes: int) -> np.ndarray:
    import numpy as np

    sparse = sparse_confusion(arrays, classes)
    if sparse is not None:
        flat = np.zeros(classes**2, np.int64)
        np.add.at(flat, sparse[1], sparse[2])
        return flat.reshape(classes, classes)
    total: np.ndarray = _dense_confusion(arrays, classes).sum(axis=0, dtype=np.int64)
    return total


def _dense_confusion(arrays: Mapping[str, np.ndarray], classes: int) -> np.ndarray:
    confusion = arrays.get("confusion")
    if confusion is None or confusion.ndim != 3 or confusion.shape[1:] != (classes, classes):
        raise RecordError(
            f"stored predictions hold no confusion of shape (N, {classes}, {classes})"
        )
    if confusion.dtype.kind not in "iu" or (confusion.size and confusion.min() < 0):
        raise RecordError("stored confusion holds something other than counts")
    return confusion


def _confusion_rows(
    total: np.ndarray, settings: Mapping[str, Any], split: Mapping[str, str]
) -> list[MetricRow]:
    import numpy as np

    true, predicted, hit = total.sum(1), total.sum(0), np.diag(total)
    # a class that is not in the test set has no score, even where it is predicted: what that costs
    # shows in the union of the classes it was taken from
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.where(true > 0, hit / (true + predicted - hit), np.nan)
        recall = np.where(true > 0, hit / true, np.nan)
    rows = []
    everything = {"": list(range(len(true))), **settings["groups"]}
    for group, members in everything.items():
        where = {**split, "group": group} if group else split
        pixels = true[members].sum()
        accuracy = hit[members].sum() / pixels if pixels else None
        rows += [
            row("mIoU", mean(iou[members]), where),
            row("mAcc", mean(recall[members]), where),
            row("aAcc", accuracy, where),
        ]
    worst = np.nanmin(iou) if np.isfinite(iou).any() else None
    rows.append(row("worst_IoU", worst, split))
    for c, name in enumerate(settings["classes"]):
        rows += [row("IoU", iou[c], split, name), row("Acc", recall[c], split, name)]
    return rows


def _auc_rows(
    arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any], split: Mapping[str, str]
) -> list[MetricRow]:
    from tasks.longtail_seg.pixel_auc import PixelAUC

    state = {key.removeprefix("auc_"): a for key, a in arrays.items() if key.startswith("auc_")}
    try:
        sketch = PixelAUC.from_state(state)
    except ValueError as error:
        raise RecordError(f"stored predictions: {error}") from None
    classes = len(settings["classes"])
    if sketch.num_classes != classes:
        raise RecordError(f"stored pixel AUC is of {sketch.num_classes} classes, not {classes}")
    result = sketch.compute()
    # of a group: pairs whose first class, the one that should score higher, is in it
    return [
        row("pixel_auc", result.value, split),
        row("pixel_auc_error", result.error_bound, split),
        *group_rows("pixel_auc", result.per_pair, settings["groups"], split),
    ]
