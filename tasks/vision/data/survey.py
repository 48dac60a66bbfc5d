"""Reading every file of a copy of a large data set: the deep check, and statistics of its labels.

Reading every label of a training split takes minutes, and gives the pixels per class, the images that
show a class, and a digest of the labels. It is done once for each copy and kept in the cache folder
(`statistics`); a deep `check` leaves it there too.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from suite.base.errors import DataError
from suite.base.files import atomic_path
from tasks.vision.data.official import IGNORE, Pair, Spec, named_problems, pairs
from tasks.vision.data.read_image import (
    DamagedError,
    OtherIdsError,
    OtherSizeError,
    decode_now,
    opened,
    read_ids,
    require_same_size,
)

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LOG = logging.getLogger("longtail_suite.data")
"""Progress of what takes minutes, at level INFO."""

_STATISTICS = 1  # raised when what is kept, or how it is counted, changes
_SHOWN = 5  # bad files of one kind that are named
_CHUNK = 256
_REPORT_SECONDS = 2.0
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def check(spec: Spec, path: Path, deep: bool, cache: Path) -> list[str]:
    """What is wrong with the copy in `path`, one line each; an empty list if nothing is.

    By names only: folders that are missing, counts, pictures without label, labels without picture.
    `deep` also decodes every file, with a thread for each core: damaged files, pictures and labels of
    different size, ids outside the class list. Of many bad files of one kind the first five are named.
    A sound copy's label statistics are left in `cache`.
    """
    path = Path(path)
    problems = named_problems(spec, path)
    if not deep:
        return problems
    bad: dict[str, list[str]] = {}
    for split in spec.splits:
        found = pairs(spec, path, split, whole=False)
        if not found:
            continue
        gathered = Statistics.empty(spec, len(found))
        sound = True
        steps = spread(lambda pair: _examine(pair, True), found)
        for row, seen in enumerate(told(steps, f"{spec.title} {split}", len(found))):
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


def statistics(
    spec: Spec, path: Path, split: str, cache: Path, only: list[Pair] | None = None
) -> Statistics:
    """Statistics of a split's labels: those kept in `cache`, else counted now (minutes) and kept; of the pairs `only`, where
    not all are meant.

    What is kept counts for a copy whose label files have the same names, sizes and times of change.
    Raises DataError naming the file: missing, damaged, with ids outside the class list.
    """
    found = pairs(spec, path, split) if only is None else only
    kept = _kept(spec, found, split, cache)
    known = Statistics.load(spec, len(found), kept)
    if known is not None:
        return known
    print(
        f"{spec.title}: counting the label pixels of {len(found):,} pictures, once; kept in {kept}",
        file=sys.stderr,
    )
    made = Statistics.empty(spec, len(found))
    steps = spread(lambda pair: _examine(pair, False), found)
    for row, seen in enumerate(told(steps, f"{spec.title} {split}, label pixels", len(found))):
        if isinstance(seen, _Fault):
            raise DataError(seen.line)
        made.add(row, found[row], seen)
    made.save(kept)
    return made


class _Seen(NamedTuple):
    """counts: id in the file -> pixels; sha256: of shape and ids."""

    counts: dict[int, int]
    sha256: str


class _Fault(NamedTuple):
    kind: str
    line: str


_KINDS: dict[type[Exception], str] = {
    DamagedError: "with a damaged or missing file",
    OtherIdsError: "with ids outside the class list",
    OtherSizeError: "whose label is of another size",
}


def _examine(pair: Pair, image_too: bool) -> _Seen | _Fault:
    import numpy as np

    try:
        label = read_ids(pair.label, pair.form.table)
        if image_too:
            with opened(pair.image, decode=False) as picture:
                size = picture.size
                # JPEG at an eighth of its size still reads the whole file
                picture.draft("RGB", (1, 1))
                decode_now(picture, pair.image)
            require_same_size(pair.image, pair.label, size, label.shape[::-1])
    except tuple(_KINDS) as error:
        return _Fault(_KINDS[type(error)], str(error))
    counts = np.bincount(label.ravel(), minlength=256)
    header = f"{label.shape[0]} {label.shape[1]}\n".encode()
    return _Seen(
        {int(i): int(counts[i]) for i in np.flatnonzero(counts)},
        hashlib.sha256(header + label.tobytes()).hexdigest(),
    )


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


def spread(function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
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


def told(steps: Iterable[_Out], what: str, total: int) -> Iterator[_Out]:
    """`steps`, with a line of progress now and then."""
    last = time.monotonic()
    for done, step in enumerate(steps, start=1):
        yield step
        if done == total or time.monotonic() - last > _REPORT_SECONDS:
            last = time.monotonic()
            LOG.info("%s: %s of %s pictures", what, f"{done:,}", f"{total:,}")
