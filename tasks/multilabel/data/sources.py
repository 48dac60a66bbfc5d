"""Multi-label data sets by name: their labels, what a protocol has to know of them, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.multilabel.data import catalogued, scenes
from tasks.multilabel.data.missing import kept
from tasks.vision.data.arrays import digest

if TYPE_CHECKING:
    from tasks.multilabel.data.labelled import LabelSets


@dataclass(frozen=True)
class LabelSource:
    """Which samples train, and with which of their labels.

    Attributes:
        name: of the data set.
        missing: which labels are missing in training, of `missing.MISSING`; "" for none.
    """

    name: str
    missing: str = ""

    def config(self) -> dict[str, Any]:
        """As keyword arguments, for a config."""
        return asdict(self)


READERS: dict[str, Callable[[str, Path], LabelSets]] = {
    scenes.NAME: scenes.load,
    **{name: reader.load for name, reader in catalogued.READERS.items()},
}
"""(name, place as `DataSet.find` gave it) -> the sets. A task adds its own where it is imported, and names that module
in its config's imports."""


@lru_cache(maxsize=4)
def load(source: LabelSource, path: Path) -> LabelSets:
    """The sets; `train.labels` are those that training sees. Raises DataError for a damaged copy.

    Read once a process: facts, training and test set of a run ask for the same arrays.
    """
    if not source.missing:
        return READERS[source.name](source.name, path)
    full = load(replace(source, missing=""), path)
    labels = kept(full.train.labels, source.missing)
    return replace(
        full,
        train=replace(full.train, labels=labels),
        observed={**full.observed, "train-kept-labels": digest(labels)},
    )
