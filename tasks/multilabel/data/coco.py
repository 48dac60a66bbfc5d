"""MS COCO 2014 and 2017: which of 80 classes an image shows.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. An image's labels are the classes of the objects
annotated in it, crowds among them; classes are in the order of their category ids, which run to 90 with gaps. The
training set trains and the validation set tests, since test labels are not public. Images come in the order of their
ids. One without annotation shows nothing: it stays in the test, and does not train.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from suite.base.errors import DataError
from tasks.multilabel.data.files import problems_of, require_images, twice, without_positives
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing, other_than
from tasks.vision.data.lists import is_plain, shown
from tasks.vision.data.small_files import read_bytes

if TYPE_CHECKING:
    import numpy as np

    from tasks.multilabel.data.labelled import LabelSets

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_JSON = 1 << 30
"""Bytes of an annotation file; the largest known, 2017's of training, has 470 million."""
MAX_OBJECTS = 5_000_000
"""Objects of the JSON, which take more memory than their text; that file has a million."""
CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """A year of COCO: its splits (of folders and file names), and how many images train (those with an annotation)
    and test."""

    train: str
    test: str
    train_size: int
    test_size: int


SPECS = {
    "coco14": Spec("train2014", "val2014", 82_081, 40_504),
    "coco17": Spec("train2017", "val2017", 117_266, 5_000),
}
LAYOUT = {
    name: (
        f"annotations/instances_{spec.train}.json and instances_{spec.test}.json, with the images in {spec.train}/ and "
        f"{spec.test}/ (or images/{spec.train}/ ...)"
    )
    for name, spec in SPECS.items()
}
Stamp = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Annotated:
    """Images of an annotation file in the order of their ids: ids int64 (N,), file names, labels bool (N, 80)."""

    ids: Array
    files: tuple[str, ...]
    labels: Array


def names(name: str) -> tuple[str, ...]:
    """Label names in order."""
    return CLASSES


def identity(name: str) -> dict[str, Any]:
    """What is known of its samples and labels without a copy: what a protocol's split stands for."""
    rule = "without annotation: test alone"
    return {"labels": list(CLASSES), **asdict(SPECS[name]), "boxes": "all", "images": rule}


def folders(name: str) -> tuple[str, ...]:
    """Usual names of the folder of a data set of COCO's below a data root."""
    return (name, "coco", "COCO", "mscoco", "MSCOCO", f"coco20{name[-2:]}", f"COCO20{name[-2:]}")


def find(name: str, root: Path) -> Path:
    """The folder of annotations and images: `root`, or one of the usual names below it. Raises DataError."""
    spec = SPECS[name]

    def lacking(place: Path) -> list[str] | None:
        return missing(*parts(place, (spec.train, spec.test)))

    return find_in(name, root, folders(name), LAYOUT[name], lacking)


def parts(place: Path, splits: Collection[str]) -> tuple[list[str], list[str]]:
    """(what splits must have, what of it is not there), paths relative to `place`."""
    files = [f"annotations/instances_{split}.json" for split in splits]
    absent = [file for file in files if not (place / file).is_file()]
    without = [f"{split}/" for split in splits if _images(place, split) is None]
    return files + [f"{split}/" for split in splits], absent + without


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: annotations, a sample of the images; `deep` decodes every
    image."""
    try:
        sets = _read(name, Path(path), False)
    except DataError as error:
        return [str(error)]
    return problems_of(Path(path), sets, deep)


def differs(name: str, path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for files that cannot be read."""
    return _differences(name, _read(name, Path(path), False))


def load(name: str, path: Path, *, drop_boxes: bool = False) -> LabelSets:
    """Training and test set: paths such as `train2014/COCO_train2014_000000000009.jpg`, relative to `path`.

    Args:
        drop_boxes: leave out objects whose area is not above 0, or with a side below one pixel, as the code of the
            distribution-balanced loss does; an image that had no other trains no more.

    Raises DataError: damaged annotations, absent images.
    """
    sets = _read(name, Path(path), drop_boxes)
    require_images(Path(path), sets)
    return sets


def _read(name: str, path: Path, drop_boxes: bool) -> LabelSets:
    from tasks.multilabel.data.labelled import Labelled, label_sets

    spec = SPECS[name]
    full, tested = (annotated(path, split, drop_boxes) for split in (spec.train, spec.test))
    shows: Array = full.labels.sum(axis=1) > 0
    if not shows.any():
        raise DataError(f"{annotation_file(path, spec.train)} annotates no object; copy it again")
    train = Labelled(image_paths(path, spec.train, full), full.labels).take(shows)
    test = Labelled(image_paths(path, spec.test, tested), tested.labels)
    return label_sets(train, test, lambda sets: _differences(name, sets))


def _differences(name: str, sets: LabelSets) -> str:
    spec = SPECS[name]
    found = other_than(
        (
            ("training images with annotation", spec.train_size, len(sets.train)),
            ("test images", spec.test_size, len(sets.test)),
        )
    )
    return ", ".join(filter(None, [*found, without_positives(sets.class_counts, CLASSES)]))


def annotation_file(path: Path, split: str) -> Path:
    """The annotation file of a split."""
    return path / "annotations" / f"instances_{split}.json"


def image_paths(path: Path, split: str, found: Annotated) -> tuple[str, ...]:
    """Paths relative to `path` of a split's images. Raises DataError where the split has no folder."""
    folder = _images(path, split)
    if folder is None:
        raise DataError(
            f"there is neither {path / split} nor {path / 'images' / split}; extract {split}.zip there"
        )
    return tuple(f"{folder}/{file}" for file in found.files)


def _images(path: Path, split: str) -> str | None:
    return next((f for f in (split, f"images/{split}") if (path / f).is_dir()), None)


def annotated(path: Path, split: str, drop_boxes: bool) -> Annotated:
    """The images and labels of a split's annotation file, kept for as long as the file is the same. Raises DataError."""
    file = annotation_file(path, split)
    try:
        stat = file.stat()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}; copy it again") from None
    return _annotated(file, drop_boxes, (stat.st_size, stat.st_mtime_ns))


# -- the JSON; fields that are not named here are skipped


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str


class _Object(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    area: float | None = None
    bbox: tuple[float, float, float, float] | None = None


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Object]
    categories: list[_Category]


@lru_cache(maxsize=2)
def _annotated(file: Path, drop_boxes: bool, stamp: Stamp) -> Annotated:
    """`stamp` is there to miss the cache once the file has changed."""
    import numpy as np

    content = read_bytes(file, MAX_JSON).removeprefix(b"\xef\xbb\xbf")
    if content.count(b"{") > MAX_OBJECTS:
        raise DataError(
            f"{file} has more than {MAX_OBJECTS:,} objects, so it is another file; copy it again"
        )
    try:
        read = msgspec.json.decode(content, type=_File)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # deep nesting is a RecursionError, text that is not UTF-8 a ValueError
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{file} is no annotation file of COCO ({reason}); copy it again") from None
    del content
    places = _category_places(file, read.categories)
    if not read.images:
        raise DataError(f"{file} names no image; copy it again")
    try:
        ids = np.array([image.id for image in read.images], np.int64)
        shown_in = np.array([thing.image_id for thing in read.annotations], np.int64)
    except OverflowError:
        raise DataError(f"{file} has an image id of more than 64 bits; copy it again") from None
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    again = np.flatnonzero(ids[1:] == ids[:-1])
    if again.size:
        raise DataError(f"{file} names image id {ids[again[0]]} twice; copy it again")
    files = tuple(read.images[i].file_name for i in order.tolist())
    odd = next((name for name in files if "/" in name or not is_plain(name)), None)
    if odd is not None:
        raise DataError(f"{file}: {shown(odd)} is no plain file name; copy it again")
    again_file = twice(files)
    if again_file is not None:
        raise DataError(f"{file} names the image {shown(again_file)} twice; copy it again")
    rows = np.searchsorted(ids, shown_in).clip(max=len(ids) - 1)
    lost = np.flatnonzero(ids[rows] != shown_in)
    if lost.size:
        raise DataError(
            f"{file} annotates image id {shown_in[lost[0]]}, which is not among its images ({lost.size:,} annotations "
            "of such); copy it again"
        )
    labels = np.zeros((len(ids), len(CLASSES)), bool)
    for row, thing in zip(rows.tolist(), read.annotations, strict=True):
        place = places.get(thing.category_id)
        if place is None:
            raise DataError(
                f"{file} annotates category id {thing.category_id}, which is not among its categories; copy it again"
            )
        if not drop_boxes or _has_extent(file, thing):
            labels[row, place] = True
    return Annotated(ids, files, labels)


def _category_places(file: Path, categories: list[_Category]) -> dict[int, int]:
    """Category id -> label."""
    ordered = sorted(categories, key=lambda category: category.id)
    found = [category.name for category in ordered]
    if found != list(CLASSES) or len({category.id for category in ordered}) < len(CLASSES):
        other = next((n for n in found if n not in CLASSES), "")
        detail = f", {shown(other)} among them" if other else ""
        raise DataError(
            f"{file} has {len(found)} categories other than COCO's {len(CLASSES)} in the order of their ids{detail}; "
            "take the instances_*.json of COCO"
        )
    return {category.id: place for place, category in enumerate(ordered)}


def _has_extent(file: Path, thing: _Object) -> bool:
    if thing.bbox is None or thing.area is None:
        raise DataError(
            f"{file}: an object of image id {thing.image_id} has no box or no area, and which are empty is asked for; "
            "copy it again"
        )
    return thing.area > 0 and thing.bbox[2] >= 1 and thing.bbox[3] >= 1
