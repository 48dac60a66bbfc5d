"""Trade-offs between metrics: which rows no other row beats, and which metric keys trade off.

Pure functions over plain numbers and keys.
"""

import math
from collections.abc import Iterable, Sequence

from suite.define.metrics import canonical_key, split_key

GROUP = "group="


def pareto(
    points: Sequence[Sequence[float | None]], higher: Sequence[bool]
) -> list[tuple[int, ...] | None]:
    """What stands before each point on its way to the Pareto front.

    A point dominates another where it is no worse in every coordinate and better in one; so equal points do
    not dominate each other. Of each point: `()` where none dominates it, which is then on the front; the
    positions of the front's points that dominate it, in the order given; None where a coordinate is None or
    NaN, and it takes no part.

    Args:
        points: coordinates, one a metric.
        higher: whether higher is better, one a metric.

    Raises ValueError for a point with another number of coordinates.
    """
    import numpy as np

    if any(len(point) != len(higher) for point in points):
        raise ValueError(f"every point needs {len(higher)} coordinates")
    table = np.array(
        [[math.nan if value is None else value for value in point] for point in points], dtype=float
    ).reshape(len(points), len(higher))
    table = np.where(np.asarray(higher, dtype=bool), table, -table)
    found: list[tuple[int, ...] | None] = [None] * len(points)
    places = np.flatnonzero(~np.isnan(table).any(axis=1))
    # the best first coordinate first, the second among equals, and so on: a point is dominated by earlier
    # ones alone, and if by any of them, then by one of the front
    order = places[np.lexsort(-table[places].T[::-1])] if len(higher) else places
    front = np.empty((len(order), len(higher)))
    members: list[int] = []
    for place in order:
        point, ahead = table[place], front[: len(members)]
        above = (ahead >= point).all(axis=1) & (ahead > point).any(axis=1)
        by = sorted(members[number] for number in np.flatnonzero(above))
        found[place] = tuple(by)
        if not by:
            front[len(members)] = point
            members.append(int(place))
    return found


def group_key(key: str, group: str) -> str:
    """The key of a metric within a group of classes: `top1` and `tail` make `top1[group=tail]`."""
    metric, subset = split_key(key)
    parts = ",".join(filter(None, (subset, f"{GROUP}{group}")))
    return canonical_key(f"{metric}[{parts}]")


def grouped(keys: Iterable[str]) -> dict[str, list[str]]:
    """Metric -> its groups of classes, for metrics that several groups have; in the order of the keys.

    The metric is the key without its group: of `top1[group=tail,split=train]` it is `top1[split=train]`.
    """
    found: dict[str, list[str]] = {}
    for key in keys:
        metric, subset = split_key(key)
        parts = subset.split(",")
        groups = [part.removeprefix(GROUP) for part in parts if part.startswith(GROUP)]
        if len(groups) != 1:
            continue
        rest = ",".join(part for part in parts if not part.startswith(GROUP))
        of = found.setdefault(f"{metric}[{rest}]" if rest else metric, [])
        if groups[0] not in of:
            of.append(groups[0])
    return {metric: groups for metric, groups in found.items() if len(groups) > 1}
