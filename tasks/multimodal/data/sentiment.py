"""CMU-MOSI, CMU-MOSEI and CH-SIMS: spoken opinions as features of their words, sound and faces; three classes of sentiment.

Zadeh et al., IEEE Intelligent Systems 2016 (MOSI); Zadeh et al., ACL 2018 (MOSEI); Yu et al., ACL 2020 (CH-SIMS). Features are
those that MMSA releases (`unaligned_50.pkl`, of CH-SIMS `unaligned_39.pkl`). These files are pickles, which are not opened;
the suite reads npz files of the same arrays. README, "Several modalities", has the lines that convert one, at your own risk:

    import pickle, sys, numpy as np
    with open(sys.argv[1], "rb") as file:  # unpickling runs what is in the file: only of people whom you trust
        data = pickle.load(file)
    arrays = {}
    for split in ("train", "valid", "test"):
        for name in ("text", "audio", "vision"):
            x = np.asarray(data[split][name], np.float32)
            arrays[f"{split}_{name}"] = np.where(np.isfinite(x), x, 0)  # the sound of MOSI holds -inf
        arrays[f"{split}_label"] = np.sign(np.asarray(data[split]["regression_labels"])).astype(np.int64) + 1
    np.savez(sys.argv[2], **arrays)  # not savez_compressed: what is stored as it is can be mapped

`python convert.py unaligned_50.pkl mosi/mosi.npz`. Arrays are memory-mapped, a row is read when it is asked for: files may be
larger than memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.canonical import short_hash
from suite.base.errors import DataError
from suite.define.protocol import DataSet
from tasks.multilabel.data.files import other_than
from tasks.multimodal.data import media
from tasks.multimodal.data.sources import Modalities, ModalitySet, ModalitySets, register
from tasks.multimodal.data.stored_arrays import open_npz
from tasks.vision.data.arrays import digest
from tasks.vision.data.find import find as find_in

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = ("negative", "neutral", "positive")
MODALITIES = ("text", "audio", "vision")
PICKLES = (".pkl", ".pickle", ".p")
CONVERT = 'nothing of others is unpickled: convert it to npz with the ten lines in README, "Several modalities", at your own risk'
SAMPLED = 64
"""Rows of an array, evenly spread, that are looked at and that its digest covers."""
_BLOCK = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A set of features: the numbers of a step's features by modality, and of samples."""

    title: str
    summary: str
    widths: tuple[int, int, int]
    sizes: tuple[int, int]


SPECS = {
    "mosi": Spec(
        title="CMU-MOSI",
        summary="CMU-MOSI: opinions on films, words, sound and face, 1,284 train and 686 test",
        widths=(768, 5, 20),
        sizes=(1284, 686),
    ),
    "mosei": Spec(
        title="CMU-MOSEI",
        summary="CMU-MOSEI: opinions on many subjects, words, sound and face, 16,327 train and 4,659 test",
        widths=(768, 74, 35),
        sizes=(16_327, 4_659),
    ),
    "sims": Spec(
        title="CH-SIMS",
        summary="CH-SIMS: Chinese films and shows, words, sound and face, 1,368 train and 457 test",
        widths=(768, 33, 709),
        sizes=(1368, 457),
    ),
}


def layout(name: str) -> str:
    """One line."""
    arrays = ", ".join(f"SPLIT_{modality}" for modality in MODALITIES)
    return (
        f"{name}.npz with {arrays} (N, T, D) and SPLIT_label (N,), SPLIT one of train and test (valid is left out); README, "
        '"Several modalities", says how to make it of MMSA\'s pickle'
    )


def find(name: str, root: Path) -> Path:
    """The npz file: `root` itself, or NAME.npz in it or in a folder NAME below it. Raises DataError; where a pickle lies
    there instead, naming the converter."""
    root = Path(root)
    if root.is_file():
        return root
    spec = SPECS[name]
    folders = (name, name.upper(), spec.title, spec.title.lower())

    def lacking(place: Path) -> list[str] | None:
        if (place / f"{name}.npz").is_file():
            return []
        pickled = _pickled(place) if place != root else None
        if pickled is not None:
            raise DataError(
                f"{spec.title}: {pickled} is a pickle; {CONVERT}, as {place / name}.npz"
            )
        return None

    return find_in(spec.title, root, folders, layout(name), lacking) / f"{name}.npz"


def _pickled(place: Path) -> Path | None:
    try:
        return min((p for p in place.iterdir() if p.suffix in PICKLES), default=None)
    except OSError:
        return None


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the file, one line each: arrays, labels, some rows; `deep` reads all of it."""
    try:
        sets = load(name, Path(path))
    except DataError as error:
        return [str(error)]
    if not deep:
        return []
    found = []
    for split, part in (("train", sets.train), ("test", sets.test)):
        for modality, values in part.inputs.items():
            row = _first_not_finite(values, range(len(values)))
            if row is not None:
                found.append(_not_finite(Path(path), f"{split}_{modality}", row))
    return found


def differs(name: str, path: Path, deep: bool) -> str:
    """See `DataSet.differs`; `deep` also counts samples of which a modality is all zeros, so that it is missing in effect."""
    sets = load(name, Path(path))
    found = [_differences(name, sets)]
    if deep:
        for split, part in (("training", sets.train), ("test", sets.test)):
            for modality, values in part.inputs.items():
                lost = sum(int((~block.any(axis=(1, 2))).sum()) for block in _blocks(values))
                if lost:
                    found.append(
                        f"{modality} all zeros in {media.counted(lost, f'{split} sample')}"
                    )
    return ", ".join(filter(None, found))


def load(name: str, path: Path) -> ModalitySets:
    """Mapped float arrays (N, T, D) of each modality, whose T differ, and labels.

    Raises DataError: a pickle, object arrays, missing arrays, other widths, modalities of different numbers of samples, rows
    among the sampled ones that are not finite, unknown labels, a class without training sample.
    """
    import numpy as np

    path = Path(path)
    wanted = [f"{split}_{key}" for split in ("train", "test") for key in (*MODALITIES, "label")]
    arrays = open_npz(path, wanted, CONVERT)
    train, test = (_samples(name, path, split, arrays) for split in ("train", "test"))
    counts = np.bincount(train.labels, minlength=len(CLASSES))
    if not counts.all():
        raise DataError(
            f"{path}: class {CLASSES[int(counts.argmin())]} has no training sample; convert the released file again"
        )
    sets = ModalitySets(
        train=train,
        test=test,
        class_counts=tuple(counts.tolist()),
        observed={
            f"{split}-{key}": _digest(part.labels if key == "label" else part.inputs[key])
            for split, part in (("train", train), ("test", test))
            for key in (*MODALITIES, "label")
        },
    )
    return replace(sets, variant=bool(_differences(name, sets)))


def _samples(name: str, path: Path, split: str, arrays: dict[str, Array]) -> Modalities:
    import numpy as np

    inputs = {}
    for modality, width in zip(MODALITIES, SPECS[name].widths, strict=True):
        key = f"{split}_{modality}"
        values = arrays[key]
        if (
            values.ndim != 3
            or values.dtype.kind != "f"
            or values.shape[2] != width
            or not values.size
        ):
            raise DataError(
                f"{path}: {key} is {values.dtype} {values.shape}, expected floating-point numbers (N, T, {width}); take the "
                f"features that MMSA releases of {SPECS[name].title}"
            )
        rows = np.linspace(0, len(values) - 1, min(SAMPLED, len(values))).astype(int)
        row = _first_not_finite(values, rows.tolist())
        if row is not None:
            raise DataError(_not_finite(path, key, row))
        inputs[modality] = values
    labels = _labels(path, f"{split}_label", arrays[f"{split}_label"])
    try:
        # as all of them: what has places is not copied into memory
        return Modalities(inputs=inputs, labels=labels, places=_every(inputs, labels))
    except DataError as error:
        raise DataError(f"{path}, {split}: {error}; convert the released file again") from None


def _every(inputs: dict[str, Array], labels: Array) -> Array | None:
    """Places of all samples; None where the numbers disagree, which `Modalities` then tells."""
    import numpy as np

    if {len(values) for values in inputs.values()} != {len(labels)}:
        return None
    return np.arange(len(labels), dtype=np.int64)


def _labels(path: Path, key: str, values: Array) -> Array:
    """Class ids int64 (N,), of ids 0..2 of any integer type. Raises DataError."""
    import numpy as np

    if values.ndim != 1 or values.dtype.kind not in "iu" or not values.size:
        raise DataError(
            f"{path}: {key} is {values.dtype} {values.shape}, expected integers (N,), 0 negative, 1 neutral, 2 positive: the "
            "sign of the released regression labels, plus 1"
        )
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= len(CLASSES):
        raise DataError(
            f"{path}: {key} lies in {low}..{high}, expected 0 negative, 1 neutral, 2 positive: the sign of the released "
            "regression labels, plus 1"
        )
    return np.array(values, np.int64)


def _first_not_finite(values: Array, rows: Sequence[int]) -> int | None:
    import numpy as np

    for row in rows:
        if not np.isfinite(values[row]).all():
            return row
    return None


def _not_finite(path: Path, key: str, row: int) -> str:
    return f'{path}: {key}, sample {row}, holds NaN or inf; write 0 there, as the lines in README, "Several modalities", do'


def _blocks(values: Array) -> Sequence[Array]:
    """Runs of rows of some 64 MB."""
    step = max(1, _BLOCK // max(1, values[0].nbytes))
    return [values[at : at + step] for at in range(0, len(values), step)]


def _digest(values: Array) -> str:
    """Of `SAMPLED` rows, evenly spread, type and shape: reading hundreds of gigabytes at each start would take an hour."""
    import numpy as np

    if values.ndim == 1:
        return digest(values)
    rows = np.linspace(0, len(values) - 1, min(SAMPLED, len(values))).astype(int)
    made = hashlib.sha256(f"{values.dtype.str} {values.shape}\n".encode())
    for row in rows.tolist():
        made.update(np.ascontiguousarray(values[row]).data)
    return made.hexdigest()


def _differences(name: str, sets: ModalitySets) -> str:
    train, test = SPECS[name].sizes
    facts = (("training samples", train, len(sets.train)), ("test samples", test, len(sets.test)))
    return ", ".join(other_than(facts))


def declare(name: str) -> ModalitySet:
    """The data set of that name, as tasks declare it."""
    spec = SPECS[name]
    about = {"classes": CLASSES, "widths": spec.widths, "sizes": spec.sizes, "valid": "left out"}
    return ModalitySet(
        dataset=DataSet(
            name=name,
            summary=spec.summary,
            layout=layout(name),
            classes=CLASSES,
            groups={},
            group_rule="",
            find=lambda root: find(name, root),
            check=lambda path, deep: check(name, path, deep),
            differs=lambda path, deep: differs(name, path, deep),
        ),
        modalities=MODALITIES,
        split=f"{name}@{short_hash(about)}",
        counts=(),
        load=lambda path: load(name, path),
    )


SETS = {name: register(declare(name)) for name in SPECS}
