"""The stored form of a model's last-layer geometry: prediction sets `collapse` and `collapse=test`.

Whatever is published of it is computed from these arrays alone, in float64, and they hold no feature of
a single image: class means, scatter, classifier and margins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

TRAIN, TEST = "collapse", "collapse=test"
SETS = {TRAIN: "train", TEST: "test"}
"""Prediction set -> what its rows carry as `split`."""
WIDEST = 4096
"""Up to so many dimensions the scatter is stored whole (D, D), above within the span of the means."""

_ROWS = 1024  # samples turned into float64 at a time
_FLOAT32 = -3.4028234e38, 3.4028234e38
_PER_CLASS = ("counts", "correct", "ncc_correct", "agree")
_PER_SAMPLE = {"label": "iu", "margin": "f", "margin_norm": "f"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Geometry:
    """A stored set as `checked` found it: K classes, D dimensions, N samples. Floats are float64.

    A class without samples has NaN in `mean`, `within_trace` and `nll`, and every mean over classes here and in
    `measures` is over those that have samples, K' of them.

    Attributes:
        counts: (K,) int64, samples of each class.
        mean: (K, D), class means mu_c.
        within: (D, D), class-balanced scatter S_W = (1/K') sum_c (1/n_c) sum_i (h - mu_c)(h - mu_c)^T; None
            above `WIDEST` dimensions.
        within_means: (K, K), m_c^T S_W m_c' of means less the mean of means; where `within` is None only.
        within_sample: (K, K), m_c^T S m_c' of S = (1/N) sum_i (h - mu_c)(h - mu_c)^T and of means less the mean
            of all samples. Rows and columns of classes without samples are 0 in both.
        within_trace: (K,), v_c = mean ||h - mu_c||^2.
        weight, bias: (K, D) and (K,), logits = W h + b; both None where the head has no linear layer.
        correct: (K,) int64, samples whose `margin` is above 0: a tie is no hit.
        ncc_correct: (K,) int64, samples whose nearest class mean is their class's.
        agree: (K,) int64, samples whose largest logit is that of the nearest class mean.
        nll: (K,), mean over the class's samples of the negative log-likelihood of the true class, nats; None in
            a set without it.
        label: (N,) int64.
        margin: (N,), z_y - max_{c != y} z_c.
        margin_norm: (N,), min_{c != y} (z_y - z_c) / (||w_y - w_c|| ||h||); NaN where h = 0, where no two
            rows of W differ, and without a linear layer.
    """

    counts: Array
    mean: Array
    within: Array | None
    within_means: Array | None
    within_sample: Array
    within_trace: Array
    weight: Array | None
    bias: Array | None
    correct: Array
    ncc_correct: Array
    agree: Array
    nll: Array | None
    label: Array
    margin: Array
    margin_norm: Array

    @property
    def classes(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.mean.shape[1])

    @property
    def present(self) -> Array:
        """Ids of the classes that have samples, ascending."""
        import numpy as np

        return np.flatnonzero(self.counts)


def accumulate(
    features: Array,
    label: Array,
    logits: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    centres: Array | None = None,
) -> dict[str, Array]:
    """The stored arrays of one head (`Geometry`), in two passes over the features: means first.

    Args:
        features: (N, D) as the classifier sees them, float32 or float64, finite; they are not changed.
        label: (N,) integer classes 0..K-1.
        logits: (N, K) floating, finite.
        weight, bias: (K, D) and (K,), logits = weight @ feature + bias; no weight where the head has no linear
            layer, no bias is 0.
        centres: (K, D), the class means that a sample's nearest is sought among; of test images those of the
            training images. The means of `features` by default. Rows of NaN are left out.

    Memory beside the arguments: O(D^2 + K^2 + N). Raises RecordError for arrays of another form, fewer
    samples than classes, samples of fewer than two classes, one dimension, and what is not finite.
    """
    import numpy as np

    features, label, logits = np.asarray(features), np.asarray(label), np.asarray(logits)
    counts = _check_input(features, label, logits)
    classes, width = logits.shape[1], features.shape[1]
    weight, bias = _check_head(weight, bias, classes, width)
    seen = counts > 0
    number = np.maximum(counts, 1)[:, None]
    total = np.zeros((classes, width))
    for rows in _blocks(len(label)):
        found, sums = _by_class(features[rows], label[rows])
        total[found] += sums
    mean = total / number
    # a row of 0 until the end: NaN would spread through the products
    mean[~seen] = 0
    balanced = np.where(seen[:, None], mean - mean[seen].mean(axis=0), 0)
    by_sample = np.where(seen[:, None], mean - counts @ mean / len(label), 0)
    if centres is None:
        nearest = _Nearest(np.where(seen[:, None], mean, np.nan))
    else:
        nearest = _Nearest(_check_centres(centres, classes, width))
    apart = None if weight is None else row_distances(weight)
    scatter = np.zeros((width, width) if width <= WIDEST else (classes, classes))
    within_sample = np.zeros((classes, classes))
    within_trace, nll = np.zeros(classes), np.zeros(classes)
    ncc_correct, agree = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    margin, margin_norm = np.empty(len(label), np.float32), np.empty(len(label), np.float32)
    for rows in _blocks(len(label)):
        own, h = label[rows], features[rows].astype(np.float64)
        z = logits[rows].astype(np.float64)
        found = nearest(h)
        ncc_correct += np.bincount(own[found == own], minlength=classes)
        agree += np.bincount(own[found == z.argmax(axis=1)], minlength=classes)
        top = z.max(axis=1)
        lost = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top - z[np.arange(len(own)), own]
        nll += np.bincount(own, lost, classes)
        length = np.sqrt(np.einsum("nd,nd->n", h, h))
        margin[rows], margin_norm[rows] = _margins(z, own, length, apart)
        h -= mean[own]
        within_trace += np.bincount(own, np.einsum("nd,nd->n", h, h), classes)
        along = h @ by_sample.T
        within_sample += along.T @ along
        h /= np.sqrt(counts[own])[:, None]
        if width > WIDEST:
            h = h @ balanced.T
        scatter += h.T @ h
    arrays = {
        "counts": counts,
        "mean": np.where(seen[:, None], mean, np.nan),
        "within" if width <= WIDEST else "within_means": scatter / seen.sum(),
        "within_sample": within_sample / len(label),
        "within_trace": np.where(seen, within_trace / number[:, 0], np.nan),
        "correct": np.bincount(label[margin > 0], minlength=classes).astype(np.int64),
        "ncc_correct": ncc_correct,
        "agree": agree,
        "nll": np.where(seen, nll / number[:, 0], np.nan),
        "label": label.astype(np.int64),
        "margin": margin,
        "margin_norm": margin_norm,
    }
    if weight is not None and bias is not None:
        arrays |= {"weight": weight, "bias": bias}
    return arrays


# -- heads of several experts


def join(parts: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """The arrays of several heads in one set: those of part `expert0` as `expert0.mean`, of part "" as they are."""
    return {
        f"{part}.{name}" if part else name: array
        for part, arrays in parts.items()
        for name, array in arrays.items()
    }


def split(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Part -> its arrays, as `join` was given them; the part "" is the whole model's head."""
    parts: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        part, _, name = key.rpartition(".")
        parts.setdefault(part, {})[name] = array
    return parts


# -- reading


def checked(arrays: Mapping[str, Array], classes: int) -> Geometry:
    """The stored arrays of one head as float64. Raises RecordError where a part is missing, of another form,
    or says other than the parts beside it."""
    import numpy as np

    def part(name: str, shape: tuple[int, ...], kinds: str = "f") -> Array:
        array = arrays.get(name)
        if array is None:
            raise RecordError(f"stored geometry holds no {name}; found: {', '.join(arrays)[:200]}")
        if array.shape != shape or array.dtype.kind not in kinds or array.dtype == np.float16:
            expected = "integers" if kinds == "iu" else "float32 or float64"
            raise RecordError(
                f"stored geometry: {name} is {array.dtype} of shape {array.shape}, expected "
                f"{expected} of shape {shape}"
            )
        return array.astype(np.int64 if kinds == "iu" else np.float64)

    counts, correct, ncc_correct, agree = (part(name, (classes,), "iu") for name in _PER_CLASS)
    samples, width = _sizes(arrays)
    label, margin, margin_norm = (part(n, (samples,), k) for n, k in _PER_SAMPLE.items())
    if label.min() < 0 or label.max() >= classes:
        raise RecordError(
            f"stored geometry: labels lie in {label.min()}..{label.max()}, of {classes} classes"
        )
    if not np.array_equal(counts, np.bincount(label, minlength=classes)):
        raise RecordError("stored geometry: counts are not those of its labels")
    if not np.array_equal(correct, np.bincount(label[margin > 0], minlength=classes)):
        raise RecordError("stored geometry: correct is not the number of margins above 0")
    for name, number in (("ncc_correct", ncc_correct), ("agree", agree)):
        if (number < 0).any() or (number > counts).any():
            raise RecordError(f"stored geometry: {name} exceeds the number of samples")
    whole = "within" in arrays
    seen = counts > 0
    found = Geometry(
        counts=counts,
        mean=part("mean", (classes, width)),
        within=part("within", (width, width)) if whole else None,
        within_means=None if whole else part("within_means", (classes, classes)),
        within_sample=part("within_sample", (classes, classes)),
        within_trace=part("within_trace", (classes,)),
        weight=part("weight", (classes, width)) if "weight" in arrays else None,
        bias=part("bias", (classes,)) if "weight" in arrays else None,
        correct=correct,
        ncc_correct=ncc_correct,
        agree=agree,
        nll=part("nll", (classes,)) if "nll" in arrays else None,
        label=label,
        margin=margin,
        margin_norm=margin_norm,
    )
    for name in ("mean", "within_trace", "nll"):
        array = getattr(found, name)
        if array is not None and not np.isfinite(array[seen]).all():
            raise RecordError(f"stored geometry: {name} of a class with samples is not finite")
    for name in ("within", "within_means", "within_sample", "weight", "bias", "margin"):
        array = getattr(found, name)
        if array is not None and not np.isfinite(array).all():
            raise RecordError(f"stored geometry: {name} is not finite")
    if np.isinf(margin_norm).any():
        raise RecordError("stored geometry: margin_norm is infinite")
    if whole:
        traces = float(np.trace(arrays["within"])), float(found.within_trace[seen].mean())
        if abs(traces[0] - traces[1]) > 1e-4 * max(traces):
            raise RecordError(
                f"stored geometry: the trace of within is {traces[0]:g}, the mean of within_trace {traces[1]:g}"
            )
    return found


def _sizes(arrays: Mapping[str, Array]) -> tuple[int, int]:
    """(N, D)."""
    label, mean = arrays.get("label"), arrays.get("mean")
    if label is None or label.ndim != 1 or not len(label):
        raise RecordError("stored geometry holds no list of labels")
    if mean is None or mean.ndim != 2:
        raise RecordError("stored geometry holds no class means")
    return len(label), mean.shape[1]


# -- parts of `accumulate`


def _blocks(samples: int) -> Iterator[slice]:
    for start in range(0, samples, _ROWS):
        yield slice(start, min(start + _ROWS, samples))


def _by_class(features: Array, label: Array) -> tuple[Array, Array]:
    """(classes that occur, sums (C, D) of their features, float64)."""
    import numpy as np

    order = np.argsort(label, kind="stable")
    found, starts = np.unique(label[order], return_index=True)
    return found, np.add.reduceat(features[order].astype(np.float64), starts, axis=0)


class _Nearest:
    """Nearest of the centres (K, D) by Euclidean distance, of equally near ones the lowest class."""

    def __init__(self, centres: Array) -> None:
        import numpy as np

        known: Array = np.asarray(np.isfinite(centres).all(axis=1))
        # distances about the centres' own middle: less is lost in |c|^2 - 2 h c
        self._middle = centres[known].mean(axis=0)
        self._centres = np.where(known[:, None], centres - self._middle, 0)
        square = np.einsum("kd,kd->k", self._centres, self._centres)
        self._square = np.where(known, square, np.inf)

    def __call__(self, h: Array) -> Array:
        found: Array = (self._square - 2 * (h - self._middle) @ self._centres.T).argmin(axis=1)
        return found


def row_distances(weight: Array) -> Array:
    """(K, K) Euclidean distances of rows (K, D) float64, NaN where the two are equal, and of a row to itself."""
    import numpy as np

    gram = weight @ weight.T
    size = np.diag(gram)[:, None] + np.diag(gram)
    square = size - 2 * gram
    # near rows once more, since their difference is lost in the product
    for c, near in enumerate(square < 1e-6 * size):
        square[c, near] = ((weight[c] - weight[near]) ** 2).sum(axis=1)
    with np.errstate(invalid="ignore"):
        apart: Array = np.where(square > 0, np.sqrt(square), np.nan)
    return apart


def _margins(z: Array, own: Array, length: Array, apart: Array | None) -> tuple[Array, Array]:
    """(margins, normalised margins) of a block; see `Geometry`."""
    import numpy as np

    every = np.arange(len(own))
    gap = z[every, own][:, None] - z
    gap[every, own] = np.inf
    # stored as float32: beyond its range the margin of its end
    margin = gap.min(axis=1).clip(*_FLOAT32)
    if apart is None:
        return margin, np.full(len(own), np.nan)
    gap[every, own] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        gap /= apart[own]
        gap[np.isnan(gap)] = np.inf
        nearest = gap.min(axis=1) / length
    return margin, np.where(np.isfinite(nearest), nearest.clip(*_FLOAT32), np.nan)


def _check_input(features: Array, label: Array, logits: Array) -> Array:
    """Samples of each class (K,) int64."""
    import numpy as np

    if features.ndim != 2 or logits.ndim != 2 or label.shape != (len(features),):
        raise RecordError(
            f"features, labels and logits have shapes {features.shape}, {label.shape} and {logits.shape}, "
            "expected (N, D), (N,) and (N, K)"
        )
    if len(logits) != len(features):
        raise RecordError(f"{len(features)} features, but {len(logits)} rows of logits")
    (samples, width), classes = features.shape, logits.shape[1]
    if features.dtype.kind != "f" or features.dtype == np.float16:
        raise RecordError(
            f"features are {features.dtype}: in a collapsed model their scatter would be that of rounding; "
            "run the network in float32 and give float32 or float64"
        )
    if logits.dtype.kind != "f":
        raise RecordError(f"logits are {logits.dtype}, expected floats")
    if label.dtype.kind not in "iu":
        raise RecordError(f"labels are {label.dtype}, expected integers")
    if classes < 2:
        raise RecordError("one class has no geometry; at least two are needed")
    if width < 2:
        raise RecordError("features of one dimension have no angles; at least two are needed")
    if samples < classes:
        raise RecordError(
            f"{samples} samples of {classes} classes: some have no mean; give at least one image a class"
        )
    if label.min() < 0 or label.max() >= classes:
        raise RecordError(f"labels lie in {label.min()}..{label.max()}, of {classes} classes")
    for name, array in (("features", features), ("logits", logits)):
        for rows in _blocks(samples):
            odd = np.asarray(~np.isfinite(array[rows]).all(axis=1))
            if odd.any():
                raise RecordError(
                    f"{name} of sample {rows.start + int(odd.argmax())} are NaN or infinite: the model has "
                    "diverged; train it again, at a lower learning rate"
                )
    counts = np.bincount(label, minlength=classes).astype(np.int64)
    if (counts > 0).sum() < 2:
        raise RecordError(
            f"all {samples} samples are of class {label[0]}; at least two classes are needed"
        )
    return counts


def _check_head(
    weight: Array | None, bias: Array | None, classes: int, width: int
) -> tuple[Array | None, Array | None]:
    import numpy as np

    if weight is None:
        return None, None
    weight = np.asarray(weight, np.float64)
    bias = np.zeros(classes) if bias is None else np.asarray(bias, np.float64)
    for name, array, shape in (("weight", weight, (classes, width)), ("bias", bias, (classes,))):
        if array.shape != shape:
            raise RecordError(f"the head's {name} has shape {array.shape}, expected {shape}")
        if not np.isfinite(array).all():
            raise RecordError(f"the head's {name} is NaN or infinite: the model has diverged")
    return weight, bias


def _check_centres(centres: Array, classes: int, width: int) -> Array:
    import numpy as np

    centres = np.asarray(centres, np.float64)
    if centres.shape != (classes, width):
        raise RecordError(f"centres have shape {centres.shape}, expected {(classes, width)}")
    if not np.isfinite(centres).all(axis=1).any():
        raise RecordError("centres are NaN: no class has a mean")
    return centres
