"""Arrays of a feature set, checked where they enter: whatever is wrong is a DataError of one line, which says where and what to
do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LABELS, SPLIT = "y", "split"
"""Names of the arrays of class ids, and of what tests."""


def read_labels(path: Path, classes: Sequence[str], labels: Array) -> Array:
    """Class ids int64 (N,)."""
    import numpy as np

    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
        raise DataError(
            f"{path}: {LABELS} is {labels.dtype} {labels.shape}, expected integers (N,), the class ids; save them so"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        raise DataError(
            f"{path}: class ids in {LABELS} lie in {low}..{high}, expected 0..{len(classes) - 1}; number them so"
        )
    return np.array(labels, np.int64)


def read_split(path: Path, split: Array, count: int) -> Array:
    """(N,) bool: which samples test."""
    import numpy as np

    if split.shape != (count,) or split.dtype.kind not in "biu":
        raise DataError(
            f"{path}: {SPLIT} is {split.dtype} {split.shape}, expected integers ({count},): 0 for training, 1 for test"
        )
    other = np.setdiff1d(split.astype(np.int64), (0, 1))
    if other.size:
        raise DataError(f"{path}: {SPLIT} holds {other[0]}, expected 0 for training and 1 for test")
    test: Array = split == 1
    for title, none in (("training", test.all()), ("test", not test.any())):
        if none:
            raise DataError(
                f"{path}: {SPLIT} leaves no {title} sample; leave {SPLIT} out to have one drawn"
            )
    return test


def require_classes(path: Path, classes: Sequence[str], labels: Array, test: Array) -> None:
    import numpy as np

    count = len(classes)
    trained, tested = (np.bincount(labels[part], minlength=count) for part in (~test, test))
    absent = np.flatnonzero(trained == 0)
    if absent.size:
        c = int(absent[0])
        more = f" (nor have {absent.size - 1} more classes)" if absent.size > 1 else ""
        has = f"has {tested[c]:,} test samples, but" if tested[c] else "has"
        raise DataError(
            f"{path}: class {c} ({classes[c]}) {has} no training sample{more}; complete the set, or split it otherwise"
        )
    if not test.any():
        raise DataError(f"{path}: {len(labels)} samples are too few for a test set; add {SPLIT}")


def shaped(path: Path, name: str, values: Array, shape: tuple[int, ...]) -> Array:
    """(N, *shape), with the channel where it was left out."""
    given = values.shape[1:]
    if values.dtype.kind not in "biuf" or (given != shape and (1, *given) != shape):
        raise DataError(
            f"{path}: {name} is {values.dtype} {values.shape}, expected numbers {('N', *shape)}".replace(
                "'", ""
            )
            + "; copy it again"
        )
    return values[:, None] if given != shape else values


def lacking_modalities(path: Path, inputs: Mapping[str, Array], refuse: bool) -> dict[str, Array]:
    """Modality -> (N,) bool, the samples that come without it: all NaN. Only modalities that some sample lacks."""
    import numpy as np

    found: dict[str, Array] = {}
    for name, values in inputs.items():
        if values.dtype.kind != "f":
            continue
        rows = values.reshape(len(values), -1)
        lost: Array = np.asarray(np.isnan(rows).all(axis=1))
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1) & ~lost)
        if bad.size:
            raise DataError(
                f"{path}: {name} of sample {bad[0]} ({bad.size:,} of {len(rows):,} samples) is not finite; copy it again, or "
                "leave these samples out"
            )
        if lost.any():
            found[name] = lost
    nothing = np.flatnonzero(
        np.all([found.get(n, np.zeros(len(v), bool)) for n, v in inputs.items()], axis=0)
    )
    if nothing.size:
        raise DataError(f"{path}: sample {nothing[0]} has no modality at all; leave it out")
    if found and refuse:
        name, lost = next(iter(found.items()))
        raise DataError(
            f"{path}: {name} is missing (all NaN) for {lost.sum():,} of {len(lost):,} samples, sample {lost.argmax()} the "
            f"first, and this data set needs every modality of each; complete them, or leave these samples out"
        )
    return found
