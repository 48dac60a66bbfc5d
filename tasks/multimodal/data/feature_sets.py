"""Feature sets: arrays of several views of the same samples, with their labels, as people exchange them.

A feature set is an npz file, or a folder of npy files (`feature_files`), with one array a modality, `y`, and perhaps `split`,
0 for training and 1 for test. Without `split` three fifths of each class train, drawn by a fixed seed (`stratified`).

`tasks.multimodal.data.views` has those that are known by name; a set of one's own is a `FeatureSet` that is registered
(`declare`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.canonical import short_hash
from suite.base.errors import DataError
from suite.define.protocol import DataSet
from tasks.multimodal.data.feature_checks import (
    LABELS,
    SPLIT,
    lacking_modalities,
    read_labels,
    read_split,
    require_classes,
    shaped,
)
from tasks.multimodal.data.feature_files import names, open_arrays
from tasks.multimodal.data.sources import Modalities, ModalitySet, ModalitySets, register
from tasks.multimodal.data.splits import RULE, stratified
from tasks.vision.data.arrays import digest
from tasks.vision.data.find import find as find_in

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_BLOCK = 1 << 26
"""Bytes of a mapped array that a check looks at together."""
_SAMPLED = 1024
"""Rows of a mapped array that its digest is over; hashing hundreds of gigabytes would take longer than many a training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSet:
    """What is known of a feature set without data.

    Attributes:
        name, summary: of the data set.
        files: names that the npz file goes by.
        folders: below the data root, where it may lie.
        classes: names in label order.
        shapes: modality -> shape of a sample: (D,) of vectors, (C, H, W) of pictures, (T, D) of sequences. Channels may be
            left out in the file where there is one.
        lacks: what becomes of samples without a modality, all of whose numbers are NaN: `refuse`, or `zero`.
        warning: what readers of its numbers have to know; "" for nothing.
        known: {"train": counts, "test": counts, "observed": digests} of the published copy, with the training samples of
            each class; {} where there is none.
    """

    name: str
    summary: str
    files: tuple[str, ...]
    folders: tuple[str, ...] = ()
    classes: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    lacks: str = "refuse"
    warning: str = ""
    known: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.lacks not in ("refuse", "zero"):
            raise ValueError(f"lacks is {self.lacks!r}, expected refuse or zero")

    @property
    def layout(self) -> str:
        arrays = ", ".join(f"{name} {('N', *shape)}" for name, shape in self.shapes.items())
        arrays = arrays.replace("'", "")
        return (
            f"{self.name}/{self.files[0]} with {arrays}, {LABELS} (N,) and perhaps {SPLIT} (N,), 0 training and 1 test; "
            f"or these arrays as npy files in {self.name}/"
        )


def declare(features: FeatureSet) -> ModalitySet:
    """Make a feature set known by its name (`sources.SETS`)."""
    known = features.known
    about = {"observed": known.get("observed", {}), "unsplit": RULE}
    return register(
        ModalitySet(
            dataset=DataSet(
                name=features.name,
                summary="; ".join(filter(None, (features.summary, features.warning))),
                layout=features.layout,
                classes=features.classes,
                groups={},
                group_rule="",
                find=lambda root: find(features, root),
                check=lambda path, deep: check(features, path, deep),
                differs=lambda path, deep: differs(features, path) if deep else "",
            ),
            modalities=tuple(features.shapes),
            split=f"{features.name}@{short_hash(about)}",
            counts=tuple(known.get("train", ())),
            load=lambda path: load(features, path),
        )
    )


def find(features: FeatureSet, root: Path) -> Path:
    """The npz file, or the folder of npy files: `root` itself, or below it. Raises DataError."""
    if Path(root).is_file() and Path(root).name in features.files:
        return Path(root)
    arrays = [f"{name}.npy" for name in (LABELS, *features.shapes)]

    def lacking(place: Path) -> list[str] | None:
        if place.name in features.files:
            return [] if place.is_file() else None
        absent = [name for name in arrays if not (place / name).is_file()]
        # labels alone may be another set's
        return None if set(arrays[1:]) <= set(absent) else [f"{name} is missing" for name in absent]

    folders = (features.name, *features.folders)
    below = [
        *(
            f"{place}{file}"
            for place in ("", *(f"{f}/" for f in folders))
            for file in features.files
        ),
        *folders,
    ]
    return find_in(features.name, root, below, features.layout, lacking)


def check(features: FeatureSet, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy, one line each: arrays that are missing; `deep` reads all of it, mapped arrays too."""
    try:
        if deep:
            sets = load(features, path)
            return [
                line
                for part in (sets.train, sets.test)
                if part.places is not None
                for name in features.shapes
                for line in _unread(path, name, part)
            ]
        there = names(path)
    except DataError as error:
        return [str(error)]
    absent = [name for name in (*features.shapes, LABELS) if name not in there]
    return [f"{path} has no array {name!r}; copy it again, or add the array" for name in absent]


def differs(features: FeatureSet, path: Path) -> str:
    """What a sound copy has other than the published one. Raises DataError."""
    return _differences(features, load(features, path))


def load(features: FeatureSet, path: Path) -> ModalitySets:
    """Training and test set. Numbers are float32, or uint8 as they are; mapped ones of whatever type.

    Raises DataError, one line: damaged or foreign files, object arrays, another shape, modalities of different lengths,
    numbers that are not finite, samples without a modality where they are refused, or without any; labels outside the
    classes, a class without training sample.
    """
    path = Path(path)
    files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    try:
        stamp = tuple((s.st_size, s.st_mtime_ns) for s in (file.stat() for file in files))
    except OSError as error:
        raise DataError(f"{features.name}: {error.filename}: {error.strerror}") from None
    return _read(features, path, stamp)


@lru_cache(maxsize=2)
def _read(features: FeatureSet, path: Path, stamp: tuple[tuple[int, int], ...]) -> ModalitySets:
    """`stamp` is there to miss the cache once a file has changed."""
    import numpy as np

    opened = open_arrays(path, (*features.shapes, LABELS), (SPLIT,))
    arrays = dict(opened.arrays)
    labels = read_labels(path, features.classes, arrays.pop(LABELS))
    split = arrays.pop(SPLIT, None)
    inputs = {n: shaped(path, n, arrays[n], shape) for n, shape in features.shapes.items()}
    lengths = {**{name: len(values) for name, values in inputs.items()}, LABELS: len(labels)}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in lengths.items())
        raise DataError(f"{path}: arrays have different numbers of samples: {told}; copy it again")
    test = ~stratified(labels) if split is None else read_split(path, split, len(labels))
    require_classes(path, features.classes, labels, test)
    if opened.in_files:
        return _sets(features, inputs, labels, test, {})
    inputs = {
        n: values if values.dtype == np.uint8 else values.astype(np.float32)
        for n, values in inputs.items()
    }
    absent = lacking_modalities(path, inputs, features.lacks == "refuse")
    for name, lost in absent.items():
        there = ~lost & ~test
        if not there.any():
            raise DataError(f"{path}: no training sample has modality {name!r}; copy it again")
        inputs[name][lost] = inputs[name][there].mean(axis=0, dtype=float)
    return _sets(features, inputs, labels, test, absent)


def _sets(
    features: FeatureSet,
    inputs: Mapping[str, Array],
    labels: Array,
    test: Array,
    absent: Mapping[str, Array],
) -> ModalitySets:
    import numpy as np

    in_files = any(isinstance(values, np.memmap) for values in inputs.values())
    every = np.arange(len(labels)) if in_files else None
    whole = Modalities(inputs, labels, every, absent)
    train, tested = whole.take(~test), whole.take(test)
    counts = np.bincount(train.labels, minlength=len(features.classes)).tolist()
    notes = [
        f"{features.name}: modality {name!r} is missing for {int(lost.sum()):,} of {len(lost):,} samples; zeros stand for "
        "it, once it is standardised"
        for name, lost in absent.items()
    ]
    sets = ModalitySets(
        train=train,
        test=tested,
        class_counts=tuple(counts),
        observed={**_observed("train", train), **_observed("test", tested)},
        notes=tuple(filter(None, (features.warning, *notes))),
    )
    return replace(sets, variant=bool(_differences(features, sets)))


def _differences(features: FeatureSet, sets: ModalitySets) -> str:
    known = features.known
    parts = {"train": ("training", sets.train), "test": ("test", sets.test)}
    found = [
        f"{len(part):,} {what} samples instead of {sum(known[of]):,}"
        for of, (what, part) in parts.items()
        if known and len(part) != sum(known[of])
    ]
    for name in features.shapes:
        lost = sum(int(part.lacking(name).sum()) for _, part in parts.values())
        if lost:
            found.append(f"{name} is missing for {lost:,} samples")
    if known and not found:
        found = [
            f"the {what.replace('-', ' ')} are not those of the tracked manifest"
            for what, value in sets.observed.items()
            if known["observed"].get(what) != value
        ]
    return ", ".join(found)


def _observed(split: str, part: Modalities) -> dict[str, str]:
    """Digests of a part's labels and modalities, in their order; of mapped ones of some rows, evenly spread."""
    import numpy as np

    found = {f"{split}-labels": digest(part.labels)}
    for name, values in part.inputs.items():
        if part.places is None:
            found[f"{split}-{name}"] = digest(values)
        else:
            some = np.linspace(0, len(part) - 1, min(_SAMPLED, len(part))).astype(np.int64)
            found[f"{split}-{name}-sampled"] = digest(part.rows(name, some))
    return found


def _unread(path: Path, name: str, part: Modalities) -> Iterator[str]:
    """Of a mapped modality, how many rows are not finite."""
    import numpy as np

    bad, at_once = 0, max(1, _BLOCK // part.inputs[name][:1].nbytes)
    for begin in range(0, len(part), at_once):
        rows = part.rows(name, np.arange(begin, min(begin + at_once, len(part))))
        if rows.dtype.kind == "f":
            bad += int((~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)).sum())
    if bad:
        yield f"{path}: {name} of {bad:,} of {len(part):,} samples is not finite; copy it again, or leave these samples out"
