"""Which labels sit beside each other on a frame, and whether that goes with accuracy.

A frame's permutations differ in which classes are neighbours. The covering bound (arXiv 2310.08358, theorem 4.8) is
smaller where classes that are alike lie far apart, so that accuracy should *fall* with the alignment of the frame's
cosines and the classes' similarity. The Gram matrix of an exact simplex is the same under every permutation: there is
nothing to align there, and the test is for frames in fewer dimensions.

Pure functions in float64; numpy is imported inside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


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


def alignment(cosines: Array, similarity: Array) -> float:
    """sum_{i<j} cosines_ij s_ij: large where classes that are alike are neighbours.

    Args:
        cosines: (K, K) of the rows of a classifier, by class: an arm's permutation is in them.
        similarity: (K, K) symmetric, of the classes; its diagonal is not looked at.

    Raises ValueError for shapes that do not fit, or what is not finite.
    """
    import numpy as np

    gram, alike = (np.asarray(each, dtype=np.float64) for each in (cosines, similarity))
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.shape != alike.shape:
        raise ValueError(f"cosines of shape {gram.shape} and similarity of {alike.shape}")
    for name, each in (("cosines", gram), ("similarity", alike)):
        if not np.isfinite(each).all():
            raise ValueError(f"{name} not finite")
    upper = np.triu_indices(len(gram), 1)
    return float((gram * alike)[upper].sum())


def alignment_of(weight: Array, confusion: Array) -> float:
    """`alignment` of a classifier's rows (K, D) with the similarity of a confusion, over the sum of similarities: a weighted
    mean cosine, in [-1, 1]. The confusion must not be of the run itself: that one knows its accuracy.

    Raises ValueError as `similarity_of` and `alignment`, for a row of zeros, and where no image is taken for another class's.
    """
    import numpy as np

    rows = np.asarray(weight, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise ValueError(f"row {int(np.argmin(norms))} of the classifier is zero")
    similar = similarity_of(confusion)
    if not similar.any():
        raise ValueError("the reference takes no class for another, so that none are alike")
    unit = rows / norms
    return alignment(unit @ unit.T, similar) / (float(similar.sum()) / 2)
