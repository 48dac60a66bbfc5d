"""The form in which a run's logits of several labels a sample are stored, by their number, and the way back.

Scores are stored as those of single labels are (`tasks.vision.stored`), but that the scores of one label
stay comparable across samples: the class-wise average precision compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from tasks.vision import stored as single
from tasks.vision.stored import below_peak, blocks, check_largest, check_peaks, largest

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

STORED = (
    "labels (bits) and float32 logits of every sample; above 20,000,000 logits float16, less the sample's "
    "largest, which stands beside; above 100,000,000 only the 256 largest with their labels: no ranking "
    "loss, no coverage, and nothing label by label"
)


def store(logits: Array, labels: Array) -> dict[str, Array]:
    """The stored form of a prediction set, by its size (`STORED`).

    Args:
        logits: (N, L), floating; finite or -inf, at least one finite in each row.
        labels: (N, L), bool, or integers 0 and 1.

    Returns `labels` (N, ceil(L / 8)) uint8, `numpy.packbits` along the rows, and, of S = N L logits,
        - `logits` (N, L) float32 as given;
        - where S > `FULL_FLOAT32`, `logits` (N, L) float16 less the row's maximum, and this as `peak` (N,)
          float32; or
        - where S > `CAP`, `top_logits` (N, K) float32 and `top_classes` (N, K) uint16 (int32 above 65,536
          labels), K = min(`KEPT`, L), in descending order, of equal ones the lower label first.
    Every array has N rows: rows chosen from all of them are a stored set again. The constants are those of
    `tasks.vision.stored`. Raises RecordError for arrays of another form.
    """
    import numpy as np

    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or not logits.shape[1]:
        raise RecordError(f"logits have shape {logits.shape}, expected (N, L)")
    labels = as_bool(labels, logits.shape)
    if logits.dtype == np.float64:
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            logits = logits.astype(np.float32)
    single.check_scores(logits, logits.shape, "logits")
    kept: dict[str, Array] = {"labels": np.packbits(labels, axis=1)}
    if logits.size <= single.FULL_FLOAT32:
        return kept | {"logits": logits.astype(np.float32)}
    if logits.size <= single.CAP:
        half, peak = below_peak(logits)
        return kept | {"logits": half, "peak": peak}
    top = largest(logits)
    values = np.take_along_axis(logits, top.astype(np.intp), axis=1)
    return kept | {"top_logits": values.astype(np.float32), "top_classes": top}


def as_bool(labels: Array, shape: tuple[int, ...]) -> Array:
    """`labels` as bool. Raises RecordError for another shape, another type, other values and no sample."""
    if labels.shape != shape or labels.dtype.kind not in "biu":
        raise RecordError(
            f"labels are {labels.dtype} of shape {labels.shape}, expected bool of shape {shape}"
        )
    if not labels.size:
        raise RecordError("predictions of no sample: the prediction set is empty")
    if labels.dtype.kind != "b":
        if labels.min() < 0 or labels.max() > 1:
            raise RecordError(f"labels lie in {labels.min()}..{labels.max()}, expected 0 and 1")
        labels = labels.astype(bool)
    return labels


def restore(arrays: Mapping[str, Array], labels: int) -> tuple[Array, Array]:
    """(logits (N, L) float32, labels (N, L) bool) of a stored set; -inf for labels that were not kept.

    `labels` is L. Raises RecordError for arrays in no stored form.
    """
    import numpy as np

    found = checked(arrays, labels)
    every = slice(0, found.samples)
    if not found.capped:
        return found.scores(every), found.relevant(every)
    dense = np.full((found.samples, labels), -np.inf, np.float32)
    np.put_along_axis(dense, found.order(every), found.logits, axis=1)
    return dense, found.relevant(every)


@dataclass(frozen=True, eq=False)
class Stored:
    """A stored set as `checked` found it: N samples, L labels, of which parts are unpacked when asked for.

    Attributes:
        labels: L.
        packed: (N, ceil(L / 8)) uint8.
        logits: (N, L) float32 or float16, or (N, K) float32, the largest.
        peak: (N,) float32, what float16 logits are less.
        top: (N, K) integers, the labels of the largest logits.
    """

    labels: int
    packed: Array
    logits: Array
    peak: Array | None = None
    top: Array | None = None

    @property
    def samples(self) -> int:
        return len(self.packed)

    @property
    def capped(self) -> bool:
        """Whether only the largest logits are known."""
        return self.top is not None

    def scores(self, rows: slice, columns: slice = slice(None)) -> Array:
        """Logits of samples x labels, float32; not of a capped set."""
        import numpy as np

        assert self.top is None
        part = self.logits[rows, columns].astype(np.float32)
        if self.peak is not None:
            part += self.peak[rows, None]
        return part

    def order(self, rows: slice) -> Array:
        """Labels of the samples' largest logits, (n, K) int64; of a capped set."""
        import numpy as np

        assert self.top is not None
        return self.top[rows].astype(np.int64)

    def relevant(self, rows: slice, columns: slice = slice(None)) -> Array:
        """Labels of samples x labels, bool. `columns` begin at a multiple of 8."""
        import numpy as np

        first, last, _ = columns.indices(self.labels)
        assert first % 8 == 0
        part = self.packed[rows, first // 8 : -(-last // 8)]
        return np.unpackbits(part, axis=1, count=last - first).view(bool)


def checked(arrays: Mapping[str, Array], labels: int) -> Stored:
    """The stored set of L = `labels` labels, logits finite or -inf. Raises RecordError for arrays in no stored form."""
    import numpy as np

    capped = "top_logits" in arrays
    form = ("labels", "top_logits", "top_classes") if capped else ("labels", "logits")
    missing = [key for key in form if key not in arrays]
    extra = [key for key in ("logits", "peak") if capped and key in arrays]
    if missing or extra:
        problem = f"no {missing[0]!r}" if missing else f"{extra[0]!r} beside 'top_logits'"
        raise RecordError(f"stored predictions hold {problem}; expected {', '.join(form)}")
    packed = arrays["labels"]
    samples, width = len(packed) if packed.ndim else 0, -(-labels // 8)
    if packed.shape != (samples, width) or packed.dtype != np.uint8:
        raise RecordError(
            f"stored labels are {packed.dtype} of shape {packed.shape}, expected uint8 of shape "
            f"({samples}, {width}), the bits of {labels} labels"
        )
    if not samples:
        raise RecordError("predictions of no sample: the prediction set is empty")
    if labels % 8 and (packed[:, -1] & ((1 << (8 - labels % 8)) - 1)).any():
        raise RecordError(f"stored labels hold bits set beyond the last of {labels} labels")
    if capped:
        logits, top = arrays["top_logits"], arrays["top_classes"]
        if logits.ndim != 2:
            raise RecordError(f"stored top_logits have shape {logits.shape}, expected (N, K)")
        check_largest(logits, top, samples, labels)
        tied = logits[:, 1:] == logits[:, :-1]
        if (tied & (top[:, 1:] < top[:, :-1])).any():
            raise RecordError("stored top_logits: equal ones are not in the order of their labels")
        return Stored(labels, packed, logits, top=top)
    return _full(arrays, labels, packed)


def _full(arrays: Mapping[str, Array], labels: int, packed: Array) -> Stored:
    import numpy as np

    logits, peak = arrays["logits"], arrays.get("peak")
    expected = np.float32 if peak is None else np.float16
    if logits.shape != (len(packed), labels) or logits.dtype != expected:
        beside = "without" if peak is None else "beside"
        raise RecordError(
            f"stored logits are {logits.dtype} of shape {logits.shape}, expected "
            f"{np.dtype(expected)} of shape ({len(packed)}, {labels}) {beside} 'peak'"
        )
    if peak is None:
        single.check_scores(logits, logits.shape, "stored logits")
        return Stored(labels, packed, logits)
    if peak.shape != (len(packed),) or peak.dtype != np.float32 or not np.isfinite(peak).all():
        raise RecordError(f"stored peak is not {len(packed)} finite float32")
    # numpy compares float16 slowly
    highest = [logits[rows].astype(np.float32).max(axis=1) for rows in blocks(*logits.shape)]
    found = np.concatenate(highest)
    check_peaks(found, "stored logits")
    if found.any():
        raise RecordError(
            f"stored logits of sample {np.flatnonzero(found)[0]} are not less their own maximum, as they are "
            "beside 'peak'"
        )
    return Stored(labels, packed, logits, peak)
