"""Samples with label matrices, checked where they enter."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision.data.arrays import digest

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Labelled:
    """N samples and their labels. Raises DataError for anything else, and for no sample.

    Attributes:
        inputs: images uint8 (N, C, H, W), vectors float32 (N, D) without NaN and inf, or the paths of N image files,
            relative to the data set's folder, each once.
        labels: bool (N, L), L >= 1.
    """

    inputs: Array | tuple[str, ...]
    labels: Array

    def __post_init__(self) -> None:
        import numpy as np

        inputs, labels = self.inputs, self.labels
        if labels.ndim != 2 or labels.dtype != bool or not labels.shape[1]:
            raise DataError(f"labels are {labels.dtype} {labels.shape}, expected bool (N, L)")
        if not isinstance(inputs, tuple):
            expected = {"uint8": 4, "float32": 2}.get(str(inputs.dtype))
            if inputs.ndim != expected:
                raise DataError(
                    f"inputs are {inputs.dtype} {inputs.shape}, expected uint8 (N, C, H, W) or float32 (N, D)"
                )
            if inputs.dtype == np.float32:
                bad = np.flatnonzero(~np.isfinite(inputs).all(axis=1))
                if bad.size:
                    raise DataError(
                        f"features of sample {bad[0]} ({bad.size} of {len(inputs)} samples) are not finite"
                    )
        elif len(set(inputs)) < len(inputs):
            twice = Counter(inputs).most_common(1)[0][0]
            raise DataError(f"image {twice!r} is named twice")
        if len(inputs) != len(labels):
            raise DataError(f"labels of {len(labels)} samples, but {len(inputs)} inputs")
        if not len(labels):
            raise DataError("there is no sample")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Array) -> Labelled:
        """The samples at these places, (M,) integers or (N,) bool."""
        import numpy as np

        if not isinstance(self.inputs, tuple):
            return Labelled(self.inputs[places], self.labels[places])
        chosen = np.arange(len(self))[places]
        return Labelled(tuple(self.inputs[i] for i in chosen), self.labels[chosen])


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelSets:
    """A training set and its test set, of the same L labels.

    Attributes:
        train: with the labels that training sees; some may be missing (`missing`).
        class_counts: training samples that show each label, of the full labels: groups hang on them.
        observed: digests of this copy, name -> hex.
        variant: whether it differs from what was published.
    """

    train: Labelled
    test: Labelled
    class_counts: tuple[int, ...]
    observed: Mapping[str, str]
    variant: bool = False


def positives(labels: Array) -> tuple[int, ...]:
    """Samples that show each label, of `labels` bool (N, L)."""
    return tuple(labels.sum(axis=0).tolist())


def label_sets(
    train: Labelled, test: Labelled, differences: Callable[[LabelSets], str]
) -> LabelSets:
    """Of a copy that was read with its full labels; `differences` tells what it has other than was published, "" for
    nothing."""
    sets = LabelSets(
        train=train,
        test=test,
        class_counts=positives(train.labels),
        observed=observed(train, test),
    )
    return replace(sets, variant=bool(differences(sets)))


def observed(train: Labelled, test: Labelled) -> dict[str, str]:
    """Digests of inputs (of files: their paths) and labels of both sets, in their order."""
    found = {}
    for name, part in (("train", train), ("test", test)):
        if isinstance(part.inputs, tuple):
            paths = "".join(f"{path}\n" for path in part.inputs)
            found[f"{name}-paths"] = hashlib.sha256(paths.encode()).hexdigest()
        else:
            found[f"{name}-inputs"] = digest(part.inputs)
        found[f"{name}-labels"] = digest(part.labels)
    return found
