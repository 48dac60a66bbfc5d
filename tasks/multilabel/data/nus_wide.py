"""NUS-WIDE: which of 81 concepts a photograph shows.

Chua et al., "NUS-WIDE: A Real-World Web Image Database from National University of Singapore", CIVR 2009. The labels of a
concept are a file of 0 and 1, a line for each line of the list of images. Many of the photographs are gone from the web:
an image that the copy lacks is left out of training or test, and such a copy is a variant. A photograph without concept
stays in the test, and does not train.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.multilabel.data.files import MAX_LIST, problems_of, without_positives
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing, other_than
from tasks.vision.data.lists import is_plain, shown
from tasks.vision.data.small_files import read_bytes, read_text

if TYPE_CHECKING:
    import numpy as np

    from tasks.multilabel.data.labelled import Labelled, LabelSets

    Array = np.ndarray[Any, np.dtype[Any]]

NAME = "nuswide"
CLASSES = (
    "airport", "animal", "beach", "bear", "birds", "boats", "book", "bridge", "buildings", "cars", "castle", "cat",
    "cityscape", "clouds", "computer", "coral", "cow", "dancing", "dog", "earthquake", "elk", "fire", "fish", "flags",
    "flowers", "food", "fox", "frost", "garden", "glacier", "grass", "harbor", "horses", "house", "lake", "leaf",
    "map", "military", "moon", "mountain", "nighttime", "ocean", "person", "plane", "plants", "police", "protest",
    "railroad", "rainbow", "reflection", "road", "rocks", "running", "sand", "sign", "sky", "snow", "soccer", "sports",
    "statue", "street", "sun", "sunset", "surf", "swimmers", "tattoo", "temple", "tiger", "tower", "town", "toy",
    "train", "tree", "valley", "vehicle", "water", "waterfall", "wedding", "whales", "window", "zebra",
)  # fmt: skip
SIZES = {"Train": 161_789, "Test": 107_859}
"""Lines of the released lists."""
LAYOUT = {
    NAME: (
        "ImageList/TrainImagelist.txt and TestImagelist.txt, "
        "Groundtruth/TrainTestLabels/Labels_CONCEPT_Train.txt and ..._Test.txt of 81 concepts, and the images below "
        "Flickr/ (or images/, or beside these folders) under the paths of the lists"
    )
}
_FOLDERS = ("nuswide", "nus-wide", "NUS-WIDE", "NUS_WIDE", "nus_wide", "NUSWIDE")
_IMAGES = ("Flickr", "images", "Images", ".")


@dataclass(frozen=True, eq=False)
class Split:
    """A split as far as its images are there. `listed`: images of the list; `gone`: those of them that are not there."""

    labelled: Labelled
    listed: int
    gone: int


def names(name: str) -> tuple[str, ...]:
    """Label names in order."""
    return CLASSES


def identity(name: str) -> dict[str, Any]:
    """What is known of its samples and labels without a copy: what a protocol's split stands for."""
    return {"labels": list(CLASSES), "sizes": SIZES, "images": "without concept: test alone"}


def find(name: str, root: Path) -> Path:
    """The folder of lists, labels and images: `root`, or one of the usual names below it. Raises DataError."""
    wanted = [str(_list(Path(), split)) for split in SIZES]
    wanted += [str(_label_file(Path(), concept, split)) for split in SIZES for concept in CLASSES]

    def lacking(place: Path) -> list[str] | None:
        return missing(wanted, [file for file in wanted if not (place / file).is_file()])

    return find_in(name, root, _FOLDERS, LAYOUT[name], lacking)


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: lists, labels; `deep` decodes every image that is there.

    Images that are gone are no problem here: see `differs`.
    """
    try:
        sets, _, _ = _read(Path(path))
    except DataError as error:
        return [str(error)]
    return problems_of(Path(path), sets, deep)


def differs(name: str, path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for files that cannot be read."""
    return _differences(*_read(Path(path)))


def load(name: str, path: Path) -> LabelSets:
    """Training and test set: paths such as `Flickr/actor/0001_2124494179.jpg`, relative to `path`, in the order of the
    lists, without the images that are not there.

    Raises DataError: damaged lists or labels, labels of another number of images, no image at all.
    """
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[LabelSets, Split, Split]:
    from tasks.multilabel.data.labelled import label_sets

    base = _base(path)
    train, test = _split(path, base, "Train"), _split(path, base, "Test")
    shows: Array = train.labelled.labels.sum(axis=1) > 0
    if not shows.any():
        raise DataError(
            f"{path}: no training image that is there shows any of the {len(CLASSES)} concepts"
        )
    trained = train.labelled.take(shows)
    sets = label_sets(trained, test.labelled, lambda sets: _differences(sets, train, test))
    return sets, train, test


def _differences(sets: LabelSets, train: Split, test: Split) -> str:
    found = other_than(
        (
            ("training images listed", SIZES["Train"], train.listed),
            ("test images listed", SIZES["Test"], test.listed),
        )
    )
    if train.gone or test.gone:
        found.append(
            f"{train.gone:,} of {train.listed:,} training images and {test.gone:,} of {test.listed:,} test images are not "
            "there and left out"
        )
    return ", ".join(filter(None, [*found, without_positives(sets.class_counts, CLASSES)]))


def _split(path: Path, base: str, split: str) -> Split:
    from tasks.multilabel.data.labelled import Labelled

    file = _list(path, split)
    images = _images(file)
    labels = _labels(path, split, len(images))
    there = _present(path / base, images)
    prefix = "" if base == "." else f"{base}/"
    if not there.any():
        raise DataError(
            f"none of the {len(images):,} images of {file} is below {path / base}; extract the images there"
        )
    kept = tuple(prefix + image for image, here in zip(images, there.tolist(), strict=True) if here)
    return Split(Labelled(kept, labels[there]), len(images), int(len(images) - there.sum()))


def _base(path: Path) -> str:
    """The folder of the images, relative to `path`."""
    return next((name for name in _IMAGES if (path / name).is_dir()), ".")


def _list(path: Path, split: str) -> Path:
    return path / "ImageList" / f"{split}Imagelist.txt"


def _label_file(path: Path, concept: str, split: str) -> Path:
    return path / "Groundtruth" / "TrainTestLabels" / f"Labels_{concept}_{split}.txt"


def _images(file: Path) -> tuple[str, ...]:
    """Paths of a list. Its backslashes separate folders, as they did where it was made."""
    first_at: dict[str, int] = {}
    for number, line in enumerate(read_text(file, MAX_LIST).rstrip("\n").split("\n"), start=1):
        image = line.strip().replace("\\", "/")
        if not is_plain(image):
            raise DataError(
                f"{file}:{number}: {shown(line)} is not a plain relative path of an image (absolute, empty, or with an "
                "empty, `.` or `..` part); copy the list again"
            )
        if image in first_at:
            raise DataError(
                f"{file}:{number}: {shown(image)} is already on line {first_at[image]}; copy the list again"
            )
        first_at[image] = number
    return tuple(first_at)


def _labels(path: Path, split: str, images: int) -> Array:
    """bool (images, 81). Raises DataError, naming file and line."""
    import numpy as np

    columns = np.empty((len(CLASSES), images), bool)
    for place, concept in enumerate(CLASSES):
        file = _label_file(path, concept, split)
        text = read_bytes(file, MAX_LIST).removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
        column = np.frombuffer(text.rstrip(b"\n") + b"\n", np.uint8)
        if not _is_column(column):
            column = _slowly(file, text)
        if len(column) != 2 * images:
            raise DataError(
                f"{file} has labels of {len(column) // 2:,} images, {_list(path, split).name} names {images:,}; copy both "
                "again"
            )
        columns[place] = column[::2] == ord("1")
    return np.ascontiguousarray(columns.T)


def _is_column(text: Array) -> bool:
    """Whether uint8 (2 N,) is N lines of 0 or 1."""
    if len(text) % 2:
        return False
    digits, ends = text[::2], text[1::2]
    return bool(((digits == ord("0")) | (digits == ord("1"))).all() and (ends == ord("\n")).all())


def _slowly(file: Path, text: bytes) -> Array:
    """The same of lines with blanks at their ends. Raises DataError for anything else than 0 or 1."""
    import numpy as np

    made = bytearray()
    for number, line in enumerate(text.rstrip(b"\n").split(b"\n"), start=1):
        digit = line.strip()
        if digit not in (b"0", b"1"):
            found = shown(line[:80].decode("ascii", "backslashreplace"))
            raise DataError(f"{file}:{number}: expected 0 or 1, found {found}; copy it again")
        made += digit + b"\n"
    return np.frombuffer(bytes(made), np.uint8)


def _present(base: Path, images: tuple[str, ...]) -> Array:
    """bool (N,): which of the files are there. Each folder is listed once, since asking for a quarter of a million files
    takes minutes on a file system of a network."""
    import numpy as np

    there: dict[str, set[str]] = {}
    found = np.zeros(len(images), bool)
    for place, image in enumerate(images):
        folder, _, file = image.rpartition("/")
        if folder not in there:
            there[folder] = _files(base / folder)
        found[place] = file in there[folder]
    return found


def _files(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from None
