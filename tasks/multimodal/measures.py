"""Measures of how a classifier uses its modalities, from numpy arrays alone.

Linear probe: Alain and Bengio, "Understanding intermediate layers using linear classifier probes", ICLR workshop 2017,
here ridge regression in closed form: no optimiser, whose settings would be part of the number. Shapley value: Shapley,
"A value for n-person games", 1953, of the accuracy as a game of modalities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.multimodal.stored import varied
from tasks.vision.stored import blocks

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

PENALTY = 1.0
TIE = 1e-7
"""Scores of a probe that differ by less are equal: rounding, another one on another machine, decides no sample."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier of features (D,): scores = (x - mean) * scale @ weights + prior.

    Attributes:
        mean, scale: (D,) float64, of the training samples; scale is 1 / standard deviation, 0 for a constant feature.
        weights: (D, C) float64.
        prior: (C,) float64, share of each class among the training samples.
    """

    mean: Array
    scale: Array
    weights: Array
    prior: Array

    def scores(self, features: Array) -> Array:
        """(N, C) float64 of features (N, D)."""
        import numpy as np

        made = np.empty((len(features), len(self.prior)))
        for rows in blocks(*features.shape):
            made[rows] = self._standard(features[rows]) @ self.weights + self.prior
        return made

    def predict(self, features: Array) -> Array:
        """Class with the largest score, (N,) int64; of equal ones (`TIE`) the lower class."""
        scores = self.scores(features)
        best: Array = (scores >= scores.max(axis=1, keepdims=True) - TIE).argmax(axis=1)
        return best

    def _standard(self, features: Array) -> Array:
        import numpy as np

        made: Array = (features.astype(np.float64) - self.mean) * self.scale
        return made


def fit_probe(features: Array, label: Array, classes: int) -> Probe:
    """Ridge regression of one-hot targets on standardised features, in float64 and in closed form.

    W = (X^T X + `PENALTY` I)^-1 X^T (Y - prior) with X standardised by the mean and the standard deviation (of N, not of
    N - 1) of these samples. The intercept is not penalised: X has mean 0, so it is the mean of Y, the classes' shares. A
    constant feature (`stored.varied`) has weight 0; a class without samples has weights and prior 0. For N < D the equal
    form W = X^T (X X^T + `PENALTY` I)^-1 (Y - prior) is solved.

    Args:
        features: (N, D) floating, finite, N >= 1.
        label: (N,) integers 0..C-1.
        classes: C.
    """
    import numpy as np

    samples, width = features.shape
    parts = list(blocks(samples, width))
    label = label.astype(np.int64)
    mean = sum(features[rows].sum(axis=0, dtype=np.float64) for rows in parts) / samples
    square = sum(np.square(features[rows].astype(np.float64) - mean).sum(axis=0) for rows in parts)
    low, high = (of(axis=0).astype(np.float64) for of in (features.min, features.max))
    kept = varied(low, high)
    scale = np.zeros(width)
    scale[kept] = 1 / np.sqrt(square[kept] / samples)
    prior = np.bincount(label, minlength=classes) / samples
    probe = Probe(mean, scale, np.zeros((width, classes)), prior)
    targets = np.eye(classes)[label] - prior
    if samples < width:
        standard = probe._standard(features)
        gram = standard @ standard.T
        gram[np.diag_indices(samples)] += PENALTY
        weights = standard.T @ np.linalg.solve(gram, targets)
    else:
        gram, moment = PENALTY * np.eye(width), np.zeros((width, classes))
        for rows in parts:
            standard = probe._standard(features[rows])
            gram += standard.T @ standard
            moment += standard.T @ targets[rows]
        weights = np.linalg.solve(gram, moment)
    return Probe(mean, scale, weights, prior)


def shapley(values: Array) -> Array:
    """Shapley values of a game of M players, (M, ...), from the worth of every subset, (2^M, ...): exact.

    Subset number s holds player k where bit k of s is set. phi_k = sum over subsets S without k of
    |S|! (M - |S| - 1)! / M! (v(S + k) - v(S)); they add up to v(all) - v(none). Raises ValueError for another number of
    subsets.
    """
    import numpy as np

    players = len(values).bit_length() - 1
    if len(values) != 2**players or players < 1:
        raise ValueError(f"worth of {len(values)} subsets, expected 2^M")
    share = [
        math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
        for size in range(players)
    ]
    phi = np.zeros((players, *values.shape[1:]))
    for k in range(players):
        for subset in range(2**players):
            if not subset >> k & 1:
                gain = values[subset | 1 << k] - values[subset]
                phi[k] += share[subset.bit_count()] * gain
    return phi


def class_f1(true: Array, called: Array, hit: Array) -> Array:
    """F1 of each class, 2 hit / (true + called), of counts (..., C) of samples of the class, of those called so, and of
    both; NaN for a class without samples, as its recall is."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        f1: Array = np.where(true > 0, 2 * hit / (true + called), np.nan)
    return f1


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far the modalities' own predictions agree, sample by sample.

    Attributes:
        pairs: (N,) int64, pairs of modalities that predict the same class, of M (M - 1) / 2.
        right: (N,) int64, modalities whose prediction is right, 0..M.
    """

    pairs: Array
    right: Array


def agreement(own: Array, label: Array) -> Agreement:
    """Of the modalities' own predicted classes (N, M), M >= 2, and true classes (N,)."""
    import numpy as np

    modalities = own.shape[1]
    pairs = np.zeros(len(own), np.int64)
    for k in range(modalities):
        pairs += (own[:, k + 1 :] == own[:, k : k + 1]).sum(axis=1)
    return Agreement(pairs, (own == label[:, None]).sum(axis=1))
