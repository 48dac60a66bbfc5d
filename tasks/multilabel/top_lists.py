"""What a model puts first: the K highest labels of one sample, and the relevant ones that it missed.

Equal scores are in label order, as in the measures: of two labels with the same score the one with the lower number
stands first. Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Order = Literal["test set", "differ most", "A ahead", "B ahead"]
ORDERS: tuple[Order, ...] = get_args(Order)
"""`differ most`: by the size of the difference of two models' scores; `A ahead`, `B ahead`: by its sign and size."""


@dataclass(frozen=True)
class Entry:
    """A label of a list: its number, rank (1 is the highest), score, and whether the sample shows it.

    `rank` and `score` are None for a label whose score was not kept: it is below all that were.
    """

    label: int
    rank: int | None
    score: float | None
    relevant: bool


@dataclass(frozen=True)
class TopList:
    """`first`: the K highest labels by rank; `missed`: relevant labels that are not among them, by rank."""

    first: tuple[Entry, ...]
    missed: tuple[Entry, ...]


def ranks(scores: Array) -> Array:
    """(L,) int64 rank of each label by falling score, 1 first, equal scores in label order. `scores` (L,) without NaN."""
    import numpy as np

    made = np.empty(len(scores), np.int64)
    # descending and stable: the negative keeps the label order of equal scores
    made[np.argsort(-scores.astype(np.float64), kind="stable")] = np.arange(1, len(scores) + 1)
    return made


def top_list(scores: Array, relevant: Array, k: int) -> TopList:
    """The list of one sample: `scores` (L,), -inf for those that were not kept; `relevant` (L,) bool; k >= 1."""
    rank = ranks(scores)
    entries = [
        _entry(label, int(rank[label]), float(scores[label]), bool(relevant[label]))
        for label in sorted(range(len(scores)), key=lambda label: int(rank[label]))
        if rank[label] <= k or relevant[label]
    ]
    return TopList(
        first=tuple(one for one in entries if one.rank is not None and one.rank <= k),
        missed=tuple(one for one in entries if one.relevant and (one.rank is None or one.rank > k)),
    )


def _entry(label: int, rank: int, score: float, relevant: bool) -> Entry:
    if score == float("-inf"):
        return Entry(label, None, None, relevant)
    return Entry(label, rank, score, relevant)


def ordered(a: Array, b: Array, order: Order) -> Array:
    """(N,) int64: the samples in an order, by scores `a` and `b` (N,) of two models.

    Equal differences stay in the order of the set; samples without a score (NaN: without a relevant label) come last.
    """
    import numpy as np

    gap = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    if order == "test set":
        return np.arange(len(gap))
    size = {"differ most": np.abs(gap), "A ahead": gap, "B ahead": -gap}[order]
    # what differs by rounding does not differ
    size = np.round(np.where(np.isnan(size), -np.inf, size), 9)
    return np.argsort(-size, kind="stable")
