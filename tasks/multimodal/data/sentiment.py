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

`python convert.py unaligned_50.pkl mosi/mosi.npz`. Of a file that is larger than memory (`feature_files`) rows are read when
they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.canonical import short_hash
from suite.base.errors import DataError
from suite.define.protocol import DataSet
from tasks.multimodal.data import media
from tasks.multimodal.data.feature_files import open_arrays
from tasks.multimodal.data.sources import Modalities, ModalitySet, ModalitySets, register
from tasks.vision.data.arrays import digest
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import other_than

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = ("negative", "neutral", "positive")
MODALITIES = ("text", "audio", "vision")
PICKLES = (".pkl", ".pickle", ".p")
CONVERT = (
    'convert MMSA\'s pickle with the ten lines in README, "Several modalities", at your own risk'
)
SAMPLED = 64
"""Rows of a mapped array, evenly spread, that are looked at and that its digest covers."""
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
                f"{spec.title}: {pickled} is a pickle, and pickles are not opened; {CONVERT}, to {place / name}.npz"
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
    """Float arrays (N, T, D) of each modality, whose T differ, mapped where they are larger than memory, and labels.

    Raises DataError: a pickle, object arrays, missing arrays, other widths, modalities of different numbers of samples, rows
    among the sampled ones that are not finite, unknown labels, a class without training sample.
    """
    import numpy as np

    path = Path(path)
    wanted = [f"{split}_{key}" for split in ("train", "test") for key in (*MODALITIES, "label")]
    try:
        arrays, in_files = open_arrays(path, wanted)
    except DataError as error:
        raise DataError(f"{error}; {CONVERT}") from None
    train, test = (_samples(name, path, split, arrays, in_files) for split in ("train", "test"))
    counts = np.bincount(train.labels, minlength=len(CLASSES))
    if not counts.all():
        raise DataError(
            f"{path}: class {CLASSES[int(counts.argmin())]} has no training sample; convert the released file again"
        )
    sets = ModalitySets(
        train=train,
        test=test,
        class_counts=tuple(counts.tolist()),
        observed={**_observed("train", train), **_observed("test", test)},
        notes=tuple(
            f"{name}: {modality} is missing (all zeros) for {media.counted(int(lost.sum()), f'{what} sample')}, whose "
            "features of it are those of no step"
            for what, part in (("training", train), ("test", test))
            for modality, lost in (part.absent or {}).items()
        ),
    )
    return replace(sets, variant=bool(_differences(name, sets)))


def _samples(
    name: str, path: Path, split: str, arrays: Mapping[str, Array], in_files: bool
) -> Modalities:
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
        row = _first_not_finite(values, _some(values) if in_files else range(len(values)))
        if row is not None:
            raise DataError(_not_finite(path, key, row))
        inputs[modality] = values if in_files else values.astype(np.float32)
    labels = _labels(path, f"{split}_label", arrays[f"{split}_label"])
    lengths = {len(values) for values in inputs.values()} | {len(labels)}
    # what has places is not copied into memory; `Modalities` tells of numbers that disagree
    places = np.arange(len(labels)) if in_files and len(lengths) == 1 else None
    try:
        return Modalities(inputs, labels, places, {} if in_files else _lacking(inputs))
    except DataError as error:
        raise DataError(f"{path}, {split}: {error}; convert the released file again") from None


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


def _lacking(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The samples (N,) bool of which a modality is all zeros, so that it is missing; of modalities with such."""
    import numpy as np

    zeros = {name: np.logical_not(values.any(axis=(1, 2))) for name, values in inputs.items()}
    return {name: lost for name, lost in zeros.items() if lost.any()}


def _some(values: Array) -> list[int]:
    """`SAMPLED` rows, evenly spread."""
    import numpy as np

    found: list[int] = (
        np.linspace(0, len(values) - 1, min(SAMPLED, len(values))).astype(int).tolist()
    )
    return found


def _observed(split: str, part: Modalities) -> dict[str, str]:
    """Digests of a part's labels and modalities; of mapped ones of some rows: reading hundreds of gigabytes at each start
    would take an hour."""
    import numpy as np

    found = {f"{split}-labels": digest(part.labels)}
    for name, values in part.inputs.items():
        if part.places is None:
            found[f"{split}-{name}"] = digest(values)
        else:
            found[f"{split}-{name}-sampled"] = digest(part.rows(name, np.array(_some(values))))
    return found


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
