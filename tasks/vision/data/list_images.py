"""Whether a copy of a list data set is whole: its lists, and the images that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from suite.base.errors import DataError
from tasks.vision.data.lists import Entries, ListSpec, differences, read_list
from tasks.vision.data.read_image import read_image
from tasks.vision.data.survey import spread, told

SAMPLE = 200
"""Images of a list that are looked for where not all are."""


def check(spec: ListSpec, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each; an empty list if nothing is.

    The lists are read, train and test may share no image, and `SAMPLE` images of each list, evenly
    spread, must be there. `deep` looks for every image and decodes it (hours at full size).
    Other sizes than the known ones are no problem here: see `differs`.
    """
    path = Path(path)
    problems: list[str] = []
    read: dict[str, Entries] = {}
    for split in ("train", "test", "val"):
        file = {"train": spec.train, "test": spec.test, "val": spec.val}[split]
        if file is None or (split == "val" and not (path / file).exists()):
            continue
        try:
            read[file] = read_list(path / file, spec.classes, training=split == "train")
        except DataError as error:
            problems.append(str(error))
    if spec.train in read and spec.test in read:
        both = sorted(set(read[spec.train].paths) & set(read[spec.test].paths))
        if both:
            problems.append(
                f"{_some(both)} in both {spec.train} and {spec.test}: {_first(both)}; "
                "copy the lists again"
            )
    for file, entries in read.items():
        problems += image_problems(path, entries.paths, file, deep)
    return problems


def image_problems(path: Path, images: Sequence[str], of: str, deep: bool) -> list[str]:
    """What is wrong with image files (paths relative to `path`, named by the list `of`), at most two lines: `SAMPLE` of
    them, evenly spread, that are absent; `deep` all that are absent or cannot be decoded."""
    chosen = list(images) if deep else _spread(images)
    absent = [image for image in chosen if not (path / image).is_file()]
    problems = [_absent(path, absent, len(chosen), f" ({of})")] if absent else []
    if deep:
        gone = set(absent)
        problems += _damaged(path, of, [image for image in chosen if image not in gone])
    return problems


def differs(spec: ListSpec, path: Path) -> str:
    """See `DataSet.differs`. Raises DataError for lists that cannot be read."""
    train = read_list(path / spec.train, spec.classes, training=True)
    return differences(spec, train, read_list(path / spec.test, spec.classes))


def require_images(path: Path, *lists: Entries) -> None:
    """Raises DataError where one of `SAMPLE` evenly spread images of a list is absent."""
    for entries in lists:
        require_sample(path, entries.paths)


def require_sample(path: Path, images: Sequence[str]) -> None:
    """Raises DataError where one of `SAMPLE` evenly spread image files is absent."""
    chosen = _spread(images)
    absent = [image for image in chosen if not (Path(path) / image).is_file()]
    if absent:
        raise DataError(_absent(Path(path), absent, len(chosen)))


def _spread(paths: Sequence[str]) -> list[str]:
    """At most `SAMPLE` of them, evenly spread, the first and the last among them."""
    if len(paths) <= SAMPLE:
        return list(paths)
    return [paths[k * (len(paths) - 1) // (SAMPLE - 1)] for k in range(SAMPLE)]


def _absent(path: Path, absent: list[str], of: int, file: str = "") -> str:
    return (
        f"{len(absent)} of {of} images looked for in {path} are absent{file}: {_first(absent)}; "
        "copy the images to where the list says"
    )


def _damaged(path: Path, file: str, images: Sequence[str]) -> list[str]:
    def broken(image: str) -> str | None:
        try:
            read_image(path / image)
        except DataError:
            return image
        return None

    seen = told(spread(broken, images), f"{path.name} ({file})", len(images))
    damaged = [image for image in seen if image is not None]
    if not damaged:
        return []
    return [f"{_some(damaged)} damaged ({file}): {_first(damaged)}; copy again into {path}"]


def _some(images: list[str]) -> str:
    return f"{len(images)} {'image is' if len(images) == 1 else 'images are'}"


def _first(images: list[str]) -> str:
    return ", ".join(images[:3]) + (", ..." if len(images) > 3 else "")
