"""How a score of labels goes with their training frequency: means over labels of about equal frequency. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Labels whose training counts lie within a factor of two.

    Attributes:
        count: geometric mean of their counts; 0.5 where the count is 0, which has no place on a logarithmic axis.
        labels: how many have a score.
        mean: of their scores.
    """

    count: float
    labels: int
    mean: float


def steps(counts: Sequence[int], scores: Sequence[float | None]) -> list[Step]:
    """Means over the labels with 1, 2..3, 4..7, ... training positives, and before them over those with none.

    Labels without a score are left out, and so is a step of which none is left. Raises ValueError for other lengths.
    """
    found: dict[int, list[tuple[float, float]]] = {}
    for count, score in zip(counts, scores, strict=True):
        if score is not None:
            # bit lengths are exact: 0 -> 0, 1 -> 1, 2..3 -> 2, 4..7 -> 3
            found.setdefault(count.bit_length(), []).append((max(count, 0.5), score))
    return [
        Step(
            count=math.exp(math.fsum(math.log(count) for count, _ in members) / len(members)),
            labels=len(members),
            mean=math.fsum(score for _, score in members) / len(members),
        )
        for _, members in sorted(found.items())
    ]
