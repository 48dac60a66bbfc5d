"""Measures of each label over the samples, also under weights of samples (a bootstrap). Numpy, and sparse matrices for
the weights; no loop over samples.

What is said of a label that no sample shows is NaN, and left out of means.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from tasks.multilabel.measures import blocks_of, check_arrays

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_WEIGHTS = 1 << 22  # weights of resamples turned at a time


def class_average_precision(scores: Array, labels: Array, weights: Array | None = None) -> Array:
    """AP of each label over the samples, (L,) float64 in [0, 1], or (R, L) under `weights` (R, N) of samples, >= 0.

    AP = sum_n (R_n - R_{n-1}) P_n over the distinct scores of a label's samples, from the largest on: equal scores are
    reached together, so no order among them counts (as scikit-learn's `average_precision_score` has it). NaN for a
    label that no sample shows, under weights none of weight above 0. `scores` and `labels` as `measures.ranks` takes
    them. Time O(N L log N), and O(R N L) under weights; memory O(N), and O(N L) under weights. Raises RecordError
    for arrays of another form and for NaN.
    """
    import numpy as np

    check_arrays(scores, labels)
    shown = np.flatnonzero(labels.any(axis=0)).tolist()
    if weights is None:
        values = np.full(labels.shape[1], np.nan)
        for c in shown:
            values[c] = _area(*_reached(scores[:, c], labels[:, c]))[0]
        return values
    values = np.full((len(weights), labels.shape[1]), np.nan)
    cuts = [_Cuts(scores[:, c], labels[:, c]) for c in shown]
    for some, mass in _transposed(weights, len(labels)):
        for c, cut in zip(shown, cuts, strict=True):
            values[some, c] = _area(*cut.reached(mass))
    return values


def class_f1(scores: Array, labels: Array, weights: Array | None = None) -> Array:
    """F1 of each label where a label is called present from probability .5 on: logit >= 0. Else as
    `class_average_precision`.

    2 TP / (2 TP + FP + FN); NaN for a label that no sample shows, as its AP: what is called there is held against
    nothing.
    """
    import numpy as np

    check_arrays(scores, labels)
    called = scores >= 0
    if weights is None:
        total, shown = called.sum(axis=0) + labels.sum(axis=0), labels.any(axis=0)
        right = (called & labels).sum(axis=0)
        return np.where(shown, 2 * right / np.maximum(total, 1), np.nan)
    from scipy.sparse import csr_matrix

    values = np.empty((len(weights), labels.shape[1]))
    present, predicted, both = (csr_matrix(one.T) for one in (labels, called, called & labels))
    for some, mass in _transposed(weights, len(labels)):
        own = (present @ mass).astype(np.float64)
        total = predicted @ mass + own
        right = 2 * (both @ mass).astype(np.float64)
        with np.errstate(invalid="ignore"):
            values[some] = np.where(own > 0, right / total, np.nan).T
    return values


class _Cuts:
    """One label's samples between the distinct scores of those that show it, for sums under weights."""

    def __init__(self, scores: Array, own: Array) -> None:
        import numpy as np

        levels = np.unique(scores[own])
        # the first level that a sample reaches, from the largest on
        first = len(levels) - np.searchsorted(levels, scores, side="right")
        self._every = _groups(first, np.flatnonzero(first < len(levels)), len(levels))
        self._own = _groups(first, np.flatnonzero(own), len(levels))

    def reached(self, mass: Array) -> tuple[Array, Array]:
        """As `_reached`, (U, r) each, under weights `mass` (N, r)."""
        import numpy as np

        return self._own @ mass, np.cumsum(self._every @ mass, axis=0)


def _groups(first: Array, chosen: Array, levels: int) -> Any:
    """Matrix (U, N) of 0 and 1: which of the `chosen` samples reach the u-th level first."""
    import numpy as np
    from scipy.sparse import csr_matrix

    inside = first[chosen]
    ends = np.cumsum(np.bincount(inside, minlength=levels))
    samples = chosen[np.argsort(inside, kind="stable")].astype(np.int32)
    ones = np.ones(len(samples), bool)
    return csr_matrix((ones, samples, np.append(0, ends)), shape=(levels, len(first)))


def _reached(scores: Array, own: Array) -> tuple[Array, Array]:
    """(how many of the label's samples have each distinct score of theirs, how many samples at least this score),
    (U, 1) each, in descending scores."""
    import numpy as np

    levels, hit = np.unique(scores[own], return_counts=True)
    # counted by sorted values alone, which is several times faster than sorting places
    every = len(scores) - np.searchsorted(np.sort(scores), levels, side="left")
    return hit[::-1, None], every[::-1, None]


def _area(hit: Array, every: Array) -> Array:
    """AP (r,) from masses (U, r), see `_reached`; NaN where `hit` is nothing."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        # 0 / 1 where no mass is reached
        reached = every + (every == 0)
        precision = np.divide(np.cumsum(hit, axis=0), reached, dtype=np.float64)
        area: Array = np.einsum("ur,ur->r", hit.astype(np.float64), precision) / hit.sum(axis=0)
    return area


def _transposed(weights: Array, samples: int) -> Iterator[tuple[slice, Array]]:
    """Some resamples at a time: (which, their weights (N, r)); float32 where its sums are exact."""
    import numpy as np

    if weights.ndim != 2 or weights.shape[1] != samples or weights.dtype.kind not in "uif":
        raise RecordError(
            f"weights are {weights.dtype} of shape {weights.shape}, expected numbers of shape (R, {samples})"
        )
    if not weights.min(initial=0) >= 0:  # NaN too
        raise RecordError("weights of samples are below 0 or not a number")
    whole = weights.dtype.kind in "ui" and weights.sum(axis=1).max(initial=0) < 1 << 24
    for some in blocks_of(len(weights), samples, _WEIGHTS):
        yield some, np.ascontiguousarray(weights[some].T, np.float32 if whole else np.float64)
