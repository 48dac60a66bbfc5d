"""From a classifier's stored logits to the scores and classes that count: its largest logit, or what the
method's own inference makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from suite.define.task import Predictions, Trained
from tasks.vision.stored import blocks, check_scores, checked, plain, restore

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

VIEW = "view="
"""Prediction sets so named hold views of the test images: the test set under random augmentation."""


def predict(predictions: Predictions, classes: int, trained: Trained) -> tuple[Array, Array]:
    """(label, predicted class), (N,) each, int64, of the set `test`: by the method's own inference where
    it brings one, else by the largest stored score, of equal ones the lower class.

    Raises RecordError where the set is not stored, or in no stored form.
    """
    import numpy as np

    if "test" not in predictions:
        raise RecordError("stored predictions hold no set 'test'")
    arrays = predictions["test"]
    label, capped = checked(arrays, classes)
    if trained.infer is not None:
        scores = inferred(predictions, trained, restore(arrays, classes), label)
        return label, scores.argmax(axis=1)
    predicted = np.empty(len(label), np.int64)
    for rows in blocks(len(label), classes):
        # rows of a stored set are a stored set; dense, a capped one may not fit into memory
        part = restore({key: array[rows] for key, array in arrays.items()}, classes)
        scores = plain(part.astype(np.float64) if capped else part)
        predicted[rows] = scores.argmax(axis=1)
    return label, predicted


def inferred(predictions: Predictions, trained: Trained, logits: Array, label: Array) -> Array:
    """Scores (N, C) by the method's inference on a whole set, of which it is told the label distribution;
    where it adapts, to the stored views. `logits` and `label` are the set's. Raises as `adapted`."""
    import numpy as np

    classes = logits.shape[-1]
    views = restore_views(predictions, label, classes) if trained.adapts else None
    prior = np.bincount(label, minlength=classes) / len(label)
    return adapted(trained, logits, prior, views)


def adapted(trained: Trained, logits: Array, prior: Array, views: Array | None) -> Array:
    """Scores (N, C) that the method's inference makes of stored `logits`, (N, C) or (N, E, C) of experts.

    `prior` (C,) is the label distribution that it is told, if it asks; `views` (V, M, C) or (V, M, E, C)
    the logits of V views of unlabelled test images, if it adapts to them. The method is given the experts
    first: (E, N, C) and (E, V, M, C). Raises RecordError for scores of another shape or not finite.
    """
    import numpy as np

    assert trained.infer is not None
    shape = logits.shape[0], logits.shape[-1]
    # a copy: it may be worked on in place
    arrays = {"logits": np.moveaxis(logits, -2, 0).copy() if logits.ndim == 3 else logits.copy()}
    unlabelled = None
    if views is not None:
        unlabelled = {"logits": np.moveaxis(views, -2, 0) if views.ndim == 4 else views}
    scores = np.asarray(trained.infer(arrays, prior=prior, unlabelled=unlabelled))
    check_scores(scores, shape, "scores that the method's infer() returned")
    return scores


def restore_views(predictions: Predictions, label: Array, classes: int) -> Array:
    """Logits of all stored views of the test images, (V, N, C) or (V, N, E, C).

    `label` (N,) is that of the test images. Raises RecordError if there is none, for other images, and for
    logits of another shape than those of the test set.
    """
    import numpy as np

    names = sorted((n for n in predictions if n.startswith(VIEW)), key=lambda n: (len(n), n))
    if not names:
        raise RecordError("no views of the test images are stored, to which the method adapts")
    for name in names:
        if not np.array_equal(checked(predictions[name], classes)[0], label):
            raise RecordError(f"stored set {name!r} is of other images than the test set")
    views = [restore(predictions[name], classes) for name in names]
    wanted = (
        restore(predictions["test"], classes).shape if "test" in predictions else views[0].shape
    )
    for name, view in zip(names, views, strict=True):
        if view.shape != wanted:
            raise RecordError(
                f"stored set {name!r} holds logits of shape {view.shape}, the test set of {wanted}"
            )
    return np.stack(views)
