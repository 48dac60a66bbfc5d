"""The form in which a run's logits are stored, by their number, and the way back.

Whatever is published of a run is computed from these arrays alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

FULL_FLOAT32 = 20_000_000
"""Up to so many logits they are stored as float32, above as float16."""
CAP = 100_000_000
"""Above so many logits only each sample's `KEPT` largest are stored."""
KEPT = 256
STORED = (
    "label and float32 logits of every sample; above 20,000,000 logits float16, less the sample's "
    "largest; above 100,000,000 only the 256 largest with their classes and the logsumexp over all "
    "classes, and what adapts scores later sees these alone"
)

_BLOCK = 1 << 21  # values turned into float64 at a time


def store(logits: Array, label: Array) -> dict[str, Array]:
    """The stored form of a prediction set, by its size (`STORED`).

    Args:
        logits: (N, C), or (N, E, C) of E experts, whose plain scores are their mean; floating; finite or
            -inf, at least one finite in each row.
        label: (N,), integer true classes 0..C-1.

    Returns `label` (N,) int32 with, of S values in all,
        - `logits` as given, float32; float16 less the row's maximum (`below_peak`) where
          S > `FULL_FLOAT32`; or
        - where S > `CAP`, `top_logits` (N, K) or (N, E, K) float32 and `top_classes` (N, K) uint16
          (int32 above 65,536 classes), K = min(`KEPT`, C), in descending order of the plain scores, of
          equal ones the lower class first, and `logsumexp` (N,) float32 of these over all classes.
    Every array has N rows: rows chosen from all of them are a stored set again. Raises RecordError
    for arrays of another form.
    """
    import numpy as np

    logits, label = np.asarray(logits), np.asarray(label)
    if logits.ndim not in (2, 3) or 0 in logits.shape[1:]:
        raise RecordError(f"logits have shape {logits.shape}, expected (N, C) or (N, E, C)")
    _check_labels(label, len(logits), logits.shape[-1])
    if logits.dtype == np.float64:
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            logits = logits.astype(np.float32)
    check_scores(logits, logits.shape, "logits")
    kept: dict[str, Array] = {"label": label.astype(np.int32)}
    if logits.size > CAP:
        return kept | _largest(logits)
    if logits.size <= FULL_FLOAT32:
        return kept | {"logits": logits.astype(np.float32)}
    return kept | {"logits": below_peak(logits)[0]}


def below_peak(logits: Array) -> tuple[Array, Array]:
    """(logits less their row's maximum, float16; the maxima, float32, of one axis less).

    Near zero float16 is finest, so that the largest logits stay apart; below -65504 they are cut, and -inf
    stays. `logits` are (..., C), each row's maximum is finite.
    """
    import numpy as np

    half = np.empty(logits.shape, np.float16)
    peak = np.empty(logits.shape[:-1], np.float32)
    for rows in blocks(len(logits), logits[0].size):
        shifted = logits[rows].astype(np.float32)
        peak[rows] = shifted.max(axis=-1)
        shifted -= peak[rows][..., None]
        lowest = np.where(np.isneginf(shifted), shifted, np.finfo(np.float16).min)
        half[rows] = np.maximum(shifted, lowest)
    return half, peak


def restore(arrays: Mapping[str, Array], classes: int) -> Array:
    """Logits (N, C), or (N, E, C) of experts, float32 or float64, of a stored set; -inf for classes that
    were not kept.

    `classes` is C. Raises RecordError for arrays in no stored form.
    """
    import numpy as np

    capped = checked(arrays, classes)[1]
    if not capped:
        logits: Array = arrays["logits"]
        # a copy: what the caller does to it leaves the stored set as it is
        return logits.astype(np.float64 if logits.dtype == np.float64 else np.float32)
    top = arrays["top_logits"]
    dense = np.full((*top.shape[:-1], classes), -np.inf, np.float32)
    np.put_along_axis(dense, _beside(arrays["top_classes"], top), top, axis=-1)
    return dense


def plain(logits: Array) -> Array:
    """Scores (N, C) of logits (N, C), or of E experts (N, E, C): their mean."""
    return logits if logits.ndim == 2 else logits.mean(axis=1)


def _beside(classes: Array, logits: Array) -> Array:
    """Class ids (N, K) as indices into `logits` (N, K) or (N, E, K)."""
    import numpy as np

    places = classes.astype(np.intp)
    return places if logits.ndim == 2 else np.repeat(places[:, None], logits.shape[1], axis=1)


def normaliser(logits: Array) -> tuple[Array, Array]:
    """(maximum, sum of exp(logit - maximum)) of each row, float64: softmax without overflow."""
    import numpy as np

    peak, total = np.empty(len(logits)), np.empty(len(logits))
    for rows in blocks(*logits.shape):
        block = logits[rows].astype(np.float64)
        peak[rows] = block.max(axis=1)
        total[rows] = np.exp(block - peak[rows, None]).sum(axis=1)
    return peak, total


def _largest(every: Array) -> dict[str, Array]:
    import numpy as np

    # what is stored is float32, so its mean has to give the order
    logits = plain(every.astype(np.float32))
    top = largest(logits)
    peak, total = normaliser(logits)
    return {
        "top_logits": np.take_along_axis(every, _beside(top, every), axis=-1).astype(np.float32),
        "top_classes": top,
        "logsumexp": (peak + np.log(total)).astype(np.float32),
    }


def largest(logits: Array) -> Array:
    """Classes of each row's K largest `logits` (N, C), (N, K) uint16 (int32 above 65,536 classes): in
    descending order, of equal ones the lower class first; K = min(`KEPT`, C)."""
    import numpy as np

    samples, classes = logits.shape
    kept = min(KEPT, classes)
    top = np.empty((samples, kept), np.uint16 if classes <= 1 << 16 else np.int32)
    for rows in blocks(samples, classes):
        block = logits[rows]
        chosen = np.sort(np.argpartition(-block, kept - 1, axis=1)[:, :kept], axis=1)
        values = np.take_along_axis(block, chosen, axis=1)
        # a partition takes any of the classes that tie for the last place
        last = values.min(axis=1, keepdims=True)
        unclear = (block == last).sum(axis=1) > (values == last).sum(axis=1)
        chosen[unclear] = np.argsort(-block[unclear], axis=1, kind="stable")[:, :kept]
        values = np.take_along_axis(block, chosen, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        top[rows] = np.take_along_axis(chosen, order, axis=1)
    return top


def checked(arrays: Mapping[str, Array], classes: int) -> tuple[Array, bool]:
    """(label (N,) int64, whether capped). Raises RecordError for arrays in no stored form."""
    import numpy as np

    capped = "top_logits" in arrays
    form = ("label", "top_logits", "top_classes", "logsumexp") if capped else ("label", "logits")
    missing = [key for key in form if key not in arrays]
    if missing or (capped and "logits" in arrays):
        problem = f"no {missing[0]!r}" if missing else "both full and capped logits"
        raise RecordError(f"stored predictions hold {problem}; expected {', '.join(form)}")
    logits, label = arrays["top_logits" if capped else "logits"], arrays["label"]
    samples = len(label) if label.ndim else 0
    _check_labels(label, samples, classes)
    if not capped:
        experts = logits.shape[1:-1] if logits.ndim == 3 and logits.shape[1] else ()
        check_scores(logits, (samples, *experts, classes), "stored logits")
        return label.astype(np.int64), False
    total = arrays["logsumexp"]
    scores = check_largest(logits, arrays["top_classes"], samples, classes)
    if total.shape != label.shape or total.dtype.kind != "f" or not np.isfinite(total).all():
        raise RecordError(f"stored logsumexp is not {samples} finite floats")
    if (scores[:, 0] - total > 1e-5 * np.maximum(1, np.abs(total))).any():
        raise RecordError("stored logsumexp is below the largest logit")
    return label.astype(np.int64), True


def check_largest(logits: Array, top: Array, samples: int, classes: int) -> Array:
    """Plain scores (N, K) of `logits` (N, K) or (N, E, K), the largest of each row, and of `top` (N, K), their classes.

    Raises RecordError for arrays of another form, out of order, and for a class twice in a row.
    """
    import numpy as np

    experts = logits.shape[1:-1] if logits.ndim == 3 and logits.shape[1] else ()
    kept = logits.shape[-1] if logits.ndim in (2, 3) else 0
    if not 1 <= kept <= classes:
        raise RecordError(
            f"stored top_logits have shape {logits.shape}, expected ({samples}, 1 to {classes}) or "
            f"({samples}, E, 1 to {classes})"
        )
    check_scores(logits, (samples, *experts, kept), "stored top_logits")
    scores = plain(logits)
    # a mean of rounded numbers may change an order by an ulp
    slack = 1e-6 if experts else 0.0
    room = slack * np.abs(np.where(np.isfinite(scores), scores, 0))
    if (scores[:, 1:] > scores[:, :-1] + room[:, 1:]).any():
        raise RecordError("stored top_logits are not in descending order")
    if top.shape != scores.shape or top.dtype.kind not in "iu":
        raise RecordError(
            f"stored top_classes are {top.dtype} of shape {top.shape}, expected integers of shape "
            f"{scores.shape}"
        )
    if top.min() < 0 or top.max() >= classes:
        raise RecordError(f"stored top_classes hold a class outside 0..{classes - 1}")
    ordered = np.sort(top, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise RecordError("stored top_classes hold a class twice for one sample")
    return scores


def _check_labels(label: Array, samples: int, classes: int) -> None:
    if label.shape != (samples,) or label.dtype.kind not in "iu":
        raise RecordError(
            f"labels are {label.dtype} of shape {label.shape}, expected integers of shape ({samples},)"
        )
    if not samples:
        raise RecordError("predictions of no sample: the prediction set is empty")
    if label.min() < 0 or label.max() >= classes:
        raise RecordError(f"labels lie in {label.min()}..{label.max()}, expected 0..{classes - 1}")


def check_scores(scores: Array, shape: tuple[int, ...], what: str) -> None:
    import numpy as np

    if scores.shape != shape or scores.dtype.kind != "f":
        raise RecordError(
            f"{what} are {scores.dtype} of shape {scores.shape}, expected floats of shape {shape}"
        )
    # one pass without a temporary of the scores' size: a NaN or inf anywhere is in the row's maximum
    peak = scores.max(axis=-1, initial=-np.inf)
    if peak.ndim == 2:
        # the worst of a sample's experts
        peak = np.where(np.isfinite(peak).all(axis=1), 0.0, peak.sum(axis=1))
    check_peaks(peak, what)


def check_peaks(peak: Array, what: str) -> None:
    """Raises RecordError where a row's maximum, of `peak` (N,), is not finite."""
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(peak))
    if len(bad):
        found = "only -inf" if np.isneginf(peak[bad[0]]) else f"{peak[bad[0]]}"
        raise RecordError(
            f"{what} of sample {bad[0]} ({len(bad)} of {len(peak)} samples) hold {found}"
        )


def blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
