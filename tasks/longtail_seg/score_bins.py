"""Bins of scores in [0, 1] for a streaming AUC: dyadic intervals of a key.

The *key* of a score is the bits of the float32 score below 1/2, the mirrored bits of 1 - score (exact
there) from 1/2 on. It grows with the score and is logarithmic towards both 0 and 1, so confident scores
stay apart. Dyadic partitions always have a common coarsening.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# A cell is a quarter of an octave of the score: 2^21 of the 2^32 keys. One width 2^shift holds
# throughout a cell; a bin wider than a cell covers whole cells.
CELL_SHIFT = 21
CELLS = 1 << (32 - CELL_SHIFT)
_UPPER = CELLS // 2  # first cell of scores from 1/2 on
# Mass that the plan spreads over all likely scores, beside 1 where the first pixels lie.
_PRIOR_MASS = 0.05
_BELOW_HALF = 0.5 - 2.0**-25


class Partition:
    """Bins of one channel: bin 0 is the score 0, the others dyadic intervals of the key.

    shift: uint8 (2048,), log2 of the bin width in each cell.
    lookup: int32 (2048,), first bin << 5 | shift of each cell.
    starts: int64 (bins - 1,), first key of each further bin.
    exact: bool (bins,), the bin can hold one float32 value only, so its ties are ties.
    """

    def __init__(self, shift: np.ndarray) -> None:
        self.shift = shift
        width = shift.astype(np.int64)
        cell_start = np.arange(CELLS, dtype=np.int64) << CELL_SHIFT
        opens = (cell_start & ((np.int64(1) << width) - 1)) == 0
        bins = np.where(opens, np.int64(1) << np.maximum(CELL_SHIFT - width, 0), 0)
        ends = np.cumsum(bins)
        cell = np.repeat(np.arange(CELLS), bins)
        within = np.arange(ends[-1]) - np.repeat(ends - bins, bins)
        self.starts = cell_start[cell] + (within << width[cell])
        self.bins = len(self.starts) + 1
        # One table entry a cell, for a single gather: first bin << 5 | shift.
        first = np.where(opens, 1 + ends - bins, ends)
        self.lookup = (first << 5 | width).astype(np.int32)
        # From 1/2 on scores are multiples of 2^-24: of 1 - score in [2^e, 2^(e+1)) only the leading
        # e + 24 of 23 mantissa bits vary, and below 2^-24 only the score 1 is left.
        exponent = ((CELLS - 1 - np.arange(CELLS)) >> (23 - CELL_SHIFT)) - 127
        single = np.where(exponent < -24, 31, np.maximum(-1 - exponent, 0))
        single = np.where(np.arange(CELLS) < _UPPER, 0, single)
        self.exact = np.concatenate([[True], (width <= single)[cell]])

    def locate(self, keys: np.ndarray) -> np.ndarray:
        """Bin of each key (int64, unsigned order)."""
        return np.searchsorted(self.starts, keys, side="right")


def is_dyadic(shift: np.ndarray) -> bool:
    """Whether shifts (2048,) describe a partition: a wide bin's cells agree on it."""
    if shift.max(initial=0) > 31:
        return False
    for width in range(CELL_SHIFT + 1, 32):
        blocks = (shift >= width).reshape(-1, 1 << (width - CELL_SHIFT))
        if not (blocks.all(1) == blocks.any(1)).all():
            return False
    return True


def bin_count(shift: np.ndarray) -> int:
    """Bins of a partition without building it."""
    per_cell = np.exp2(CELL_SHIFT - shift.astype(np.float64))
    return 1 + round(float(per_cell.sum()))


def keys_of(scores: "torch.Tensor") -> "torch.Tensor":
    """Signed int32 keys; as unsigned numbers they grow with the float32 scores in [0, 1]."""
    import torch

    # Not torch.where: it costs several times these five passes. The sign of (largest float below
    # 1/2) - score is exact and set from 1/2 on.
    nearer = torch.sub(1.0, scores)
    torch.minimum(scores, nearer, out=nearer)
    upper = torch.sub(_BELOW_HALF, scores).view(torch.int32).bitwise_right_shift_(31)
    return upper.bitwise_xor_(nearer.view(torch.int32))


def plan(keys: np.ndarray, own: np.ndarray, other: np.ndarray, bins: int) -> np.ndarray:
    """Shifts (2048,) of at most `bins` bins that make sum_b own_b other_b small.

    Minimises cost + price * bins over partitions for a price found by bisection: inside a cell over
    its widths, above it by pruning the dyadic tree.

    Args:
        keys: int64 (n,), unsigned order.
        own, other: mass (n,) of a key among its channel's class and among the other classes.
    """
    order = np.argsort(keys)
    keys, masses = keys[order], np.stack([own[order], other[order]])
    cells = keys >> CELL_SHIFT
    cell_mass = np.stack([np.bincount(cells, mass, CELLS) for mass in masses])
    per_octave = 1 << (23 - CELL_SHIFT)
    likely = np.zeros(CELLS)
    likely[(127 - 33) * per_octave : (127 - 1) * per_octave] = 1
    likely[::-1][(127 - 25) * per_octave : (127 - 1) * per_octave] = 1
    prior = _PRIOR_MASS * likely / likely.sum()

    depths = max(1, min(CELL_SHIFT, (bins // 2).bit_length()))
    cost = np.empty((depths, CELLS))
    for depth in range(depths):
        runs = keys >> (CELL_SHIFT - depth)
        cost[depth] = prior * (cell_mass.sum(0) + prior) / 2**depth
        if len(runs):
            first = np.flatnonzero(np.r_[True, runs[1:] != runs[:-1]])
            product = np.add.reduceat(masses, first, axis=1).prod(0)
            cost[depth] += np.bincount(cells[first], product, CELLS)

    def partition(price: float) -> np.ndarray:
        """Shifts of the cheapest partition at this price of a bin."""
        priced = cost + price * 2.0 ** np.arange(depths)[:, None]
        depth = priced.argmin(0)
        best, mass = priced.min(0), cell_mass + prior
        merged = []
        while best.size > 2:
            mass = mass.reshape(2, -1, 2).sum(2)
            joined = mass.prod(0) + price
            split = best.reshape(-1, 2).sum(1)
            merged.append(joined <= split)
            best = np.minimum(joined, split)
        shift = CELL_SHIFT - depth
        for level, join in enumerate(merged, start=1):
            wide = np.repeat(join, 1 << level)
            shift = np.where(wide, CELL_SHIFT + level, shift)
        shifts: np.ndarray = shift.astype(np.uint8)
        return shifts

    low, high = 1e-12, 1.0
    chosen = partition(high)
    for _ in range(11):
        price = float(np.sqrt(low * high))
        shift = partition(price)
        if bin_count(shift) <= bins:
            high, chosen = price, shift
        else:
            low = price
    return chosen
