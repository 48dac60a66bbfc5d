"""A training and a test set of samples that come without: which they are, by their labels alone. The draw is by SHA-256 of
seed, class and place, the same everywhere and for ever."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SHARE = (3, 5)
"""Of each class, what trains."""
_SEED, _VERSION = 0, 1
RULE = f"stratified {SHARE[0]}/{SHARE[1]}, seed {_SEED}, version {_VERSION}"
"""Changes when other samples are chosen of the same labels."""


def stratified(labels: Array) -> Array:
    """(N,) bool: the samples that train where a set comes without a split, of class ids (N,).

    Three fifths of each class, rounded down; what is missing of three fifths of all goes, one each, to the classes that were
    cut most (the first of equals). Which they are follows from seed, class and place in the class, by SHA-256.
    """
    import numpy as np

    part, whole = SHARE
    sizes = np.bincount(labels)
    wanted = sizes * part // whole
    cut = sorted(range(len(sizes)), key=lambda c: (-(int(sizes[c]) * part % whole), c))
    for c in cut[: len(labels) * part // whole - int(wanted.sum())]:
        wanted[c] += 1
    # a class of one sample trains: without it, it could not be tested
    wanted = np.maximum(wanted, sizes > 0)
    chosen = np.zeros(len(labels), bool)
    for c, count in enumerate(wanted.tolist()):
        members = np.flatnonzero(labels == c)
        order = sorted(range(len(members)), key=lambda k: _draw(c, k))
        chosen[members[order[:count]]] = True
    return chosen


def _draw(label: int, place: int) -> bytes:
    return hashlib.sha256(f"split {_VERSION} {_SEED} {label} {place}".encode()).digest()
