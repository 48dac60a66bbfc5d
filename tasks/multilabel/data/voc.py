"""PASCAL VOC 2007 and 2012: which of 20 classes an image shows.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88(2), 2010. An image's labels are the names
of the objects in its annotation. Of VOC 2007 `trainval` trains and `test` tests. VOC 2012's test labels are not public:
its `train` trains and its `val` tests, as in Cole et al., "Multi-Label Learning from Single Positive Labels", CVPR 2021.

Objects marked `difficult` count as labels, in training and in test: so does the code of ASL and of the
distribution-balanced loss. (The official AP leaves them out of the test, which labels of 0 and 1 cannot say.) Without
`difficult` they are no training labels; the test labels stay, so that scores of both are of one test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.multilabel.data.files import (
    problems_of,
    read_ids,
    read_xml,
    require_images,
    without_positives,
)
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing, other_than
from tasks.vision.data.lists import shown

if TYPE_CHECKING:
    import numpy as np

    from tasks.multilabel.data.labelled import Labelled, LabelSets

    Array = np.ndarray[Any, np.dtype[Any]]

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
FOLDERS = ("VOCdevkit", "voc", "VOC", "voc/VOCdevkit", "VOC/VOCdevkit", "pascal_voc", "PASCAL_VOC")


@dataclass(frozen=True)
class Spec:
    """A year of VOC: lists (in ImageSets/Main) that train and test, and how many images they have."""

    year: str
    train: str
    test: str
    train_size: int
    test_size: int


SPECS = {
    "voc07": Spec("VOC2007", "trainval", "test", 5011, 4952),
    "voc12": Spec("VOC2012", "train", "val", 5717, 5823),
}
LAYOUT = {
    name: (
        f"VOCdevkit/{spec.year}/ with Annotations/*.xml, ImageSets/Main/{spec.train}.txt and {spec.test}.txt, and "
        "JPEGImages/*.jpg, as extracted from VOC's archives"
    )
    for name, spec in SPECS.items()
}


def names(name: str) -> tuple[str, ...]:
    """Label names in order."""
    return CLASSES


def identity(name: str) -> dict[str, Any]:
    """What is known of its samples and labels without a copy: what a protocol's split stands for."""
    return {"labels": list(CLASSES), **asdict(SPECS[name]), "difficult": "train and test"}


def find(name: str, root: Path) -> Path:
    """The folder (VOCdevkit) that holds the year's: `root`, or one of the usual names below it. Raises DataError."""
    spec = SPECS[name]

    def lacking(place: Path) -> list[str] | None:
        return missing(*parts(place, spec.year, (spec.train, spec.test)))

    return find_in(name, root, FOLDERS, LAYOUT[name], lacking)


def parts(place: Path, year: str, lists: Sequence[str]) -> tuple[list[str], list[str]]:
    """(what a year must have, what of it is not there), paths relative to `place`."""
    folders = [f"{year}/Annotations", f"{year}/JPEGImages"]
    files = [f"{year}/ImageSets/Main/{name}.txt" for name in lists]
    absent = [folder for folder in folders if not (place / folder).is_dir()]
    return folders + files, absent + [file for file in files if not (place / file).is_file()]


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: lists, annotations, a sample of the images; `deep` decodes
    every image."""
    try:
        sets = _read(name, Path(path), True)
    except DataError as error:
        return [str(error)]
    return problems_of(Path(path), sets, deep)


def differs(name: str, path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for files that cannot be read."""
    return _differences(name, _read(name, Path(path), True))


def load(name: str, path: Path, *, difficult: bool = True) -> LabelSets:
    """Training and test set: paths such as `VOC2007/JPEGImages/000005.jpg`, relative to `path`, in the order of the lists.

    Args:
        difficult: whether objects marked so are training labels; test labels they are always.

    Raises DataError: damaged lists or annotations, an id without annotation, absent images.
    """
    sets = _read(name, Path(path), difficult)
    require_images(Path(path), sets)
    return sets


def _read(name: str, path: Path, difficult: bool) -> LabelSets:
    from tasks.multilabel.data.labelled import label_sets

    spec = SPECS[name]
    train = labelled(path, spec.year, list_of(path, spec.year, spec.train), difficult)
    test = labelled(path, spec.year, list_of(path, spec.year, spec.test), True)
    return label_sets(train, test, lambda sets: _differences(name, sets))


def _differences(name: str, sets: LabelSets) -> str:
    spec = SPECS[name]
    found = other_than(
        (
            ("training images", spec.train_size, len(sets.train)),
            ("test images", spec.test_size, len(sets.test)),
        )
    )
    return ", ".join(filter(None, [*found, without_positives(sets.class_counts, CLASSES)]))


def list_of(path: Path, year: str, split: str) -> Path:
    """The file of a split's image ids."""
    return path / year / "ImageSets" / "Main" / f"{split}.txt"


def labelled(path: Path, year: str, file: Path, difficult: bool) -> Labelled:
    """The images of a year that the list `file` names, with their labels. Raises DataError."""
    import numpy as np

    from tasks.multilabel.data.labelled import Labelled

    ids = read_ids(file)
    labels = np.zeros((len(ids), len(CLASSES)), bool)
    for row, image in enumerate(ids):
        annotation = path / year / "Annotations" / f"{image}.xml"
        mend = f"image {image} stands in {file}: extract VOC's archive again"
        for label in _objects(annotation, mend, difficult):
            labels[row, label] = True
    return Labelled(tuple(f"{year}/JPEGImages/{image}.jpg" for image in ids), labels)


def _objects(path: Path, mend: str, difficult: bool) -> set[int]:
    """Labels of an annotation."""
    root = read_xml(path, mend)
    if root.tag != "annotation":
        raise DataError(f"{path} is no annotation of VOC: its root is <{shown(root.tag)}>; {mend}")
    found = set()
    for thing in root.findall("object"):
        name = (thing.findtext("name") or "").strip()
        hard = (thing.findtext("difficult") or "0").strip()
        if name not in _PLACES:
            raise DataError(f"{path}: VOC has no class {shown(name)}; {mend}")
        if hard not in ("0", "1"):
            raise DataError(f"{path}: `difficult` is {shown(hard)}, expected 0 or 1; {mend}")
        if difficult or hard == "0":
            found.add(_PLACES[name])
    return found


_PLACES = {name: place for place, name in enumerate(CLASSES)}
