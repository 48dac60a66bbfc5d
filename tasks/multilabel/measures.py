"""Measures of rankings of labels, sample by sample. Pure numpy, without a loop over samples.

One sample: scores s of L labels, N+ of them relevant and N- not; ranks count from 1, the largest score, and of
equal scores the one that comes first in label order is ahead. What is undefined is NaN, and left out of
means: everything of a sample without relevant label, and the ranking loss where all are relevant.

All measures of samples but the ranking loss follow from the ranks of the relevant labels (`Ranks`). These are
counted, not sorted: a rank is one more than the number of labels ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from suite.base.errors import RecordError, UserError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Alpha = Literal["1", "n+", "min", "ideal"]
"""Normalisers of TKPR: 1, N+, min(K, N+), and that with which a perfect ranking has 1."""

_BLOCK = 1 << 18  # scores compared at a time: they stay in a core's cache
_COUNTED = 32  # of more relevant labels sorting the row is cheaper than counting for each


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the relevant labels of N samples stand. `ranks` and `ranks_listed` make it.

    Attributes:
        labels: number of labels L.
        relevant: (N,) int64, N+.
        row, rank, place: (M,) integers, sample by sample and in ascending rank: the sample, the label's rank among
            all labels (1..L), and among the relevant ones (1..N+). Labels whose rank is not known are not there.
        known: ranks 1..`known` are known of every sample.
        wrong: (N,) float64, pairs of a relevant and an irrelevant label in the wrong order, ties one half;
            None where not all ranks are known.
    """

    labels: int
    relevant: Array
    row: Array
    rank: Array
    place: Array
    known: int
    wrong: Array | None

    def __len__(self) -> int:
        return len(self.relevant)


# -- ranks


def ranks(scores: Array, labels: Array) -> Ranks:
    """Of `scores` (N, L), floating, finite or -inf with one finite at least in each row, and `labels` (N, L) bool.

    Time O(N L (1 + mean N+)), with rows of more than 32 relevant labels O(L log L) each; memory O(M), beside a
    block of rows. Raises RecordError for arrays of another form and for NaN.
    """
    import numpy as np

    check_arrays(scores, labels)
    samples, width = scores.shape
    relevant = labels.sum(axis=1)
    wrong = np.empty(samples)
    found = []
    for rows in blocks_of(samples, width):
        many = relevant[rows] > _COUNTED
        parts: list[tuple[Array, ...]] = []
        for chosen, find in ((~many, _counted), (many, _sorted)):
            if chosen.all():
                parts.append(find(scores[rows], labels[rows]))
            elif chosen.any():
                row, *others = find(scores[rows][chosen], labels[rows][chosen])
                parts.append((np.flatnonzero(chosen)[row], *others))
        row, rank, above, reached = (np.concatenate(one) for one in zip(*parts, strict=True))
        order = slice(None) if many.all() else np.lexsort((rank, row))
        # of two relevant labels one is above the other, or each a half: together N+ ^ 2 / 2 with their own half
        pairs = np.bincount(row, (above + reached) / 2, minlength=len(many))
        wrong[rows] = pairs - relevant[rows] ** 2 / 2
        found.append(((row[order] + rows.start).astype(np.int32), rank[order].astype(np.int32)))
    row, rank = (np.concatenate(one) for one in zip(*found, strict=True))
    return Ranks(width, relevant, row, rank, _places(row), width, wrong)


def ranks_listed(order: Array, labels: Array) -> Ranks:
    """Of `order` (N, K), the first K labels of each sample, 0..L-1, and `labels` (N, L) bool.

    Labels that are not listed have a rank above K: measures at up to K are those of the whole order.
    """
    import numpy as np

    row, column = np.nonzero(np.take_along_axis(labels, order, axis=1))
    known = order.shape[1]
    return Ranks(labels.shape[1], labels.sum(axis=1), row, column + 1, _places(row), known, None)


def _counted(scores: Array, labels: Array) -> tuple[Array, Array, Array, Array]:
    """(sample, rank, number of scores above, number above or equal) of each relevant label."""
    import numpy as np

    row, column = np.nonzero(labels)
    own = scores[row, column]
    relevant = np.bincount(row, minlength=len(labels))
    first = np.cumsum(relevant) - relevant
    above, reached = np.empty(len(row), np.int64), np.empty(len(row), np.int64)
    for nth in range(relevant.max(initial=0)):
        having = np.flatnonzero(relevant > nth)
        pair = first[having] + nth
        rivals = scores if len(having) == len(scores) else scores[having]
        value = own[pair][:, None]
        above[pair] = (rivals > value).sum(axis=1, dtype=np.int32)
        reached[pair] = (rivals >= value).sum(axis=1, dtype=np.int32)
    rank = above + 1
    tied = np.flatnonzero(reached > rank)
    before = np.arange(labels.shape[1])
    for part in blocks_of(len(tied), labels.shape[1]):
        pair = tied[part]
        ahead = scores[row[pair]] == own[pair][:, None]
        ahead &= before < column[pair][:, None]
        rank[pair] += ahead.sum(axis=1)
    return row, rank, above, reached


def _sorted(scores: Array, labels: Array) -> tuple[Array, Array, Array, Array]:
    """As `_counted`, for rows with many relevant labels."""
    import numpy as np

    order = np.argsort(-scores, axis=1, kind="stable")
    value = np.take_along_axis(scores, order, axis=1)
    row, column = np.nonzero(np.take_along_axis(labels, order, axis=1))
    # equal scores are a run: its first place is the number of scores above, its last one that of those reached
    place = np.arange(value.shape[1])
    begins = np.ones(value.shape, bool)
    begins[:, 1:] = value[:, 1:] != value[:, :-1]
    first = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    ends = np.ones(value.shape, bool)
    ends[:, :-1] = begins[:, 1:]
    behind = np.where(ends, place, len(place))[:, ::-1]
    last = np.minimum.accumulate(behind, axis=1)[:, ::-1]
    return row, column + 1, first[row, column], last[row, column] + 1


def _places(row: Array) -> Array:
    """1, 2, 3, ... within each run of equal numbers."""
    import numpy as np

    place = np.arange(1, len(row) + 1, dtype=np.int32)
    begins = np.append(True, row[1:] != row[:-1])[: len(row)]
    return place - np.maximum.accumulate(np.where(begins, place - 1, 0))


# -- of each sample, (N,) float64


def precision(found: Ranks, k: int) -> Array:
    """P@K: share of the first K labels that are relevant. Raises UserError for K outside 1..L, as all here."""
    return _defined(found, _summed(found, k, 1.0) / k)


def recall(found: Ranks, k: int) -> Array:
    """R@K: share of the relevant labels among the first K."""
    return _defined(found, _summed(found, k, 1.0) / _at_least_1(found.relevant))


def average_precision(found: Ranks, k: int) -> Array:
    """AP@K = (1 / min(K, N+)) sum_{k<=K} y_k P@k, whose mean is mAP@K; y_k: whether the k-th label is relevant."""
    import numpy as np

    best = _at_least_1(np.minimum(found.relevant, k))
    return _defined(found, _summed(found, k, found.place / found.rank) / best)


def ndcg(found: Ranks, k: int) -> Array:
    """NDCG@K with gains 0 and 1 and discounts 1 / log2(k + 1), the ideal over min(K, N+) labels.

    Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002.
    """
    import numpy as np

    check_k(k, found.labels)
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    best = ideal[_at_least_1(np.minimum(found.relevant, k)) - 1]
    return _defined(found, _summed(found, k, 1 / np.log2(found.rank + 1.0)) / best)


def tkpr(found: Ranks, k: int, alpha: Alpha = "ideal") -> Array:
    """TKPR@K, list-wise: (1 / (alpha K)) sum_{k<=K} y_k (K + 1 - k); in [0, 1], with alpha = 1 in [0, (K + 1) / 2].

    With alpha = n+ it is the mean over k <= K of R@k, and 1 - TKPR bounds the ranking loss from above for
    K <= N-; with one relevant label and alpha = 1 it is AUTKC. Source: "Top-K Pairwise Ranking: Bridging the Gap
    Among Ranking-Based Measures for Multi-Label Classification", IJCV 133(1), 2025, pp. 211-253, arXiv 2407.06709;
    written anew, details of the paper are not verified.
    """
    return _defined(found, _summed(found, k, k + 1.0 - found.rank) / (_alpha(found, k, alpha) * k))


def tkpr_pointwise(scores: Array, labels: Array, k: int, alpha: Alpha = "ideal") -> Array:
    """(1 / (alpha K)) sum over relevant i of max(K + 1 - r_i, 0), r_i one more than the number of scores above.

    So of equal scores each has the best rank: without ties it is `tkpr`, with ties not less. For `scores` and
    `labels` as `ranks` takes them; compares all pairs, (N, L, L) at once.
    """
    import numpy as np

    check_arrays(scores, labels)
    check_k(k, labels.shape[1])
    rank = 1 + (scores[:, None, :] > scores[:, :, None]).sum(axis=2)
    total = (np.maximum(k + 1 - rank, 0) * labels).sum(axis=1)
    return _normalised(total, labels, k, alpha)


def tkpr_pairwise(scores: Array, labels: Array, k: int, alpha: Alpha = "ideal") -> Array:
    """(1 / (alpha K)) sum over relevant i and k <= K of 1[s_i >= s_[k]], s_[k] the k-th largest score.

    An equal score counts as reached: without ties it is `tkpr`, with ties not less. Arguments as
    `tkpr_pointwise`, (N, L, K) at once.
    """
    import numpy as np

    check_arrays(scores, labels)
    check_k(k, labels.shape[1])
    top = -np.sort(-scores, axis=1)[:, :k]
    reached = (scores[:, :, None] >= top[:, None, :]).sum(axis=2)
    return _normalised((reached * labels).sum(axis=1), labels, k, alpha)


def ranking_loss(found: Ranks) -> Array:
    """Share of the pairs of a relevant and an irrelevant label in the wrong order, ties one half.

    NaN for all where not all ranks are known. Source: Schapire and Singer, "BoosTexter", Machine Learning 39, 2000,
    who count a tie as a whole error, as scikit-learn does.
    """
    import numpy as np

    if found.wrong is None:
        return np.full(len(found), np.nan)
    pairs = found.relevant * (found.labels - found.relevant)
    with np.errstate(invalid="ignore"):
        loss: Array = found.wrong / pairs
    return loss


def coverage(found: Ranks) -> Array:
    """Rank of the last relevant label, 1..L: how far down the list one has to go. NaN where it is not known.

    Starts at 1 as in scikit-learn, which puts all of equal scores at the last of their ranks.
    """
    import numpy as np

    deepest = np.full(len(found), np.nan)
    # in ascending rank: the last one written stays
    last = np.append(found.row[1:] != found.row[:-1], True)[: len(found.row)]
    row = found.row[last]
    complete = found.place[last] == found.relevant[row]
    deepest[row[complete]] = found.rank[last][complete]
    return deepest


def one_error(found: Ranks) -> Array:
    """1 where the first label is not relevant, else 0."""
    return 1 - precision(found, 1)


def _summed(found: Ranks, k: int, values: Any) -> Array:
    """Sum of `values`, of each relevant label, over those within the first K, (N,)."""
    import numpy as np

    check_k(k, found.labels)
    if k > found.known:
        raise RecordError(
            f"a measure at K = {k} of rankings whose first {found.known} labels are known"
        )
    inside = found.rank <= k
    some = np.broadcast_to(values, inside.shape)[inside]
    return np.bincount(found.row[inside], some, minlength=len(found))


def _defined(found: Ranks, values: Array) -> Array:
    import numpy as np

    return np.where(found.relevant > 0, values, np.nan)


def _at_least_1(counts: Array) -> Array:
    import numpy as np

    made: Array = np.maximum(counts, 1)
    return made


def _alpha(found: Ranks, k: int, alpha: Alpha) -> Array:
    import numpy as np

    reachable = _at_least_1(np.minimum(found.relevant, k))
    if alpha == "1":
        return np.ones(len(found))
    if alpha == "n+":
        return _at_least_1(found.relevant)
    if alpha == "min":
        return reachable
    if alpha == "ideal":
        # the first ranks: K + (K - 1) + ..., of as many as there are
        best: Array = reachable * (2 * k + 1 - reachable) / (2 * k)
        return best
    raise UserError(f"TKPR has no alpha {alpha!r}; known: 1, n+, min, ideal")


def _normalised(total: Array, labels: Array, k: int, alpha: Alpha) -> Array:
    nothing = labels[:0, 0].astype(int)
    found = Ranks(labels.shape[1], labels.sum(axis=1), nothing, nothing, nothing, 0, None)
    return _defined(found, total / (_alpha(found, k, alpha) * k))


# -- their means


def weighted_means(values: Array, weights: Array) -> Array:
    """(M, R) means of `values` (M, N) over samples that have one (not NaN), under `weights` (R, N); NaN where none has.

    The sums do not hang on the number of threads: no BLAS.
    """
    import numpy as np

    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    # most measures are known of the same samples: their weights are summed once
    kind_of: dict[bytes, int] = {}
    kind = [kind_of.setdefault(one.tobytes(), len(kind_of)) for one in known]
    kinds = np.stack([known[kind.index(each)] for each in range(len(kind_of))])
    total = np.zeros((len(values), len(weights)))
    mass = np.zeros((len(kinds), len(weights)))
    for part in blocks_of(values.shape[1], len(values) + len(kinds)):
        heavy = weights[:, part].astype(np.float64)
        total += np.einsum("mn,rn->mr", np.ascontiguousarray(filled[:, part]), heavy)
        mass += np.einsum("mn,rn->mr", kinds[:, part].astype(np.float64), heavy)
    with np.errstate(invalid="ignore"):
        means: Array = total / mass[kind]
    return means


# -- checks


def check_k(k: int, labels: int, where: str = "") -> None:
    """Raises UserError for K outside 1..L."""
    if not 1 <= k <= labels:
        raise UserError(
            f"{where}K = {k} of the top-K measures is not in 1..{labels}, the labels that there are"
        )


def check_arrays(scores: Array, labels: Array) -> None:
    """Raises RecordError unless `scores` are floats (N, L) without NaN and +inf, `labels` bool (N, L), N and L >= 1."""
    import numpy as np

    if scores.ndim != 2 or not scores.size or scores.dtype.kind != "f":
        raise RecordError(
            f"scores are {scores.dtype} of shape {scores.shape}, expected floats of shape (N, L)"
        )
    if labels.shape != scores.shape or labels.dtype != bool:
        raise RecordError(
            f"labels are {labels.dtype} of shape {labels.shape}, expected bool of shape {scores.shape}"
        )
    if not scores.max() < np.inf:  # NaN too
        bad = np.flatnonzero(~(scores.max(axis=1) < np.inf))
        raise RecordError(
            f"scores of sample {bad[0]} ({len(bad)} of {len(scores)} samples) hold {scores[bad[0]].max()}"
        )


def blocks_of(rows: int, width: int, most: int = 0) -> Iterator[slice]:
    """Rows of `most` values together (0: as many as stay in a core's cache), one at least."""
    step = max(1, (most or _BLOCK) // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
