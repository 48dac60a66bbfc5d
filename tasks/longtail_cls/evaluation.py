"""Scores of `longtail-cls` from a run's stored logits.

Group scores are unweighted means over the group's classes of per-class values, classes without a
test image left out (OLTR, Liu et al., CVPR 2019; LDAM, Cao et al., NeurIPS 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from suite.base.errors import RecordError, UserError
from suite.define.metrics import MetricRow, subset
from suite.define.protocol import Protocol
from suite.define.task import Predictions, Trained
from tasks.vision.groups import groups
from tasks.vision.stored import blocks, check_scores, checked, normaliser, plain, restore

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1
VIEW = "view="
"""Prediction sets so named hold views of the test images: the test set under random augmentation."""

ECE_BINS = 15


def settings(protocol: Protocol) -> dict[str, Any]:
    """Classes and their groups: what the scores depend on besides predictions and run.

    A data set whose groups are known only from its training counts has no `groups` but
    `group_thresholds`, (head_over, tail_under) in images. Raises UserError if it has neither.
    """
    data = protocol.dataset
    made: dict[str, Any] = {
        "classes": list(data.classes),
        "groups": {name: list(members) for name, members in data.groups.items()},
        "group_rule": data.group_rule,
    }
    if not made["groups"]:
        if not data.group_thresholds:
            raise UserError(
                f"data set {data.name!r} has neither groups nor group_thresholds: give it one of them"
            )
        made["group_thresholds"] = list(data.group_thresholds)
    return made


def resolve_groups(
    settings: Mapping[str, Any], class_counts: Sequence[int]
) -> dict[str, list[int]]:
    """Group name -> class ids: the settings' own, or head/medium/tail by training counts.

    The thresholds are strict at both ends: head > head_over, tail < tail_under. Raises RecordError if the counts are needed and are not those of the settings' classes.
    """
    if settings["groups"] or "group_thresholds" not in settings:
        return {name: list(members) for name, members in settings["groups"].items()}
    classes = len(settings["classes"])
    if len(class_counts) != classes:
        raise RecordError(
            f"the record holds training counts of {len(class_counts)} classes, the groups need "
            f"those of {classes}"
        )
    head_over, tail_under = settings["group_thresholds"]
    made = groups(class_counts, head_over, tail_under)
    return {name: list(members) for name, members in made.items()}


def evaluate(
    predictions: Predictions, settings: Mapping[str, Any], trained: Trained
) -> list[MetricRow]:
    """Rows of every stored prediction set; those of sets other than `test` carry `split=NAME`.

    The set `sharpness` holds no predictions; its rows are of the training loss, `split=train`. Views of the
    test images have no rows: they are what methods adapt to.

    Where the method brings its own inference, the rows are those of the scores it makes of the stored
    logits, read as logits themselves; the rows of the stored ones (of experts: their mean) carry
    `scores=unadapted`. It is told the label distribution of the set, and is given the set's views; sets
    other than `test` have none, and a method that needs them is scored un-adapted there.
    Of a capped set `auc_ovo` is left out, and so is, as null, what needs the dropped classes: `nll`
    if a true class was dropped, `ece` and `nll` of adapted scores. Null is whatever is undefined,
    for want of test samples, or infinite. Raises RecordError for arrays in no stored form and for
    adapted scores of another shape or not finite.
    """
    import numpy as np

    members = resolve_groups(settings, trained.class_counts)
    names = settings["classes"]
    rows: list[MetricRow] = []
    for name, arrays in predictions.items():
        if name == "sharpness":
            rows += _curvature(arrays, members)
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
            views = restore_views(predictions, label, len(names)) if trained.adapts else None
            prior = np.bincount(label, minlength=len(names)) / len(label)
            scores = adapted(trained, logits, prior, views)
            rows += _rows(_scored(scores, label, partial=capped), names, members, where)
        rows += _rows(stored, names, members, {**where, "scores": "unadapted"})
    return rows


def confusion(predictions: Predictions, settings: Mapping[str, Any], trained: Trained) -> Array:
    """Test images by (true, predicted) class, (C, C) int64, of the scores whose rows carry no
    `scores=unadapted`. Raises RecordError as `evaluate` does, and where no set `test` is stored."""
    import numpy as np

    classes = len(settings["classes"])
    label, predicted = predict(predictions, classes, trained)
    counts = np.bincount(label * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64)


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
        views = restore_views(predictions, label, classes) if trained.adapts else None
        prior = np.bincount(label, minlength=classes) / len(label)
        return label, adapted(trained, restore(arrays, classes), prior, views).argmax(axis=1)
    predicted = np.empty(len(label), np.int64)
    for rows in blocks(len(label), classes):
        # rows of a stored set are a stored set; dense, a capped one may not fit into memory
        part = restore({key: array[rows] for key, array in arrays.items()}, classes)
        scores = plain(part.astype(np.float64) if capped else part)
        predicted[rows] = scores.argmax(axis=1)
    return label, predicted


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
    rows = [_row(metric, value, where) for metric, value in overall.items()]
    for group, ids in {"": list(range(len(names))), **members}.items():
        here = {**where, "group": group} if group else where
        if group:
            rows.append(_row("top1", _mean(recall[ids]), here))
        if scored.confidence is None:
            error = None
        else:
            inside = np.isin(scored.label, ids)
            error = calibration_error(scored.confidence[inside], correct[inside])
        rows.append(_row("ece", error, here))
        if auc is not None:
            rows.append(_row("auc_ovo", _mean(auc[ids]), here))
    rows += [_row("recall", recall[c], where, name) for c, name in enumerate(names)]
    return rows


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
            rows.append(_row(metric, value, {"split": "train", "group": group}))
    return rows


def _row(metric: str, value: Any, where: Mapping[str, str], class_: str | None = None) -> MetricRow:
    import numpy as np

    known = value is not None and np.isfinite(value)
    return MetricRow(
        metric=metric, subset=subset(**where), class_=class_, value=float(value) if known else None
    )


def _mean(values: Array) -> float | None:
    import numpy as np

    return float(np.nanmean(values)) if np.isfinite(values).any() else None


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
