"""The geometry that cross entropy reaches on imbalanced classes: simplex-encoded-labels interpolation (SELI).

Thrampoulidis, Kini, Vakilian and Behnia, "Imbalance Trouble: Revisiting Neural-Collapse Geometry",
NeurIPS 2022: with vanishing ridge the logits are Z = (I - 11^T/K) Y of one-hot labels Y (K, N), and with
Z = V L U^T the classifier's Gram matrix is V L V^T and the features' U L U^T, up to a factor. Both follow from the
counts n alone: Z Z^T = C diag(n) C with C = I - 11^T/K, so that the classifier's is its square root and the class
means' is that root's pseudo-inverse. Equal counts give the simplex.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def grams(counts: Sequence[int] | Array) -> tuple[Array, Array]:
    """Gram matrices (K, K) of the classifier and of the class means for training counts (K,), K >= 2.

    Not to be written to. Raises RecordError where a count is below 1: without images of a class the means have no reference.
    """
    import numpy as np

    number = np.asarray(counts)
    if number.ndim != 1 or len(number) < 2 or not (number >= 1).all():
        raise RecordError(
            f"SELI needs counts of at least two classes, each at least 1; given {str(list(number))[:80]}"
        )
    return _grams(tuple(number.tolist()))


@functools.lru_cache(maxsize=4)  # O(K^3), asked for once a measure and set
def _grams(counts: tuple[int, ...]) -> tuple[Array, Array]:
    import numpy as np

    number, classes = np.array(counts, np.float64), len(counts)
    centring = np.eye(classes) - 1 / classes
    values, vectors = np.linalg.eigh(centring @ (number[:, None] * centring))
    # the first is 0, of the constant vector
    root, vectors = np.sqrt(values[1:]), vectors[:, 1:]
    found = (vectors * root) @ vectors.T, (vectors / root) @ vectors.T
    for gram in found:
        gram.setflags(write=False)
    return found


def cosines(gram: Array) -> Array:
    """(K, K) cosines of vectors with this Gram matrix."""
    import numpy as np

    length = np.sqrt(np.diag(gram))
    found: Array = gram / np.outer(length, length)
    return found
