"""Corrupted copies of a test set, by recipe, and the cache of them.

What a recipe makes is the same on every machine; only of the corruptions with `libraries` it changes with those.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.canonical import canonical, short_hash
from suite.base.errors import DataError, UserError
from tasks.robust_auc.data import corruptions
from tasks.robust_auc.data.constants import set_name
from tasks.vision.data.arrays import digest as array_digest

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_RULE = 1
"""Raised when a formula, or what is drawn, changes."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a corrupted set is made of the clean one. Raises UserError for anything that cannot be made.

    Attributes:
        corruption: of `corruptions.CORRUPTIONS`.
        severity: 1..5.
        table: of constants (`constants.TABLES`), by the edge of the images that are classified.
        pool: side of the squares that are averaged afterwards; 1 for none.
        limit: how many images are taken, the first in file order; None for all.
    """

    corruption: str
    severity: int
    table: str
    pool: int = 1
    limit: int | None = None

    def __post_init__(self) -> None:
        corruptions.constant(self.corruption, self.severity, self.table)
        if self.pool < 1:
            raise UserError(f"corrupted images cannot be pooled by {self.pool}; 1 pools nothing")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"{self.limit} corrupted images are none; leave the limit out for all")

    def config(self) -> dict[str, Any]:
        """As keyword arguments, for a config."""
        return asdict(self)

    @property
    def set_name(self) -> str:
        """Of the prediction set: `corruption=NAME,severity=S`."""
        return set_name(self.corruption, self.severity)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes the arrays: the constant itself, whatever its table is called."""
        return {
            "corruption": self.corruption,
            "severity": self.severity,
            "constant": corruptions.constant(self.corruption, self.severity, self.table),
            "seed": corruptions.seed(self.corruption, self.severity),
            "pool": self.pool,
            "limit": self.limit,
            "rule": _RULE,
        }

    @property
    def digest(self) -> str:
        """12 hex digits over the identity. Needs no data."""
        return short_hash(self.identity)


def generate(images: Array, recipe: Recipe) -> Array:
    """The corrupted set, uint8 (N, C, S / pool, S / pool), of the clean one, uint8 (>= N, C, S, S).

    Raises DataError for other arrays and for fewer images than the limit; UserError: a colour corruption of grey images.
    """
    taken = _taken(images, recipe)
    made = corruptions.corrupt(taken, recipe.corruption, recipe.severity, recipe.table)
    return corruptions.pool(made, recipe.pool)


def cached(images: Array, recipe: Recipe, cache_dir: Path) -> Array:
    """What `generate` gives, from `cache_dir` if it is there and whole, else made and kept there.

    Kept by the digests of the recipe and of the source images, and by the versions of the libraries that enter. Several
    processes may call this at once. A damaged file is replaced; a folder that cannot be written costs only the time to
    make the images again.
    """
    taken = _taken(images, recipe)
    path = cache_path(taken, recipe, cache_dir)
    kept = _read(path)
    if kept is not None:
        return kept
    made = generate(images, recipe)
    with contextlib.suppress(OSError):
        _write(path, made)
    return made


def cache_path(images: Array, recipe: Recipe, cache_dir: Path) -> Path:
    """Where the set is kept that `recipe` makes of exactly these images."""
    libraries = corruptions.get(recipe.corruption).libraries
    made_of = {
        "recipe": recipe.identity,
        "source": array_digest(images),
        "libraries": {name: version(name) for name in libraries},
    }
    key = hashlib.sha256(canonical(made_of)).hexdigest()[:16]
    return Path(cache_dir) / "corrupted" / f"{recipe.corruption}-{recipe.severity}-{key}.npz"


def _taken(images: Array, recipe: Recipe) -> Array:
    if recipe.limit is None:
        return images
    if len(images) < recipe.limit:
        raise DataError(
            f"{recipe.set_name} is made of {recipe.limit} images, but the clean test set has {len(images)}"
        )
    return images[: recipe.limit]


def _read(path: Path) -> Array | None:
    """The images in `path`, or None where the file is missing or damaged."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            images, sha256 = file["images"], str(file["sha256"])
    except Exception:  # a damaged zip fails in a dozen ways, and the remedy is always to remake it
        return None
    # the file's own checksum: a zip's holds for each part alone, and not for its name
    whole = images.dtype == np.uint8 and images.ndim == 4 and array_digest(images) == sha256
    return images if whole else None


def _write(path: Path, images: Array) -> None:
    """Write `path` so that it is either whole or absent, however this process ends."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    # a name of its own: threads of a process may write the same set at once
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, images=images, sha256=np.array(array_digest(images)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
