"""A validation set carved from the training images: which they are, by their labels alone.

The draw is by SHA-256 of seed and place, the same everywhere and for ever: no generator's stream is behind it.
Numpy is imported inside: protocols name a carving at every start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_RULE = 1
"""Raised when other images are chosen by the same fraction and seed."""


@dataclass(frozen=True)
class Carving:
    """Which share of the training images is the validation set, and the seed that they are drawn by."""

    fraction: float = 0.2
    seed: int = 0

    @property
    def token(self) -> str:
        """For `Protocol.split`."""
        return f"val-{self.fraction:g}-seed{self.seed}-rule{_RULE}"

    def part(self, name: str) -> dict[str, Any]:
        """For a data set's config: the part `train` or `val`."""
        return {"part": name, "fraction": self.fraction, "seed": self.seed}

    def kept(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Images of each class that go on training, of `counts` in all."""
        return tuple(n - self.taken(n) for n in counts)

    def taken(self, images: int) -> int:
        """Images of a class that are for validation: the share, rounded; one at least, and one at least is left to
        the training, which has the only image of a class."""
        return min(images - 1, max(1, int(images * self.fraction + 0.5))) if images > 1 else 0


CARVING = Carving()


def part_of(config: Mapping[str, Any], chosen: Callable[[Carving], Array]) -> Array:
    """Places (M,) int64 of a part as a data set's config names it (`Carving.part`); `chosen` is one of the below.

    Raises DataError where no image is left out: each holds the last of a class.
    """
    import numpy as np

    how = dict(config)
    part = how.pop("part")
    validation = chosen(Carving(**how))
    if not validation.any():
        raise DataError(
            f"{len(validation)} training images are too few to leave a validation set out: a class would lose its last; "
            "use the protocol without :carved"
        )
    found: Array = np.flatnonzero({"train": ~validation, "val": validation}[part])
    return found


def chosen_by_class(labels: Sequence[int], carving: Carving) -> Array:
    """(N,) bool: the images that are for validation, `Carving.taken` of each class. `labels` (N,), class ids."""
    import numpy as np

    members: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        members.setdefault(int(label), []).append(place)
    chosen = np.zeros(len(labels), bool)
    for label, places in members.items():
        order = sorted(range(len(places)), key=lambda k: _draw(carving.seed, label, k))
        for k in order[: carving.taken(len(places))]:
            chosen[places[k]] = True
    return chosen


def chosen_by_image(presence: Array, carving: Carving) -> Array:
    """(N,) bool: the images that are for validation, where an image shows several classes.

    `presence` (N, C) bool. Each class wants `Carving.taken` of its images there. Iterative stratification (Sechidis,
    Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML 2011): of the class with the fewest
    images that are not placed yet, each goes to the part that wants more of that class, or else more images. No class
    loses its last training image.
    """
    import numpy as np

    images, classes = presence.shape
    order = sorted(range(images), key=lambda place: _draw(carving.seed, 0, place))
    shown = presence[order]
    total = shown.sum(axis=0)
    # rows: training, validation; the last column: images of whatever class
    per_class = [carving.taken(int(n)) for n in (*total, images)]
    wanted = np.array([[*total, images], per_class])
    wanted[0] -= wanted[1]
    part = np.full(images, -1)
    while (part < 0).any():
        waiting = part < 0
        left = shown[waiting].sum(axis=0)
        rarest = int(np.where(left > 0, left, images + 1).argmin()) if left.any() else classes
        members = (
            np.flatnonzero(waiting & shown[:, rarest]) if left.any() else np.flatnonzero(waiting)
        )
        for image in members:
            training, validation = wanted[:, [rarest, classes]].tolist()
            chosen = int(validation > training)
            part[image] = chosen
            wanted[chosen, :classes] -= shown[image]
            wanted[chosen, classes] -= 1
    for c in np.flatnonzero((total > 0) & ~shown[part == 0].any(axis=0)):
        part[np.flatnonzero(shown[:, c])[0]] = 0
    made = np.zeros(images, bool)
    made[order] = part == 1
    return made


def _draw(seed: int, label: int, place: int) -> bytes:
    return hashlib.sha256(f"{seed} {label} {place}".encode()).digest()
