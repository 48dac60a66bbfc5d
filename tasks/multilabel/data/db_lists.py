"""VOC-LT and COCO-LT (VOC-MLT and COCO-MLT): long-tailed training sets of VOC 2012 and COCO 2017, by lists of image ids.

Wu et al., "Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed Datasets", ECCV 2020. The lists are
those of its release (folders appendix/VOCdevkit/longtail2012 and appendix/coco/longtail2017); `img_id.pkl` of COCO is plain
text despite its name. VOC 2007's test and COCO 2017's validation set test. Labels follow its code: all objects of VOC,
difficult ones too; objects of COCO whose area is above 0, with sides of a pixel or more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.multilabel.data import coco, voc
from tasks.multilabel.data.files import problems_of, read_ids, require_images, without_positives
from tasks.vision import groups as profiles
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing, other_than
from tasks.vision.data.lists import shown

if TYPE_CHECKING:
    import numpy as np

    from tasks.multilabel.data.labelled import Labelled, LabelSets

    Array = np.ndarray[Any, np.dtype[Any]]

THRESHOLDS = (99, 20)
"""Training images of a label: head above the first, tail below the second, as the release splits them."""
LISTS = {"voc-lt": "longtail2012/img_id.txt", "coco-lt": "longtail2017/img_id.pkl"}
COUNTS = (6, 34, 8, 14, 154, 17, 249, 29, 479, 4, 240, 48, 11, 20, 775, 100, 5, 82, 7, 64)
"""Training images of each label of VOC-LT, in label order."""
_GROUPS = {"voc-lt": (6, 6, 8), "coco-lt": (22, 33, 25)}
_EXTREMES = {"voc-lt": (775, 4), "coco-lt": (1128, 6)}
_SIZES = {"voc-lt": (1142, 4952), "coco-lt": (1909, 5000)}
LAYOUT = {
    "voc-lt": (
        f"VOCdevkit/ with {LISTS['voc-lt']} (from appendix/VOCdevkit of the release of the distribution-balanced loss), "
        "VOC2012/Annotations and JPEGImages, VOC2007/Annotations, JPEGImages and ImageSets/Main/test.txt"
    ),
    "coco-lt": (
        f"{LISTS['coco-lt']} (from appendix/coco of the release of the distribution-balanced loss), "
        "annotations/instances_train2017.json and instances_val2017.json, with the images in train2017/ and val2017/ "
        "(or images/train2017/ ...)"
    ),
}


def names(name: str) -> tuple[str, ...]:
    """Label names in order."""
    return voc.CLASSES if name == "voc-lt" else coco.CLASSES


def identity(name: str) -> dict[str, Any]:
    """What is known of its samples and labels without a copy: what a protocol's split stands for."""
    facts = {
        "list": LISTS[name],
        "sizes": _SIZES[name],
        "groups": _GROUPS[name],
        "extremes": _EXTREMES[name],
    }
    rules = (
        {"difficult": "train and test"} if name == "voc-lt" else {"boxes": "area > 0, sides >= 1"}
    )
    counts = {"counts": COUNTS} if name == "voc-lt" else {}
    return {"labels": list(names(name)), **facts, **counts, **rules}


def find(name: str, root: Path) -> Path:
    """The folder that holds list, annotations and images: `root`, or one of the usual names below it. Raises DataError."""

    def lacking(place: Path) -> list[str] | None:
        if name == "voc-lt":
            wanted, absent = voc.parts(place, "VOC2012", ())
            more = voc.parts(place, "VOC2007", ("test",))
        else:
            wanted, absent = coco.parts(place, ("train2017", "val2017"))
            more = ([], [])
        listed = LISTS[name]
        return missing(
            [listed, *wanted, *more[0]],
            [listed] * (not (place / listed).is_file()) + absent + more[1],
        )

    below = (name, *(voc.FOLDERS if name == "voc-lt" else coco.folders("coco17")))
    return find_in(name, root, below, LAYOUT[name], lacking)


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: list, annotations, a sample of the images; `deep` decodes
    every image."""
    try:
        sets = _read(name, Path(path))
    except DataError as error:
        return [str(error)]
    return problems_of(Path(path), sets, deep)


def differs(name: str, path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for files that cannot be read."""
    return _differences(name, _read(name, Path(path)))


def load(name: str, path: Path) -> LabelSets:
    """Training set in the order of the list, and test set; paths relative to `path`.

    Raises DataError: a damaged list, an id that is not annotated, damaged annotations, absent images.
    """
    sets = _read(name, Path(path))
    require_images(Path(path), sets)
    return sets


def _read(name: str, path: Path) -> LabelSets:
    from tasks.multilabel.data.labelled import label_sets

    train, test = (_voc if name == "voc-lt" else _coco)(path)
    return label_sets(train, test, lambda sets: _differences(name, sets))


def _voc(path: Path) -> tuple[Labelled, Labelled]:
    train = voc.labelled(path, "VOC2012", path / LISTS["voc-lt"], True)
    return train, voc.labelled(path, "VOC2007", voc.list_of(path, "VOC2007", "test"), True)


def _coco(path: Path) -> tuple[Labelled, Labelled]:
    import numpy as np

    from tasks.multilabel.data.labelled import Labelled

    file = path / LISTS["coco-lt"]
    chosen = read_ids(file)
    full = coco.annotated(path, "train2017", True)
    rows = {str(image): row for row, image in enumerate(full.ids.tolist())}
    for number, image in enumerate(chosen, start=1):
        if image not in rows:
            raise DataError(
                f"{file}:{number}: image id {shown(image)} is not in {coco.annotation_file(path, 'train2017')}; copy the list "
                "again"
            )
    places = np.array([rows[image] for image in chosen])
    train = Labelled(coco.image_paths(path, "train2017", full), full.labels).take(places)
    tested = coco.annotated(path, "val2017", True)
    return train, Labelled(coco.image_paths(path, "val2017", tested), tested.labels)


def _differences(name: str, sets: LabelSets) -> str:
    counts = sets.class_counts
    found = other_than(
        (
            ("training images", _SIZES[name][0], len(sets.train)),
            ("test images", _SIZES[name][1], len(sets.test)),
        )
    )
    if name == "voc-lt":
        known = [
            (f"training images of {n}", k, c)
            for n, k, c in zip(names(name), COUNTS, counts, strict=True)
        ]
        found += other_than(known)[:3]
    sizes = map(len, profiles.groups(counts, *THRESHOLDS).values())
    groups = zip(("head", "medium", "tail"), _GROUPS[name], sizes, strict=True)
    found += other_than((f"{group} labels", known, size) for group, known, size in groups)
    most, least = _EXTREMES[name]
    found += other_than(
        (
            ("images of the most frequent label", most, max(counts)),
            ("images of the rarest label", least, min(counts)),
        )
    )
    return ", ".join(filter(None, [*found, without_positives(sets.class_counts, names(name))]))
