"""Large public data sets in their official layouts: finding, checking and reading a user's copy.

A `Spec` says where pictures and labels lie, how many there are, and what the ids of a label file mean
(`LabelForm.table`: file id -> class, or 255 for pixels that do not count; any other id is an error).
ADE20K's shift by one (mmseg's `reduce_zero_label`), Cityscapes' and COCO-Stuff's original ids are
such tables, so a label needs no conversion on disk.

Reading every label of a training split takes minutes, and gives the pixels per class, the images that
show a class, and a digest of the labels. It is done once for each copy and kept in the cache folder
(`statistics`); a deep `check` leaves it there too.

Only the standard library is imported here; pictures are opened inside the functions that need them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from suite.base.errors import DataError, found_in
from suite.base.files import atomic_path
from tasks.vision.groups import split_rest

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

IGNORE = 255
LOG = logging.getLogger("longtail_suite.data")
"""Progress of what takes minutes, at level INFO."""

_STATISTICS = 1  # raised when what is kept, or how it is counted, changes
_SHOWN = 5  # bad files of one kind that are named
_CHUNK = 256
_REPORT_SECONDS = 2.0
_In = TypeVar("_In")
_Out = TypeVar("_Out")


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
    half-extracted (only names are looked at; `check(spec, path, deep=True)` opens the files).
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{spec.title}: there is no folder {root}; expected {spec.layout}")
    places = [root / folder for folder in spec.folders]
    for path in places:
        if any((path / f).is_dir() for s in spec.splits.values() for f in (s.images, s.labels)):
            break
    else:
        tried = ", ".join(map(str, places))
        raise DataError(
            f"{spec.title}: none of {tried} holds it: expected {spec.layout}; found in {root}: "
            f"{found_in(root)}"
        )
    problems = _named_problems(spec, path)
    if problems:
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise DataError(
            f"{spec.title} in {path} is not whole: {problems[0]}{more}; expected {spec.layout}"
        )
    return path


def check(spec: Spec, path: Path, deep: bool, cache: Path) -> list[str]:
    """What is wrong with the copy in `path`, one line each; an empty list if nothing is.

    By names only: folders that are missing, counts, pictures without label, labels without picture.
    `deep` also decodes every file, with a thread for each core: damaged files, pictures and labels of
    different size, ids outside the class list. Of many bad files of one kind the first five are named.
    A sound copy's label statistics are left in `cache`.
    """
    path = Path(path)
    problems = _named_problems(spec, path)
    if not deep:
        return problems
    bad: dict[str, list[str]] = {}
    for split in spec.splits:
        found = pairs(spec, path, split, whole=False)
        if not found:
            continue
        gathered = Statistics.empty(spec, len(found))
        sound = True
        steps = _spread(lambda pair: _examine(pair, True), found)
        for row, seen in enumerate(_told(steps, f"{spec.title} {split}", len(found))):
            if isinstance(seen, _Fault):
                bad.setdefault(seen.kind, []).append(seen.line)
                sound = False
            elif sound:
                gathered.add(row, found[row], seen)
        if sound and not problems:
            gathered.save(_kept(spec, found, split, cache))
    for kind, lines in bad.items():
        problems += lines[:_SHOWN]
        if len(lines) > _SHOWN:
            problems.append(f"{len(lines) - _SHOWN:,} more pictures {kind}")
    return problems


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


def read_image(path: Path) -> Array:
    """uint8 (H, W, 3), RGB, as the file stores it: an orientation tag turns no picture, since it would
    not turn the label. Raises DataError for a damaged file."""
    import numpy as np

    with _opened(path) as picture:
        return np.asarray(picture.convert("RGB"))


def read_label(path: Path, form: LabelForm) -> Array:
    """uint8 (H, W), class indices and `IGNORE`. Raises DataError for a damaged file or other ids."""
    import numpy as np

    raw = _raw(path)
    _known(raw, path, form)
    table = np.full(256, IGNORE, np.uint8)
    for given, meant in form.table.items():
        table[given] = meant
    mapped: Array = table[raw]
    return mapped


def read_pair(pair: Pair) -> tuple[Array, Array]:
    """Image and label of one picture. Raises DataError if damaged or of different size."""
    image, label = read_image(pair.image), read_label(pair.label, pair.form)
    _same_size(pair, (image.shape[1], image.shape[0]), (label.shape[1], label.shape[0]))
    return image, label


@dataclass
class Statistics:
    """What the labels of a split hold.

    Attributes:
        pixels: int64 (C,), pixels per class.
        presence: bool (N, C), whether a picture shows a class, in the order of `pairs`.
        sha256: hex digest of the keys and decoded labels in order, as the files hold them.
    """

    pixels: Array
    presence: Array
    sha256: str = ""
    _digests: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, spec: Spec, pictures: int) -> Statistics:
        import numpy as np

        classes = len(spec.classes)
        return cls(np.zeros(classes, np.int64), np.zeros((pictures, classes), bool))

    def add(self, row: int, pair: Pair, seen: _Seen) -> None:
        """Count the picture of the next row."""
        for given, count in seen.counts.items():
            meant = pair.form.table[given]
            if meant != IGNORE:
                self.pixels[meant] += count
                self.presence[row, meant] = True
        self._digests.append(f"{pair.key} {seen.sha256}\n")

    def save(self, path: Path) -> None:
        """Write to `path`, whole or not at all; a cache that cannot be written is done without."""
        import numpy as np

        self.sha256 = hashlib.sha256("".join(self._digests).encode()).hexdigest()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(
                    file,
                    pixels=self.pixels,
                    presence=np.packbits(self.presence, axis=1),
                    sha256=np.frombuffer(bytes.fromhex(self.sha256), np.uint8),
                )
        except OSError as error:
            LOG.warning("label statistics are not kept: %s", error)

    @classmethod
    def load(cls, spec: Spec, pictures: int, path: Path) -> Statistics | None:
        """What was kept in `path`; None where nothing was, or not what it should be."""
        import zipfile

        import numpy as np

        made = cls.empty(spec, pictures)
        try:
            with np.load(path, allow_pickle=False) as kept:
                pixels, packed, digest = kept["pixels"], kept["presence"], kept["sha256"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        bits = -(-len(spec.classes) // 8)
        if pixels.shape != made.pixels.shape or pixels.dtype.kind not in "iu":
            return None
        if packed.shape != (pictures, bits) or packed.dtype != np.uint8 or digest.shape != (32,):
            return None
        presence = np.unpackbits(packed, axis=1, count=len(spec.classes)).astype(bool)
        return cls(pixels.astype(np.int64), presence, digest.astype(np.uint8).tobytes().hex())


def statistics(spec: Spec, path: Path, split: str, cache: Path) -> Statistics:
    """Statistics of a split's labels: those kept in `cache`, else counted now (minutes) and kept.

    What is kept counts for a copy whose label files have the same names, sizes and times of change.
    Raises DataError naming the file: missing, damaged, with ids outside the class list.
    """
    found = pairs(spec, path, split)
    kept = _kept(spec, found, split, cache)
    known = Statistics.load(spec, len(found), kept)
    if known is not None:
        return known
    print(
        f"{spec.title}: counting the label pixels of {len(found):,} pictures, once; kept in {kept}",
        file=sys.stderr,
    )
    made = Statistics.empty(spec, len(found))
    steps = _spread(lambda pair: _examine(pair, False), found)
    for row, seen in enumerate(_told(steps, f"{spec.title} {split}, label pixels", len(found))):
        if isinstance(seen, _Fault):
            raise DataError(seen.line)
        made.add(row, found[row], seen)
    made.save(kept)
    return made


# -- names


def _named_problems(spec: Spec, path: Path) -> list[str]:
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


# -- files


class _Seen(NamedTuple):
    """counts: id in the file -> pixels; sha256: of shape and ids."""

    counts: dict[int, int]
    sha256: str


class _Fault(NamedTuple):
    kind: str
    line: str


class _DamagedError(DataError):
    kind = "with a damaged or missing file"


class _OtherIdsError(DataError):
    kind = "with ids outside the class list"


class _OtherSizeError(DataError):
    kind = "whose label is of another size"


def _examine(pair: Pair, image_too: bool) -> _Seen | _Fault:
    import numpy as np

    try:
        label = _raw(pair.label)
        _known(label, pair.label, pair.form)
        if image_too:
            with _opened(pair.image, decode=False) as picture:
                size = picture.size
                # JPEG at an eighth of its size still reads the whole file
                picture.draft("RGB", (1, 1))
                _decode(picture, pair.image)
            _same_size(pair, size, (label.shape[1], label.shape[0]))
    except (_DamagedError, _OtherIdsError, _OtherSizeError) as error:
        return _Fault(error.kind, str(error))
    counts = np.bincount(label.ravel(), minlength=256)
    header = f"{label.shape[0]} {label.shape[1]}\n".encode()
    return _Seen(
        {int(i): int(counts[i]) for i in np.flatnonzero(counts)},
        hashlib.sha256(header + label.tobytes()).hexdigest(),
    )


def _raw(path: Path) -> Array:
    """uint8 (H, W), the ids as the file holds them."""
    import numpy as np

    with _opened(path) as picture:
        if picture.mode not in ("L", "P"):
            raise _DamagedError(
                f"{path} is no label image: mode {picture.mode}, expected one byte of ids"
            )
        return np.asarray(picture)


def _known(raw: Array, path: Path, form: LabelForm) -> None:
    import numpy as np

    ids = np.flatnonzero(np.bincount(raw.ravel(), minlength=256)).tolist()
    odd = [i for i in ids if i not in form.table]
    if odd:
        shown = ", ".join(map(str, odd[:5])) + ", ..." * (len(odd) > 5)
        raise _OtherIdsError(f"{path} holds label ids outside {_ranges(form.table)}: {shown}")


def _ranges(ids: Iterable[int]) -> str:
    """Such as `0-18, 255`."""
    runs: list[list[int]] = []
    for i in sorted(ids):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _same_size(pair: Pair, image: tuple[int, int], label: tuple[int, int]) -> None:
    if image != label:
        raise _OtherSizeError(
            f"{pair.image} is {image[0]}x{image[1]}, its label {pair.label} is {label[0]}x{label[1]}"
        )


def _opened(path: Path, decode: bool = True) -> Any:
    from PIL import Image

    try:
        picture = Image.open(path)
    except FileNotFoundError:
        raise _DamagedError(f"{path} is missing") from None
    except Exception as error:  # OSError, SyntaxError, struct.error, DecompressionBombError, ...
        raise _DamagedError(f"{path} cannot be read as an image: {error}") from error
    if decode:
        _decode(picture, path)
    return picture


def _decode(picture: Any, path: Path) -> None:
    try:
        picture.load()  # now, so that a truncated file is noticed here
    except Exception as error:
        picture.close()
        raise _DamagedError(f"{path} cannot be read as an image: {error}") from error


def _kept(spec: Spec, found: list[Pair], split: str, cache: Path) -> Path:
    """Where the statistics of these label files are kept."""
    digest = hashlib.sha256(f"{_STATISTICS} {spec.name} {split} {len(spec.classes)}\n".encode())
    for pair in found:
        try:
            stat = pair.label.stat()
        except OSError as error:
            raise DataError(f"{pair.label}: {error.strerror}") from None
        digest.update(f"{pair.key}{pair.form.suffix} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return cache / "label-statistics" / f"{spec.name}-{split}-{digest.hexdigest()[:16]}.npz"


def _spread(function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """`map` over threads, in order, without holding all items at once: decoding leaves the interpreter's
    lock, and threads end with the process."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    rest = iter(items)
    try:
        while chunk := list(islice(rest, _CHUNK)):
            yield from pool.map(function, chunk)
    finally:
        pool.shutdown(cancel_futures=True)


def _told(steps: Iterable[_Out], what: str, total: int) -> Iterator[_Out]:
    """`steps`, with a line of progress now and then."""
    told = time.monotonic()
    for done, step in enumerate(steps, start=1):
        yield step
        if done == total or time.monotonic() - told > _REPORT_SECONDS:
            told = time.monotonic()
            LOG.info("%s: %s of %s pictures", what, f"{done:,}", f"{total:,}")
