"""ImageNet-LT, Places-LT and iNaturalist 2018: lists of image files with labels.

Liu, Miao, Zhan, Wang, Gong and Yu, "Large-Scale Long-Tailed Recognition in an Open World" (OLTR),
CVPR 2019, made ImageNet-LT and Places-LT; Van Horn et al., "The iNaturalist Species Classification
and Detection Dataset", CVPR 2018. The list files are those of OLTR's release and of the code that
followed it: a line is `relative/path.jpg label`, the image below the folder that holds the lists.
iNaturalist has no public test labels: its val list is the test set.

A list may come from a stranger: `read_list` lets no path out of the folder. A copy whose sizes differ
from those known is no error but another data set: `variant` says so, `observed` tells copies apart.

Only the standard library is imported here; pictures are opened inside the functions that need them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from suite.base.errors import DataError, UserError, did_you_mean
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing
from tasks.vision.groups import group_rule

THRESHOLDS = (100, 20)
"""Training images of a class: head above the first, tail below the second, strict at both ends."""
GROUP_RULE = group_rule(*THRESHOLDS)
_LINE = "expected lines `relative/path.jpg label`"


@dataclass(frozen=True, kw_only=True)
class ListSpec:
    """A data set given by list files, and what is known of the released lists.

    Attributes:
        name: such as `imagenet-lt`.
        summary: one line.
        folders: usual names of the folder that holds the lists.
        train, test: names of the list files.
        val: name of an extra validation list that no protocol needs, or None.
        classes: C; labels are 0..C-1.
        test_size: test images.
        group_sizes: classes in head, medium and tail under `THRESHOLDS`.
        train_size: training images; None where not known for certain, like the next two.
        largest, smallest: training images of the largest and the smallest class.
    """

    name: str
    summary: str
    folders: tuple[str, ...]
    train: str
    test: str
    val: str | None
    classes: int
    test_size: int
    group_sizes: tuple[int, int, int]
    train_size: int | None = None
    largest: int | None = None
    smallest: int | None = None


@dataclass(frozen=True)
class Entries:
    """A list that was read: N image paths (relative, with `/`) and their N labels, in file order."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.paths) != len(self.labels):
            raise UserError(f"{len(self.paths)} image paths, but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.paths)


SPECS: dict[str, ListSpec] = {
    spec.name: spec
    for spec in (
        ListSpec(
            name="imagenet-lt",
            summary="ImageNet-LT, 1000 classes, long-tailed subset of ImageNet 2012 (lists of OLTR)",
            folders=("imagenet-lt", "ImageNet_LT", "ImageNet-LT", "imagenet_lt"),
            train="ImageNet_LT_train.txt",
            test="ImageNet_LT_test.txt",
            val="ImageNet_LT_val.txt",
            classes=1000,
            test_size=50_000,
            # of the stored mask that papers use; THRESHOLDS should give the same (not verified)
            group_sizes=(385, 479, 136),
        ),
        ListSpec(
            name="places-lt",
            summary="Places-LT, 365 scene classes, long-tailed subset of Places365 (lists of OLTR)",
            folders=("places-lt", "Places_LT", "Places-LT", "places_lt"),
            train="Places_LT_train.txt",
            test="Places_LT_test.txt",
            val="Places_LT_val.txt",
            classes=365,
            test_size=36_500,
            group_sizes=(131, 163, 71),
            train_size=62_500,
            largest=4980,
            smallest=5,
        ),
        ListSpec(
            name="inat18",
            summary="iNaturalist 2018, 8142 species, long-tailed by nature; its val list is the test",
            folders=("inat18", "iNat18", "iNaturalist18", "iNaturalist2018", "inaturalist2018"),
            train="iNaturalist18_train.txt",
            test="iNaturalist18_val.txt",
            val=None,
            classes=8142,
            test_size=24_426,
            group_sizes=(842, 4076, 3224),
        ),
    )
}


def layout(spec: ListSpec) -> str:
    """The files expected, one line."""
    extra = f" ({spec.val} is read only if there)" if spec.val else ""
    return (
        f"{spec.train} and {spec.test}{extra}, lines `relative/path.jpg label` with labels "
        f"0-{spec.classes - 1}, and the images below the same folder"
    )


def get(name: str) -> ListSpec:
    """The data set of that name. Raises UserError for an unknown one."""
    if name not in SPECS:
        raise UserError(f"no image-list data set is called {name!r}{did_you_mean(name, SPECS)}")
    return SPECS[name]


def list_file(spec: ListSpec, split: str) -> str:
    """Name of the list of `train`, `test` or `val`. Raises UserError where there is none."""
    files = {"train": spec.train, "test": spec.test, "val": spec.val}
    if split not in files:
        raise UserError(f"{spec.name} has no split {split!r}{did_you_mean(split, files)}")
    file = files[split]
    if file is None:
        raise UserError(f"{spec.name} has no split 'val' of its own: {spec.test} is its test set")
    return file


def find(spec: ListSpec, root: Path) -> Path:
    """The folder that holds the lists: `root`, or a folder in it with one of the usual names.

    Raises DataError where there is none or a list is missing (only names are looked at; `list_images.check` reads
    the lists).
    """
    wanted = (spec.train, spec.test)

    def lacking(place: Path) -> list[str] | None:
        return missing(wanted, [file for file in wanted if not (place / file).is_file()])

    searched = f"no lists in {root} or a folder {', '.join(spec.folders)} in it"
    return find_in(spec.name, root, spec.folders, layout(spec), lacking, searched)


def read_list(path: Path, classes: int, training: bool = False) -> Entries:
    """The entries of a list file, UTF-8, one `relative/path.jpg label` a line, in file order.

    A line is split at its last blank, so a path may contain blanks. Raises DataError, with file and
    line, for anything else: no two fields, a label that is no integer in 0..classes-1, a path that
    is not plain and relative (absolute, backslashes, parts that are empty, `.` or `..`), an image
    listed twice, other encodings; for an empty file; and, `training`, for classes without image.
    """
    path = Path(path)
    lines = _text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise DataError(f"{path} is empty: {_LINE}; copy the list again")
    first_at: dict[str, int] = {}
    labels: list[int] = []
    for number, line in enumerate(lines, start=1):
        fields = line.rsplit(maxsplit=1)
        if len(fields) != 2:
            raise DataError(f"{path}:{number}: {_LINE}, found {shown(line)}; correct the line")
        image, label = fields
        if not (label.isascii() and label.isdigit() and len(label) < 10 and int(label) < classes):
            raise DataError(
                f"{path}:{number}: the label is {shown(label)}, expected an integer "
                f"0-{classes - 1}; correct the line or take the list of the right data set"
            )
        if not is_plain(image):
            raise DataError(
                f"{path}:{number}: {shown(image)} is not a plain relative path (an absolute path, a "
                "backslash, an unprintable character, or an empty, `.` or `..` part); make it relative "
                f"to {path.parent}"
            )
        if image in first_at:
            raise DataError(
                f"{path}:{number}: {shown(image)} is already on line {first_at[image]}; remove one"
            )
        first_at[image] = number
        labels.append(int(label))
    entries = Entries(tuple(first_at), tuple(labels))
    if training:
        empty = [c for c, count in enumerate(class_counts(entries, classes)) if count == 0]
        if empty:
            more = f" (nor have {len(empty) - 1} more classes)" if len(empty) > 1 else ""
            raise DataError(
                f"{path}: class {empty[0]} of 0-{classes - 1} has no training image{more}; "
                "copy the whole list"
            )
    return entries


def class_counts(entries: Entries, classes: int) -> tuple[int, ...]:
    """Images of each class 0..classes-1."""
    counts = [0] * classes
    for label in entries.labels:
        counts[label] += 1
    return tuple(counts)


def observed(train: Entries, test: Entries) -> dict[str, str]:
    """sha256 (hex) of the `train` and the `test` list, over its lines `path label` in file order.

    The same for every line ending, blank and byte order mark; in file order, because stored
    predictions are in that order too. It says nothing of the images.
    """
    return {"train": _digest(train), "test": _digest(test)}


def variant(spec: ListSpec, train: Entries, test: Entries) -> bool:
    """Whether the lists disagree with what is known of the released ones (`ListSpec`)."""
    return bool(differences(spec, train, test))


def differences(spec: ListSpec, train: Entries, test: Entries) -> str:
    """What the lists have other than the released ones, as far as these are known: `385 training images instead of
    62,500, ...`; "" for nothing."""
    counts = class_counts(train, spec.classes)
    high, low = THRESHOLDS
    head, tail = sum(n > high for n in counts), sum(n < low for n in counts)
    sizes = (head, spec.classes - head - tail, tail)
    facts = (
        ("training images", spec.train_size, len(train)),
        ("test images", spec.test_size, len(test)),
        ("images of the largest class", spec.largest, max(counts)),
        ("images of the smallest class", spec.smallest, min(counts)),
        *zip(
            ("head classes", "medium classes", "tail classes"), spec.group_sizes, sizes, strict=True
        ),
    )
    return ", ".join(
        f"{found:,} {what} instead of {known:,}"
        for what, known, found in facts
        if known is not None and known != found
    )


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"the list {path} cannot be read: {error.strerror}; copy it there"
        ) from error
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        number = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{number}: not UTF-8; {_LINE}, copy the list again") from error


def is_plain(image: str) -> bool:
    """Whether a path is relative and stays below its folder: no backslash, no unprintable character, no empty, `.` or
    `..` part, no blank at its ends."""
    inside = f"/{image}/"
    return (
        image.isprintable()
        and image == image.strip()
        and "\\" not in image
        and not any(part in inside for part in ("//", "/./", "/../"))
    )


def shown(text: str) -> str:
    """A stranger's text for a message: escaped, at most 80 characters."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _digest(entries: Entries) -> str:
    digest = hashlib.sha256()
    for image, label in zip(entries.paths, entries.labels, strict=True):
        digest.update(f"{image} {label}\n".encode())
    return digest.hexdigest()
