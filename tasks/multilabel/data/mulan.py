"""Five label sets of Mulan: yeast, scene, emotions, corel5k and bibtex, with their training and test sets.

Tsoumakas, Spyromitros-Xioufis, Vilcek and Vlahavas, "Mulan: A Java Library for Multi-Label Learning", JMLR 12, 2011, keeps
them (data/multi-label of its repository); each set's README names the paper to cite. A set is two ARFF files, dense or
sparse, and an XML file that says which attributes are labels; nested labels (yeast's) count like the others. A *pack* is
an npz file: `X` float32 (N, D), `Y` uint8 (N, L) of 0 and 1, `split` uint8 (N,), 0 for training and 1 for test, and the
names `labels` (L,).

Labels are in the order of the tracked manifest, with its names, whatever the order and the capitals of a copy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.bounded import parse_pack
from suite.base.errors import DataError, RecordError, did_you_mean
from tasks.multilabel.data.arff_files import read_arff
from tasks.multilabel.data.files import read_xml
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing, other_than
from tasks.vision.data.lists import shown
from tasks.vision.data.small_files import read_bytes

if TYPE_CHECKING:
    import numpy as np

    from tasks.multilabel.data.labelled import Labelled, LabelSets

    Array = np.ndarray[Any, np.dtype[Any]]

NAMES = ("yeast", "scene", "emotions", "corel5k", "bibtex")
LAYOUT = {
    name: (
        f"{name}-train.arff, {name}-test.arff and {name}.xml of Mulan (capitals do not matter, and `-sparse` may stand "
        f"before .arff), or the pack {name}.npz"
    )
    for name in NAMES
}
MAX_PACK = 1 << 28
"""Bytes of a pack, and of its arrays; the largest known unpacks to 55 million."""
Stamp = tuple[tuple[int, int], ...]
_MANIFEST = Path(__file__).parent / "manifests" / "mulan.json"
_SPLITS = ("train", "test")


def names(name: str) -> tuple[str, ...]:
    """Label names in order."""
    return tuple(manifest(name)["labels"])


@cache
def manifest(name: str) -> dict[str, Any]:
    """The tracked manifest: {"labels": names in order, "features": D, "train": samples, "test": samples, "positives":
    training samples of each label, "observed": digests as `labelled.observed` gives them}."""
    every: dict[str, dict[str, Any]] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    return every[name]


def identity(name: str) -> dict[str, Any]:
    """What is known of its samples and labels without a copy: what a protocol's split stands for."""
    return {"labels": list(names(name)), "observed": manifest(name)["observed"]}


def find(name: str, root: Path) -> Path:
    """The folder of the three files, or else the pack: `root` itself, or below it. Raises DataError."""
    pack = f"{name}.npz"
    if Path(root).is_file() and Path(root).name == pack:
        return Path(root)

    def lacking(place: Path) -> list[str] | None:
        if place.name == pack:
            return [] if place.is_file() else None
        wanted = _wanted(name)
        there = _files(name, place)
        return missing(wanted, [w for w, file in zip(wanted, there, strict=True) if file is None])

    folders = (
        name,
        f"mulan/{name}",
        "mulan",
        f"multilabel/{name}",
        "multilabel",
        name.capitalize(),
    )
    below = (*folders, *(f"{place}{pack}" for place in ("", f"{name}/", "mulan/", "multilabel/")))
    return find_in(name, root, below, LAYOUT[name], lacking)


def is_pack(path: Path) -> bool:
    """Whether `path`, as `find` gave it, is a pack."""
    return Path(path).suffix == ".npz"


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy at `path`, one line each: missing files, other labels in the XML; `deep` reads all of
    it."""
    path = Path(path)
    try:
        if deep:
            load(name, path)
        else:
            _require_files(name, path)
            if not is_pack(path):
                _declared_labels(name, _some_file(name, path, 2))
    except DataError as error:
        return [str(error)]
    return []


def differs(name: str, path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for files that cannot be read."""
    return _differences(name, load(name, path)) if deep else ""


def load(name: str, path: Path) -> LabelSets:
    """Training and test set: features float32 (N, D) in the order of the attributes.

    A label may be without training sample (three of corel5k are). Raises DataError: damaged or foreign files, another
    number of features, other labels; where liac-arff, which ARFF files need, is not installed.
    """
    path = Path(path)
    _require_files(name, path)
    return _read(name, path, _stamp(name, path))


@lru_cache(maxsize=2)
def _read(name: str, path: Path, stamp: Stamp) -> LabelSets:
    """`stamp` is there to miss the cache once a file has changed."""
    from tasks.multilabel.data.labelled import label_sets

    train, test = read_pack(name, path) if is_pack(path) else read_mulan(name, path)
    return label_sets(train, test, lambda sets: _differences(name, sets))


def _differences(name: str, sets: LabelSets) -> str:
    known = manifest(name)
    found = other_than(
        (f"{'training' if split == 'train' else 'test'} samples", known[split], len(part))
        for split, part in (("train", sets.train), ("test", sets.test))
    )
    if not found:
        found = [
            f"the {what.replace('-', ' ')} are not those of the tracked manifest"
            for what, digest in sets.observed.items()
            if digest != known["observed"][what]
        ]
    return ", ".join(found)


# -- Mulan's files


def read_mulan(name: str, folder: Path) -> tuple[Labelled, Labelled]:
    """(train, test) of a folder. Raises DataError."""
    import numpy as np

    from tasks.multilabel.data.labelled import Labelled

    known = manifest(name)
    xml = _some_file(name, folder, 2)
    labels = _declared_labels(name, xml)
    parts, features = [], None
    for place in range(len(_SPLITS)):
        file = _some_file(name, folder, place)
        table = read_arff(file, known["features"] + len(known["labels"]))
        columns = [a.name for a in table.attributes]
        chosen = _columns(file, xml, columns, labels)
        rest = np.setdiff1d(np.arange(len(columns)), chosen)
        inputs = [columns[i] for i in rest.tolist()]
        if features is not None and inputs != features:
            raise DataError(
                f"{file} has other features than {_some_file(name, folder, 0)}; copy both again"
            )
        features = inputs
        shows = table.values[:, chosen]
        row, column = np.nonzero((shows != 0) & (shows != 1))
        if row.size:
            raise DataError(
                f"{file}: label {shown(columns[chosen[column[0]]])} is {shows[row[0], column[0]]:g} in row {row[0] + 1}, "
                "expected 0 or 1; copy it again"
            )
        parts.append(Labelled(np.ascontiguousarray(table.values[:, rest]), shows == 1))
    return parts[0], parts[1]


def _declared_labels(name: str, file: Path) -> dict[str, str]:
    """The manifest's label -> how the XML spells it, in the manifest's order. Raises DataError for other labels."""
    root = read_xml(file)
    if _tag(root.tag) != "labels":
        raise DataError(
            f"{file} is no list of labels: its root is <{shown(_tag(root.tag))}>; copy it again"
        )
    spelled: dict[str, str] = {}
    for element in root.iter():
        if element is root:
            continue
        label = element.get("name")
        if _tag(element.tag) != "label" or not label:
            raise DataError(
                f'{file}: expected <label name="...">, found <{shown(_tag(element.tag))}>; copy it again'
            )
        if label.lower() in spelled:
            raise DataError(f"{file} names the label {shown(label)} twice; copy it again")
        spelled[label.lower()] = label
    known = names(name)
    foreign = [label for label in spelled if label not in set(known)]
    if foreign:
        raise DataError(
            f"{file}: {name} has no label {shown(foreign[0])}{did_you_mean(foreign[0], known)[:200]}"
        )
    absent = [label for label in known if label not in spelled]
    if absent:
        raise DataError(
            f"{file} names {len(spelled)} of the {len(known)} labels of {name}: {absent[0]} is missing; copy it again"
        )
    return {label: spelled[label] for label in known}


def _tag(tag: str) -> str:
    return tag.rpartition("}")[2]


def _columns(file: Path, xml: Path, columns: Sequence[str], labels: dict[str, str]) -> list[int]:
    """Where the labels stand among the attributes, in the manifest's order."""
    exactly = {column: place for place, column in enumerate(columns)}
    loosely: dict[str, int | None] = {}
    for place, column in enumerate(columns):
        loosely[column.lower()] = None if column.lower() in loosely else place
    found = []
    for label, spelled in labels.items():
        found_at = exactly.get(spelled, loosely.get(label))
        if found_at is None:
            raise DataError(
                f"{file} has no attribute {shown(spelled)}, which {xml} names as a label; copy both again"
            )
        found.append(found_at)
    return found


def _wanted(name: str) -> list[str]:
    return [*(f"{name}-{split}.arff" for split in _SPLITS), f"{name}.xml"]


def _files(name: str, folder: Path) -> list[Path | None]:
    """Files of training set, test set and labels, in whatever capitals; None for what is not there."""
    try:
        there = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True)}
    except OSError:
        there = {}
    found = []
    for file in _wanted(name):
        sparse = file.replace(".arff", "-sparse.arff")
        found.append(there.get(file) or there.get(sparse))
    return found


def _some_file(name: str, folder: Path, which: int) -> Path:
    file = _files(name, folder)[which]
    if file is None:
        raise DataError(f"{folder / _wanted(name)[which]} is missing; copy it there")
    return file


def _require_files(name: str, path: Path) -> None:
    if is_pack(path):
        if not path.is_file():
            raise DataError(f"{path} is missing; copy the pack there")
    else:
        for which in range(3):
            _some_file(name, path, which)


def _stamp(name: str, path: Path) -> Stamp:
    files = [path] if is_pack(path) else [_some_file(name, path, which) for which in range(3)]
    try:
        found = [file.stat() for file in files]
    except OSError as error:
        raise DataError(f"{name}: {error.filename}: {error.strerror}") from None
    return tuple((file.st_size, file.st_mtime_ns) for file in found)


# -- packs


def read_pack(name: str, path: Path) -> tuple[Labelled, Labelled]:
    """(train, test) of a pack. Raises DataError."""
    import numpy as np

    from tasks.multilabel.data.labelled import Labelled

    known = manifest(name)
    try:
        arrays = parse_pack(read_bytes(path, MAX_PACK), path, MAX_PACK)
    except RecordError as error:
        raise DataError(f"{error}; copy the pack again") from None
    absent = [key for key in ("X", "Y", "split", "labels") if key not in arrays]
    if absent:
        raise _no_pack(name, path, f"it has no array {absent[0]}")
    inputs, shows, split, labels = (arrays[key] for key in ("X", "Y", "split", "labels"))
    expected = (len(inputs) if inputs.ndim == 2 else -1, known["features"])
    if inputs.dtype != np.float32 or inputs.shape != expected:
        raise _no_pack(
            name, path, f"X is {inputs.dtype} {inputs.shape}, expected float32 (N, {expected[1]})"
        )
    if shows.dtype != np.uint8 or shows.shape != (len(inputs), len(known["labels"])):
        raise _no_pack(
            name,
            path,
            f"Y is {shows.dtype} {shows.shape}, expected uint8 ({len(inputs)}, {len(known['labels'])})",
        )
    if split.dtype != np.uint8 or split.shape != (len(inputs),):
        raise _no_pack(
            name, path, f"split is {split.dtype} {split.shape}, expected uint8 ({len(inputs)},)"
        )
    for key, array in (("Y", shows), ("split", split)):
        if array.size and array.max() > 1:
            raise _no_pack(name, path, f"{key} holds {array.max()}, expected 0 or 1")
    found = [str(label).lower() for label in labels.ravel().tolist()]
    if labels.ndim != 1 or sorted(found) != sorted(known["labels"]):
        other = next((label for label in found if label not in known["labels"]), None)
        detail = f", {shown(other)} among them" if other else ""
        raise _no_pack(name, path, f"its labels are not those of {name}{detail}")
    order = [found.index(label) for label in known["labels"]]
    parts = []
    for value, title in enumerate(("training", "test")):
        rows = split == value
        if not rows.any():
            raise _no_pack(name, path, f"it has no {title} sample")
        bad = np.flatnonzero(rows & ~np.isfinite(inputs).all(axis=1))
        if bad.size:
            raise _no_pack(name, path, f"a feature of sample {bad[0]} is not finite")
        parts.append(Labelled(inputs[rows], shows[rows][:, order] == 1))
    return parts[0], parts[1]


def _no_pack(name: str, path: Path, why: str) -> DataError:
    return DataError(f"{path} is no pack of {name}: {why}; copy it again")
