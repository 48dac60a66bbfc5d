"""Which labels sit beside each other on a frame, and whether that goes with accuracy.

A frame's permutations differ in which classes are neighbours. The covering bound (arXiv 2310.08358, theorem 4.8) is
smaller where classes that are alike lie far apart, so that accuracy should *fall* with the alignment of the frame's
cosines and the classes' similarity. The Gram matrix of an exact simplex is the same under every permutation: there is
nothing to align there, and the test is for frames in fewer dimensions.

Pure functions in float64; numpy is imported inside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from suite.stats.rank_correlation import Correlation, spearman

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_EQUAL = 1e-9
"""Alignments that differ by less, relative to their size, are one: the simplex's are equal but for rounding."""


def similarity_of(confusion: Array) -> Array:
    """(K, K) symmetric similarity in [0, 1] of a confusion matrix of counts (true class, predicted class).

    s_ij is the mean of the shares of class i taken for j and of j taken for i; zero on the diagonal. Raises ValueError
    for another shape, negative counts or a class without samples.
    """
    import numpy as np

    counts = np.asarray(confusion, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a confusion of shape {counts.shape}, expected (K, K)")
    if not (counts >= 0).all():
        raise ValueError("a confusion has counts, which are finite and at least 0")
    seen = counts.sum(axis=1)
    if (seen == 0).any():
        raise ValueError(f"class {int(np.argmin(seen))} has no samples in the confusion")
    shares = counts / seen[:, None]
    similarity: Array = (shares + shares.T) / 2
    np.fill_diagonal(similarity, 0)
    return similarity


def alignment(gram: Array, similarity: Array, permutation: Sequence[int]) -> float:
    """sum_{i<j} gram[pi(i), pi(j)] s_ij: large where classes that are alike are neighbours.

    Args:
        gram: (K, K) cosines of the frame's rows before it is permuted.
        similarity: (K, K) symmetric, of the classes; its diagonal is not looked at.
        permutation: pi, the row that each class has: class i is at vertex pi(i).

    Raises ValueError for shapes that do not fit, or what is no permutation.
    """
    import numpy as np

    cosines, alike = (np.asarray(each, dtype=np.float64) for each in (gram, similarity))
    classes = len(permutation)
    for name, each in (("gram", cosines), ("similarity", alike)):
        if each.shape != (classes, classes):
            raise ValueError(f"{name} of shape {each.shape}, expected {(classes, classes)}")
        if not np.isfinite(each).all():
            raise ValueError(f"{name} is not finite")
    if sorted(permutation) != list(range(classes)):
        raise ValueError(f"{list(permutation)} is no permutation of 0..{classes - 1}")
    order = np.asarray(permutation)
    upper = np.triu_indices(classes, 1)
    return float((cosines[np.ix_(order, order)] * alike)[upper].sum())


def alignment_test(
    gram: Array,
    similarity: Array,
    permutations: Sequence[Sequence[int]],
    accuracy: Sequence[float],
) -> Correlation:
    """Spearman's correlation of alignment and accuracy over permutations of one frame; n is their number.

    Args:
        permutations: one an arm; `accuracy` its mean over seeds.

    The similarity must not come from the runs that are tested: a confusion of theirs knows their accuracy. Take that of
    another method, or of the images. rho is None where all alignments are equal, as those of a simplex are. Raises
    ValueError as `alignment`, and for other lengths.
    """
    import numpy as np

    if len(permutations) != len(accuracy):
        raise ValueError(f"{len(permutations)} permutations and {len(accuracy)} accuracies")
    found = np.array([alignment(gram, similarity, one) for one in permutations])
    size = float(np.abs(np.asarray(similarity, dtype=np.float64)).sum()) or 1.0
    # ranks must not order what rounding alone tells apart
    return spearman(np.round(found / size / _EQUAL).tolist(), list(accuracy))
