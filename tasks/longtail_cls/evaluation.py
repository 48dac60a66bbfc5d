"""Scores of `longtail-cls` from a run's stored logits.

Group scores are unweighted means over the group's classes of per-class values, classes without a
test image left out (OLTR, Liu et al., CVPR 2019; LDAM, Cao et al., NeurIPS 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec

from suite.base.errors import RecordError
from suite.define.metrics import MetricRow, subset
from suite.define.protocol import Protocol
from suite.define.task import Predictions, Trained
from tasks.vision import groups
from tasks.vision.geometry import rows as geometry_rows
from tasks.vision.geometry import stored as geometry
from tasks.vision.groups import resolve_groups
from tasks.vision.per_class import class_rows, mean, recalls, row
from tasks.vision.predicted import VIEW, inferred
from tasks.vision.stored import blocks, checked, normaliser, plain, restore

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1
ECE_BINS = 15


def settings(protocol: Protocol) -> dict[str, Any]:
    """Classes and their groups: what the scores depend on besides predictions and run."""
    return groups.settings(protocol.dataset)


def evaluate(
    predictions: Predictions, settings: Mapping[str, Any], trained: Trained
) -> list[MetricRow]:
    """Rows of every stored prediction set; those of sets other than `test` carry `split=NAME`.

    The set `sharpness` holds no predictions; its rows are of the training loss, `split=train`. Nor do `collapse` and
    `collapse=test`, which hold the geometry of the last layer (`tasks.vision.geometry.rows`); the network's own `top1`
    and `nll` of the training images are told where no set `train` tells them. Views of the test images have no
    rows: they are what methods adapt to.

    Where the method brings its own inference, the rows are those of the scores it makes of the stored
    logits, read as logits themselves; the rows of the stored ones (of experts: their mean) carry
    `scores=unadapted`. It is told the label distribution of the set, and is given the set's views; sets
    other than `test` have none, and a method that needs them is scored un-adapted there.
    Of a capped set `auc_ovo` is left out, and so is, as null, what needs the dropped classes: `nll`
    if a true class was dropped, `ece` and `nll` of adapted scores. Null is whatever is undefined,
    for want of test samples, or infinite. Raises RecordError for arrays in no stored form and for
    adapted scores of another shape or not finite.
    """
    members = resolve_groups(settings, trained.class_counts)
    names = settings["classes"]
    rows: list[MetricRow] = []
    for name, arrays in predictions.items():
        if name == "sharpness":
            rows += _curvature(arrays, members)
            continue
        if name in geometry.SETS:
            rows += _geometry(name, arrays, names, members, trained, "train" in predictions)
            continue
        if name.startswith(VIEW):
            continue
        where = {} if name == "test" else {"split": name}
        label, capped = checked(arrays, len(names))
        logits = None if capped and trained.infer is None else restore(arrays, len(names))
        stored = (
            _scored_capped(arrays, label)
            if capped
            else _scored(plain(cast("Array", logits)), label)
        )
        if trained.infer is None or logits is None:
            rows += _rows(stored, names, members, where)
            continue
        if name == "test" or not trained.adapts:
            scores = inferred(predictions, trained, logits, label)
            rows += _rows(_scored(scores, label, partial=capped), names, members, where)
        rows += _rows(stored, names, members, {**where, "scores": "unadapted"})
    return rows


def calibration_error(confidence: Array, correct: Array) -> float | None:
    """Expected calibration error over `ECE_BINS` bins (lo, hi] of equal width; None for N = 0.

    `confidence` (N,) in (0, 1] is the largest softmax probability, `correct` (N,) bool. Source: Guo
    et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.
    """
    import numpy as np

    if not len(confidence):
        return None
    edges = np.linspace(0, 1, ECE_BINS + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    # |B| / N * |accuracy - confidence| is |sum of (correct - confidence)| / N
    gaps = np.bincount(index, weights=correct - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def class_auc(logits: Array, label: Array) -> Array:
    """Mean over classes j of A(i|j), for each class i: (C,) float64 in [0, 1], exact.

    A(i|j) is the probability that a sample of class i has a larger softmax probability of i than a
    sample of class j, ties one half; classes without samples are left out (as j) or NaN (as i), and
    so is the only class present. The mean over i is the M measure of Hand and Till, "A Simple
    Generalisation of the Area Under the ROC Curve for Multiple Class Classification Problems",
    Machine Learning 45, 2001, eq. 7.

    `logits` (N, C) finite or -inf, `label` (N,) integer 0..C-1. Time O(N C log N); beside the logits
    it needs memory for a block of classes.
    """
    import numpy as np

    classes = logits.shape[1]
    present = np.flatnonzero(np.bincount(label, minlength=classes))
    mean = np.full(classes, np.nan)
    if len(present) < 2:
        return mean
    count = np.bincount(label, minlength=classes)[present]
    place = np.searchsorted(present, label)
    peak, total = normaliser(logits)
    for block in blocks(len(present), len(label)):
        columns = np.ascontiguousarray(logits.T[present[block]], dtype=np.float64)
        probability = np.exp(columns - peak) / total
        for i, column in zip(range(len(present))[block], probability, strict=True):
            own = np.sort(column[place == i])
            # twice the number of samples of class i that score lower, ties one half
            lower = np.searchsorted(own, column, "left") + np.searchsorted(own, column, "right")
            beaten = np.bincount(place, weights=lower, minlength=len(present))
            others = np.arange(len(present)) != i
            mean[present[i]] = np.mean(1 - beaten[others] / (2 * len(own) * count[others]))
    return mean


@dataclass(frozen=True)
class _Scored:
    """Per sample: true and predicted class, largest probability, -log probability of the true class.

    `confidence` and `nll` are None where they cannot be known; `nll` is inf for a probability of
    zero. `logits` (N, C) only if every class is known.
    """

    label: Array
    predicted: Array
    confidence: Array | None
    nll: Array | None
    logits: Array | None


def _scored(logits: Array, label: Array, *, partial: bool = False) -> _Scored:
    import numpy as np

    predicted = logits.argmax(axis=1)
    if partial:
        return _Scored(label, predicted, None, None, None)
    peak, total = normaliser(logits)
    own = logits[np.arange(len(label)), label].astype(np.float64)
    return _Scored(label, predicted, 1 / total, np.log(total) - (own - peak), logits)


def _scored_capped(arrays: Mapping[str, Array], label: Array) -> _Scored:
    import numpy as np

    classes, logits = arrays["top_classes"], plain(arrays["top_logits"].astype(np.float64))
    total = arrays["logsumexp"].astype(np.float64)
    # rounded to float32 the largest logit may exceed the logsumexp by an ulp
    confidence = np.minimum(np.exp(logits[:, 0] - total), 1)
    own = classes == label[:, None]
    found = own.any(axis=1).all()
    nll = np.maximum(total - logits[own], 0) if found else None
    # an equal logit: the lower class, as argmax has it
    tied = np.where(logits == logits[:, :1], classes.astype(np.int64), np.iinfo(np.int64).max)
    return _Scored(label, tied.min(axis=1), confidence, nll, None)


def _rows(
    scored: _Scored,
    names: Sequence[str],
    members: Mapping[str, list[int]],
    where: Mapping[str, str],
) -> list[MetricRow]:
    import numpy as np

    correct = scored.predicted == scored.label
    recall = recalls(scored.label, scored.predicted, len(names))
    seen = recall[np.isfinite(recall)]
    auc = None if scored.logits is None else class_auc(scored.logits, scored.label)
    zero = seen.min() == 0
    overall = {
        "top1": correct.mean(),
        "balanced_accuracy": seen.mean(),
        "worst_class": seen.min(),
        "g_mean": 0 if zero else np.exp(np.log(seen).mean()),
        "h_mean": 0 if zero else 1 / (1 / seen).mean(),
        "nll": None if scored.nll is None else scored.nll.mean(),
    }
    rows = [row(metric, value, where) for metric, value in overall.items()]
    for group, ids in {"": list(range(len(names))), **members}.items():
        here = {**where, "group": group} if group else where
        if group:
            rows.append(row("top1", mean(recall[ids]), here))
        if scored.confidence is None:
            error = None
        else:
            inside = np.isin(scored.label, ids)
            error = calibration_error(scored.confidence[inside], correct[inside])
        rows.append(row("ece", error, here))
        if auc is not None:
            rows.append(row("auc_ovo", mean(auc[ids]), here))
    return rows + class_rows("recall", recall, names, where)


def _geometry(
    stored: str,
    arrays: Mapping[str, Array],
    names: Sequence[str],
    members: Mapping[str, Sequence[int]],
    trained: Trained,
    told: bool,
) -> list[MetricRow]:
    """Rows of the set `stored`; `told`: whether those of the training images' scores are made elsewhere."""
    found = []
    for one in geometry_rows.rows(stored, arrays, names, members, trained.class_counts):
        if one.metric in ("top1", "nll") and (told or one.subset != "split=train"):
            continue
        if one.metric in ("top1", "nll") and trained.infer is not None:
            # of the network's logits, not of the scores that the method makes of them
            one = msgspec.structs.replace(one, subset=subset(split="train", scores="unadapted"))
        found.append(one)
    return found


def _curvature(arrays: Mapping[str, Array], members: Mapping[str, list[int]]) -> list[MetricRow]:
    """Rows of what `sharpness.SharpnessHook` stores. Raises RecordError for arrays of another form."""
    names = arrays.get("group")
    if names is None or names.ndim != 1 or names.dtype.kind != "U":
        raise RecordError("stored sharpness holds no list of group names")
    found = [str(name) for name in names]
    odd = [name for name in found if name not in members or found.count(name) > 1]
    if odd:
        raise RecordError(
            f"stored sharpness is of group {odd[0][:40]!r}, expected {', '.join(members)}, once each"
        )
    rows = []
    for metric, key in {"hessian_max": "lambda_max", "hessian_min": "lambda_min"}.items():
        values = arrays.get(key)
        if values is None or values.shape != names.shape or values.dtype.kind != "f":
            raise RecordError(f"stored sharpness: {key} is not {len(names)} floats")
        for group, value in zip(found, values, strict=True):
            rows.append(row(metric, value, {"split": "train", "group": group}))
    return rows
