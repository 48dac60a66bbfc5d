"""The form in which a run's scores of a binary set are stored, and the way back.

Whatever is published of a run is computed from these arrays alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

STORED = "label (0 negative, 1 positive) and float32 logit of every image"


def store(score: Array, label: Array) -> dict[str, Array]:
    """The stored form of a prediction set: `label` (N,) uint8 and `score` (N,) float32.

    Args:
        score: (N,) floating, finite, the higher the more positive: logits. Probabilities would not do: of float32
            sigmoids those of all logits above 17 are 1.
        label: (N,) integers or bool, 0 negative and 1 positive; N >= 1.

    Raises RecordError for arrays of another form.
    """
    import numpy as np

    score, label = np.asarray(score), np.asarray(label)
    _check_labels(label, "labels")
    if score.dtype == np.float64:
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            score = score.astype(np.float32)
    _check_scores(score, len(label), "scores")
    return {"label": label.astype(np.uint8), "score": score.astype(np.float32)}


def checked(predictions: Mapping[str, Mapping[str, Array]], name: str) -> tuple[Array, Array]:
    """(label, score), (N,) each, of the stored set `name`: uint8 of 0 and 1, and finite floats.

    Raises RecordError where the set is not stored, or in another form.
    """
    import numpy as np

    if name not in predictions:
        raise RecordError(f"stored predictions hold no set {name!r}")
    arrays = predictions[name]
    for key in ("label", "score"):
        if key not in arrays:
            raise RecordError(f"stored set {name!r} holds no {key!r}; expected label, score")
    label, score = arrays["label"], arrays["score"]
    _check_labels(label, f"stored set {name!r}: labels")
    _check_scores(score, len(label), f"stored set {name!r}: scores")
    return label.astype(np.uint8), score


def _check_labels(label: Array, what: str) -> None:
    import numpy as np

    if label.ndim != 1 or label.dtype.kind not in "iub":
        raise RecordError(
            f"{what} are {label.dtype} of shape {label.shape}, expected integers of shape (N,)"
        )
    if not len(label):
        raise RecordError(f"{what} of no image: the prediction set is empty")
    bad = np.flatnonzero((label != 0) & (label != 1))
    if len(bad):
        raise RecordError(
            f"{what} hold {label[bad[0]]} (image {bad[0]}), expected 0 (negative) and 1 (positive)"
        )


def _check_scores(score: Array, images: int, what: str) -> None:
    import numpy as np

    if score.shape != (images,) or score.dtype.kind != "f":
        raise RecordError(
            f"{what} are {score.dtype} of shape {score.shape}, expected floats of shape ({images},)"
        )
    bad = np.flatnonzero(~np.isfinite(score))
    if len(bad):
        raise RecordError(
            f"{what} hold {score[bad[0]]} (image {bad[0]}; {len(bad)} of {images} are not finite)"
        )
