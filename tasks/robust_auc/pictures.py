"""The test images of a protocol as they were tested, clean and corrupted: made again from its config, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError, RecordError, UserError
from suite.base.settings import cache_dir
from suite.define.protocol import Protocol
from tasks.robust_auc.data import corruptions, official
from tasks.robust_auc.data.generated import Recipe, cached
from tasks.robust_auc.data.release import CleanTest
from tasks.robust_auc.data.sources import BinarySource, dataset

if TYPE_CHECKING:
    import numpy as np

    from tasks.robust_auc.data.pools import Taken

    Array = np.ndarray[Any, np.dtype[Any]]

_SIDE = 88
"""Pixels that an enlarged picture has along a side, about."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """The test images: `label` (N,) uint8, `clean` and `corrupted` (N, C, S, S) uint8."""

    label: Array
    clean: Array
    corrupted: Array


def read(protocol: Protocol, name: str, root: Path | None) -> Pictures:
    """The images of `test` and of the prediction set `name`, in the order in which they are stored.

    `root`: folder of the data sets; of embedded data it is not asked for. Raises UserError: no root, or the protocol does
    not say how its images are made; DataError: they cannot be made of what is there.
    """
    import numpy as np

    how = _config(protocol, name)
    source = BinarySource(**how["source"])
    if source.pool.embedded:
        root = cache_dir()
    elif root is None:
        raise UserError(
            f"no data root: start the dashboard with --data-root DIR, where DIR holds {protocol.dataset.layout}"
        )
    path = dataset(source).find(root)
    # of the training images none is read
    none: list[list[int]] = [[] for _ in source.pool.classes]
    taken = source.pool.read(path, none, source.test_places)
    side = int(how.get("pool", 1))
    clean = corruptions.pool(taken.test.images, side)
    corrupted = _corrupted(how, root, taken, side)
    if corrupted.shape != clean.shape:
        raise DataError(
            f"images of {name!r} are {corrupted.shape}, the clean ones {clean.shape}: expected the same images"
        )
    label = np.isin(taken.test.labels, source.positives).astype(np.uint8)
    limit = how.get("limit")
    if limit is not None:
        # as of `datasets.BinaryImages`
        kept = np.concatenate([np.flatnonzero(label == c)[:limit] for c in (0, 1)])
        label, clean, corrupted = label[kept], clean[kept], corrupted[kept]
    return Pictures(label, clean, corrupted)


def require_same(found: Pictures, label: Array) -> None:
    """Raises RecordError where a run was tested on images of other labels (N,), 0 and 1."""
    import numpy as np

    if not np.array_equal(found.label, label):
        raise RecordError(
            f"the run was tested on {len(label):,} images whose labels are not those of the {len(found.label):,} images "
            "that the data give here: no picture is shown"
        )


def embedded(protocol: Protocol) -> bool:
    """Whether the images can be made wherever the suite is installed."""
    return protocol.dataset.embedded


def side_by_side(clean: Array, corrupted: Array) -> Array:
    """Two images (C, S, S) uint8, C 1 or 3, beside each other as RGBA (H, W, 4): every pixel enlarged to a square of the
    same colour (nearest neighbour), between them a gap of no colour."""
    import numpy as np

    factor = max(1, round(_SIDE / clean.shape[1]))
    left, right = (_enlarged(one, factor) for one in (clean, corrupted))
    gap = np.zeros((left.shape[0], max(4, left.shape[1] // 12), 4), np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def _enlarged(image: Array, factor: int) -> Array:
    import numpy as np

    colours = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    large = colours.repeat(factor, axis=0).repeat(factor, axis=1)
    full = np.full((*large.shape[:2], 1), 255, np.uint8)
    made: Array = np.concatenate([large, full], axis=2)
    return made


def _config(protocol: Protocol, name: str) -> dict[str, Any]:
    """How the set `name` is made: arguments of `datasets.BinaryImages`."""
    loaders = (protocol.blank or {}).get("prediction_dataloaders", {})
    how = loaders.get(name, {}).get("dataset", {})
    if "source" not in how or ("recipe" in how) == ("release" in how):
        raise UserError(
            f"protocol {protocol.name} does not say how the images of {name!r} are made: no picture is shown"
        )
    return dict(how)


def _corrupted(how: dict[str, Any], root: Path, taken: Taken, side: int) -> Array:
    """(N, C, S, S) uint8 of all test images."""
    if "recipe" in how:
        # the recipe pools by itself
        return cached(taken.test.images, Recipe(**how["recipe"]), cache_dir())
    about = how["release"]
    release = official.get(about["name"])
    test = CleanTest(
        labels=taken.released_labels, places=taken.test_places, files=taken.released_files
    )
    images = release.read(release.find(root), about["corruption"], about["severity"], test)
    return corruptions.pool(images, side)
