"""ModelNet40: objects of 40 classes, rendered on a turntable; two of an object's views are its modalities.

Wu et al., "3D ShapeNets: A Deep Representation for Volumetric Shapes", CVPR 2015. The pictures are those that the released
code of MMTM, OGM-GE and ReconBoost reads: 180 of each object. Split and order are those of PointNet's files
of names; the point clouds beside them are not needed, since the class is in the name.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from suite.base.bounded import read_file
from suite.base.canonical import short_hash
from suite.base.errors import DataError, RecordError
from suite.define.protocol import DataSet
from tasks.multimodal.data import media
from tasks.multimodal.data.sources import Modalities, ModalitySet, ModalitySets, register
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing, other_than
from tasks.vision.data.lists import shown

NAME = "modelnet40"
CLASSES = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup", "curtain",
    "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp", "laptop", "mantel", "monitor",
    "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa", "stairs", "stool", "table",
    "tent", "toilet", "tv_stand", "vase", "wardrobe", "xbox",
)  # fmt: skip
MODALITIES = ("view1", "view2")
VIEWS = {"view1": (0, 90), "view2": (90, 180)}
"""Modality -> the places that its views are drawn from, first and beyond the last."""
TEST_VIEWS = {"view1": 45, "view2": 135}
SIZES = {"train": 9438, "test": 2468}
"""Objects, as of ReconBoost's code."""
FOLDERS = ("modelnet40", "ModelNet40", "modelnet", "ModelNet")
LAYOUT = (
    "image/<class>/<object>/<object>.<0..179>.png, and pt/ply_data_train_<i>_id2file.json and ply_data_test_<i>_id2file.json "
    "(from modelnet40_ply_hdf5_2048; the .h5 files beside them are not needed)"
)
MAX_JSON = 1 << 24
_FILE = re.compile(r"ply_data_(train|test)_(\d{1,3})_id2file\.json", re.ASCII)
_OBJECT = re.compile(r"([a-z_]+)/(\1_\d{4})\.ply", re.ASCII)
_KINDS = {
    name: media.turntable((VIEWS[name][0], TEST_VIEWS[name], VIEWS[name][1] - 1))
    for name in MODALITIES
}


@dataclass(frozen=True)
class Objects:
    """The objects of a split whose pictures are there, `class/object`, in order; `gone`: how many are listed beside them."""

    names: tuple[str, ...]
    gone: int


def find(root: Path) -> Path:
    """The folder of pictures and names: `root`, or one of the usual names below it. Raises DataError."""
    wanted = ["image", *(f"pt/ply_data_{split}_0_id2file.json" for split in SIZES)]

    def lacking(place: Path) -> list[str] | None:
        return missing(wanted, [name for name in wanted if not (place / name).exists()])

    return find_in("ModelNet40", root, FOLDERS, LAYOUT, lacking)


def check(path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: names, and whether the first, the test's and the last picture of
    a sample of objects are there; `deep` opens these of all objects. Objects without a folder: see `differs`."""
    try:
        sets, _, _ = _read(Path(path))
    except DataError as error:
        return [str(error)]
    return media.problems(Path(path), sets, _KINDS, deep)


def differs(path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for names that cannot be read."""
    return _differences(*_read(Path(path)))


def load(path: Path) -> ModalitySets:
    """Objects `image/<class>/<object>/<object>`, whose views are `<that>.<0..179>.png`, for both modalities alike. Objects
    whose folder is not there are left out.

    Raises DataError: damaged names, a class without training object, absent pictures.
    """
    sets, _, _ = _read(Path(path))
    media.require(Path(path), sets, _KINDS)
    return sets


def listed(path: Path, split: str) -> tuple[str, ...]:
    """`class/object` of a split, in the order of its files' numbers and within them. Raises DataError: damaged, a number
    missing between two, an object listed twice, another class."""
    numbers = sorted(
        int(found[2])
        for name in os.listdir(path / "pt")
        if (found := _FILE.fullmatch(name)) and found[1] == split
    )
    names: list[str] = []
    for expected, number in enumerate(numbers):
        file = path / "pt" / f"ply_data_{split}_{expected}_id2file.json"
        if number != expected:
            raise DataError(f"{file} is missing, while number {number} is there; copy it again")
        names += _names(file)
    again = [name for name, count in Counter(names).items() if count > 1]
    if again:
        raise DataError(
            f"{path / 'pt'}: object {again[0]} of the {split} files is listed twice; copy them again"
        )
    return tuple(names)


def _names(file: Path) -> list[str]:
    try:
        entries = msgspec.json.decode(read_file(file.resolve(), MAX_JSON), type=list[str])
    except (msgspec.MsgspecError, RecordError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{file} is no list of names ({reason}); copy it again") from None
    made = []
    for entry in entries:
        found = _OBJECT.fullmatch(entry)
        if found is None or found[1] not in CLASSES:
            raise DataError(
                f"{file}: {shown(entry)} is no object of ModelNet40, such as chair/chair_0001.ply; copy it again"
            )
        made.append(f"{found[1]}/{found[2]}")
    return made


def _there(path: Path, names: Sequence[str]) -> Objects:
    """Of the listed objects those that have a folder of pictures."""
    folders: set[str] = set()
    for label in CLASSES:
        try:
            folders |= {f"{label}/{name}" for name in os.listdir(path / "image" / label)}
        except OSError:
            continue  # then all objects of the class are gone, which is told
    kept = tuple(name for name in names if name in folders)
    return Objects(kept, len(names) - len(kept))


def _read(path: Path) -> tuple[ModalitySets, Objects, Objects]:
    train, test = (_there(path, listed(path, split)) for split in ("train", "test"))
    both = sorted(set(train.names) & set(test.names))
    if both:
        raise DataError(
            f"{path / 'pt'}: {media.counted(len(both), 'object')} in both training and test: {', '.join(both[:3])}; copy the names again"
        )
    if not test.names:
        raise DataError(
            f"{path / 'image'}: no test object has a folder of pictures; copy them there"
        )
    counted = Counter(name.partition("/")[0] for name in train.names)
    empty = [label for label in CLASSES if not counted[label]]
    if empty:
        more = f" (nor have {len(empty) - 1} more classes)" if len(empty) > 1 else ""
        raise DataError(
            f"{path / 'image'}: class {empty[0]} has no training object{more}; copy the pictures there"
        )
    sets = ModalitySets(
        train=_samples(train.names),
        test=_samples(test.names),
        class_counts=tuple(counted[label] for label in CLASSES),
        observed={"train-list": _digest(train.names), "test-list": _digest(test.names)},
    )
    return replace(sets, variant=bool(_differences(sets, train, test))), train, test


def _samples(names: Sequence[str]) -> Modalities:
    import numpy as np

    stems = tuple(f"image/{name}/{name.partition('/')[2]}" for name in names)
    labels = [CLASSES.index(name.partition("/")[0]) for name in names]
    return Modalities(inputs=dict.fromkeys(MODALITIES, stems), labels=np.array(labels, np.int64))


def _differences(sets: ModalitySets, train: Objects, test: Objects) -> str:
    found = other_than(
        (
            ("training objects", SIZES["train"], len(sets.train)),
            ("test objects", SIZES["test"], len(sets.test)),
        )
    )
    if found and (train.gone or test.gone):
        found.append(
            f"{media.counted(train.gone, 'training object')} and {media.counted(test.gone, 'test object')} without pictures left out"
        )
    return ", ".join(found)


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()


SET = register(
    ModalitySet(
        dataset=DataSet(
            name=NAME,
            summary="ModelNet40: 40 classes of objects rendered from 180 places; two views are the modalities",
            layout=LAYOUT,
            classes=CLASSES,
            groups={},
            group_rule="",
            find=find,
            check=check,
            differs=differs,
        ),
        modalities=MODALITIES,
        split=f"{NAME}@{short_hash({'classes': list(CLASSES), 'sizes': SIZES, 'test views': TEST_VIEWS})}",
        counts=(),
        load=load,
    )
)
