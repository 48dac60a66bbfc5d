"""Large public data sets in their official layouts: finding and reading a user's copy.

A `Spec` says where pictures and labels lie, how many there are, and what the ids of a label file mean
(`LabelForm.table`: file id -> class, or 255 for pixels that do not count; any other id is an error).
ADE20K's shift by one (mmseg's `reduce_zero_label`), Cityscapes' and COCO-Stuff's original ids are
such tables, so a label needs no conversion on disk. What reads every file of a copy is in `survey`.

Only the standard library is imported here; pictures are opened inside the functions that need them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.base.errors import DataError
from tasks.vision.data.find import find as find_in
from tasks.vision.data.read_image import read_ids, read_image, require_same_size
from tasks.vision.groups import split_rest

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

IGNORE = 255


@dataclass(frozen=True, kw_only=True)
class Split:
    """Folders of pictures and labels below the data set's folder, and how many pictures there are."""

    images: str
    labels: str
    count: int


@dataclass(frozen=True, kw_only=True)
class LabelForm:
    """Label files of one kind.

    Attributes:
        suffix: what follows the picture's name (without `Spec.image_suffix`), `.png` included.
        table: id in the file -> class index, or `IGNORE`. An id that is not in it is an error.
    """

    suffix: str
    table: Mapping[int, int]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A data set in its official layout.

    Attributes:
        name: such as `ade20k`.
        title: for messages.
        folders: where it may lie below the data root, `.` being the root itself.
        splits: `train` and `val` (which is the test set: the official test labels are not public).
        image_suffix: end of a picture's name.
        labels: the kinds of label files that are understood, the preferred one first.
        nested: whether pictures lie one folder deeper, in folders of the same names on both sides.
        archives: where the files come from, one line.
        classes, palette: names and RGB colours in label order.
        tail: class indices that AUCSeg's release lists as tail.
        head: number of head classes: of the classes outside the tail, those with the most training
            pixels.
        by_pixels: the classes outside the tail in order of their training pixels, the most first, where
            a source gives it; () where it is known only once a copy has been counted.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    splits: Mapping[str, Split]
    image_suffix: str
    labels: tuple[LabelForm, ...]
    nested: bool
    archives: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    tail: tuple[int, ...]
    by_pixels: tuple[int, ...] = ()

    @property
    def layout(self) -> str:
        """The layout expected, one line."""
        deeper = "*/" if self.nested else ""
        kinds = " or ".join(f"*{form.suffix}" for form in self.labels)
        parts = [
            f"{s.images}/{deeper}*{self.image_suffix} with {s.labels}/{deeper}{kinds} ({s.count:,} each)"
            for s in self.splits.values()
        ]
        return f"{', '.join(parts)}; from {self.archives}"

    @cached_property
    def rest(self) -> tuple[int, ...]:
        """The classes outside the tail, in label order."""
        return tuple(c for c in range(len(self.classes)) if c not in set(self.tail))

    @property
    def head(self) -> int:
        return round(len(self.rest) / 3)

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Group -> class indices; without head and medium where `by_pixels` is not known."""
        if not self.by_pixels:
            return {"tail": self.tail}
        return split_rest(self.by_pixels, self.head) | {"tail": self.tail}

    @property
    def group_rule(self) -> str:
        return (
            f"tail: the {len(self.tail)} classes of AUCSeg's release; head (ours): of the other "
            f"{len(self.rest)}, the {self.head} with the most training pixels; medium: the rest"
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What is known of the split without a copy of the data."""
        return {
            "classes": list(self.classes),
            "splits": {n: [s.images, s.labels, s.count] for n, s in self.splits.items()},
        }


def names(manifest: str) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Class names and RGB colours of `manifests/MANIFEST.json`, in label order."""
    path = Path(__file__).parent / "manifests" / f"{manifest}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["classes"]
    return tuple(row[0] for row in rows), tuple((row[1], row[2], row[3]) for row in rows)


class Pair(NamedTuple):
    """A picture and its label. `key` is the picture's path in its split's folder without the suffix."""

    key: str
    image: Path
    label: Path
    form: LabelForm


def find(spec: Spec, root: Path) -> Path:
    """The folder of the data set: `root` or one of `spec.folders` below it.

    Raises DataError, saying what was expected and what was found, where it is missing, empty or
    half-extracted (only names are looked at; `survey.check` opens the files).
    """

    def lacking(place: Path) -> list[str] | None:
        folders = (f for s in spec.splits.values() for f in (s.images, s.labels))
        return named_problems(spec, place) if any((place / f).is_dir() for f in folders) else None

    places = ", ".join(str(Path(root) / folder) for folder in spec.folders)
    below = [folder for folder in spec.folders if folder != "."]
    return find_in(spec.title, root, below, spec.layout, lacking, f"none of {places} holds it")


def pairs(spec: Spec, path: Path, split: str, whole: bool = True) -> list[Pair]:
    """The pictures of a split that have a label, in order of their names.

    With `whole` raises DataError for the first picture without a label, and where there is none.
    """
    part = spec.splits[split]
    images = _keys(path / part.images, spec.image_suffix, spec.nested)
    form, labels = _labels(spec, path / part.labels, images)
    if whole:
        alone = sorted(images - labels)
        if alone:
            raise DataError(
                f"{spec.title}: {path / part.images / alone[0]}{spec.image_suffix} has no label "
                f"{part.labels}/{alone[0]}{form.suffix}"
            )
        if not images:
            raise DataError(f"{spec.title}: {path / part.images} holds no *{spec.image_suffix}")
    return [
        Pair(
            key,
            path / part.images / f"{key}{spec.image_suffix}",
            path / part.labels / f"{key}{form.suffix}",
            form,
        )
        for key in sorted(images & labels)
    ]


def read_label(path: Path, form: LabelForm) -> Array:
    """uint8 (H, W), class indices and `IGNORE`. Raises DataError for a damaged file or other ids."""
    import numpy as np

    raw = read_ids(path, form.table)
    table = np.full(256, IGNORE, np.uint8)
    for given, meant in form.table.items():
        table[given] = meant
    mapped: Array = table[raw]
    return mapped


def read_pair(pair: Pair) -> tuple[Array, Array]:
    """Image uint8 (H, W, 3), RGB, and label of one picture. Raises DataError if damaged or of different
    size."""
    import numpy as np

    image, label = np.asarray(read_image(pair.image)), read_label(pair.label, pair.form)
    require_same_size(pair.image, pair.label, image.shape[1::-1], label.shape[::-1])
    return image, label


# -- names


def named_problems(spec: Spec, path: Path) -> list[str]:
    problems: list[str] = []
    for part in spec.splits.values():
        missing = [name for name in (part.images, part.labels) if not (path / name).is_dir()]
        problems += [f"folder {name}/ is missing" for name in missing]
        if missing:
            continue
        images = _keys(path / part.images, spec.image_suffix, spec.nested)
        form, labels = _labels(spec, path / part.labels, images)
        counts = (
            (part.images, len(images), f"images *{spec.image_suffix}"),
            (part.labels, len(labels), f"labels *{form.suffix}"),
        )
        for folder, found, what in counts:
            if found < part.count:
                problems.append(
                    f"{folder}/ holds {found:,} of {part.count:,} {what}: extract the archive again"
                )
            elif found > part.count:
                problems.append(f"{folder}/ holds {found:,} {what}, expected {part.count:,}")
        for one, other, (here, ours), (there, theirs) in (
            (images, labels, (part.images, spec.image_suffix), (part.labels, form.suffix)),
            (labels, images, (part.labels, form.suffix), (part.images, spec.image_suffix)),
        ):
            alone = sorted(one - other)
            if alone:
                lacks = "label" if one is images else "image"
                more = f" (and {len(alone) - 1:,} more)" if len(alone) > 1 else ""
                problems.append(
                    f"{here}/{alone[0]}{ours} has no {lacks} {there}/{alone[0]}{theirs}{more}"
                )
    return problems


def _keys(folder: Path, suffix: str, nested: bool) -> set[str]:
    """Names of the files in `folder` that end with `suffix`, without it."""
    folders = {"": folder}
    try:
        if nested:
            with os.scandir(folder) as entries:
                folders = {f"{e.name}/": folder / e.name for e in entries if e.is_dir()}
        found = set()
        for prefix, place in folders.items():
            with os.scandir(place) as entries:
                found |= {
                    prefix + entry.name.removesuffix(suffix)
                    for entry in entries
                    if entry.name.endswith(suffix) and entry.name[0] != "."
                }
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None
    return found


def _labels(spec: Spec, folder: Path, images: set[str]) -> tuple[LabelForm, set[str]]:
    """The kind of labels that fits most pictures (of equals the preferred one), and their keys."""
    best: tuple[LabelForm, set[str]] | None = None
    taken: tuple[str, ...] = ()
    for form in spec.labels:
        keys = _keys(folder, form.suffix, spec.nested)
        # `x_labelTrainIds.png` ends with `.png` too, and is no picture's plain label
        keys = {key for key in keys if not f"{key}{form.suffix}".endswith(taken)} if taken else keys
        if best is None or len(keys & images) > len(best[1] & images):
            best = form, keys
        taken += (form.suffix,)
    assert best is not None
    return best
