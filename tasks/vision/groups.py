"""Long-tailed profiles: how many images of each class train, and which ones; and the classes' groups, by
thresholds of their counts, by the order of their counts, or as listed.

Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019, made
the profiles; counts and conventions are those of its released code and of what followed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from suite.base.canonical import short_hash
from suite.base.errors import DataError, RecordError, UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from suite.define.protocol import DataSet

    Array = np.ndarray[Any, np.dtype[Any]]

PROFILES = ("exp", "step")
BALANCED = "balanced"
"""The profile of no imbalance: as many images of every class."""
CONVENTIONS = ("first", "shuffled")

# (head above, tail below), in training images, by data set and imbalance ratio
_THRESHOLDS = {
    "cifar100": (100, 20),
    "cifar10": (1000, 200),
    # no published rule: CIFAR-10's, in proportion to the largest class
    "fashion-mnist": (1200, 240),
}
# at ratio 10 the usual rule leaves no tail; these are of Focal-SAM's code
_THRESHOLDS_10 = {"cifar100": (265, 99), "cifar10": (2319, 835), "fashion-mnist": (2782, 1002)}


def class_counts(profile: str, n_max: int, classes: int, ratio: float) -> tuple[int, ...]:
    """Training images of each class, in label order.

    exp: int(n_max ratio^(-c / (C - 1))); step: the first C/2 classes n_max, the others int(n_max /
    ratio); balanced: n_max each, at ratio 1. Truncated, not rounded. Raises UserError for a ratio below 1, another
    profile, a balanced one of another ratio, or a count that becomes 0.
    """
    if not ratio >= 1:
        raise UserError(
            f"the imbalance ratio is {ratio:g}; it is n_max / n_min, at least 1"
            + (f" (write {1 / ratio:g} for 1:{1 / ratio:g})" if 0 < ratio < 1 else "")
        )
    if profile not in (*PROFILES, BALANCED):
        known = (*PROFILES, BALANCED)
        raise UserError(f"unknown profile {profile!r}{did_you_mean(profile, known)}")
    if profile == BALANCED:
        if ratio != 1:
            raise UserError(
                f"a balanced profile of imbalance ratio {ratio:g}: its ratio is 1; {PROFILES[0]} and {PROFILES[1]} "
                "have others"
            )
        if n_max < 1:
            raise UserError(f"a balanced profile of {n_max} images a class; expected 1 or more")
        return (n_max,) * classes
    # the released code's expressions: in floating point others truncate to other counts
    factor = 1.0 / ratio
    if profile == "exp":
        steps = max(classes - 1, 1)
        counts = [int(n_max * factor ** (c / steps)) for c in range(classes)]
    else:
        half = classes // 2
        counts = [n_max] * half + [int(n_max * factor)] * (classes - half)
    if min(counts) < 1:
        raise UserError(
            f"an imbalance ratio of {ratio:g} leaves no image of the rarest class, as the largest has "
            f"{n_max}; take a smaller ratio"
        )
    return tuple(counts)


def order_in_class(sizes: Sequence[int], counts: Sequence[int], convention: str) -> list[Array]:
    """For each class which of its images train: positions among its `sizes[c]` images in file order.

    `first`: the first counts[c] (SSE-SAM). `shuffled`: each class's positions are shuffled in turn by
    numpy's legacy generator with seed 0, then the first counts[c] (LDAM, SADE, the unified study).
    """
    import numpy as np

    if convention not in CONVENTIONS:
        raise UserError(f"unknown convention {convention!r}{did_you_mean(convention, CONVENTIONS)}")
    state = np.random.RandomState(0)
    chosen = []
    for size, count in zip(sizes, counts, strict=True):
        order = np.arange(size)
        if convention == "shuffled":
            state.shuffle(order)
        chosen.append(order[:count])
    return chosen


def split_digest(name: str, n_max: int, counts: Sequence[int], convention: str) -> str:
    """12 hex digits over which of the `n_max` images of each class train, by their place in the class, and
    that all test images test. The legacy generator's stream never changes."""
    order = order_in_class([n_max] * len(counts), counts, convention)
    return short_hash({"data": name, "train": [o.tolist() for o in order], "test": "all"})


def select(labels: Array, counts: Sequence[int], convention: str) -> Array:
    """Indices (int64) of the training images, class after class, from `labels` (N,).

    Raises DataError where a class has fewer images than asked for.
    """
    import numpy as np

    members = [np.flatnonzero(labels == c) for c in range(len(counts))]
    short = [c for c, count in enumerate(counts) if len(members[c]) < count]
    if short:
        c = short[0]
        more = f" (and {len(short) - 1} more classes)" if len(short) > 1 else ""
        raise DataError(
            f"class {c} has {len(members[c])} training images, the profile asks for {counts[c]}{more}"
        )
    chosen = order_in_class([len(m) for m in members], counts, convention)
    return np.concatenate([m[o] for m, o in zip(members, chosen, strict=True)]).astype(np.int64)


def largest(n_max: int | None, own: int, name: str) -> int:
    """Training images of the largest class: `n_max`, or of None the data set's `own`.

    Raises UserError for less than 1 and for more than there are.
    """
    if n_max is None:
        return own
    if not 1 <= n_max <= own:
        raise UserError(
            f"{name}: {n_max} training images of a class are asked for, expected 1 to {own}"
        )
    return n_max


# -- groups


def thresholds(name: str, ratio: float) -> tuple[int, int]:
    """(head above, tail below) in training images, of a data set at an imbalance ratio.

    Raises UserError for a data set without thresholds.
    """
    if name not in _THRESHOLDS:
        raise UserError(
            f"no group thresholds for data set {name!r}{did_you_mean(name, _THRESHOLDS)}"
        )
    return (_THRESHOLDS_10 if ratio == 10 else _THRESHOLDS)[name]


def groups(counts: Sequence[int], head_over: int, tail_under: int) -> dict[str, tuple[int, ...]]:
    """Class indices of head, medium and tail. Strict at both ends: a class at a threshold is medium."""
    head = tuple(c for c, n in enumerate(counts) if n > head_over)
    tail = tuple(c for c, n in enumerate(counts) if n < tail_under)
    rest = set(head) | set(tail)
    medium = tuple(c for c in range(len(counts)) if c not in rest)
    return {"head": head, "medium": medium, "tail": tail}


def group_rule(head_over: int, tail_under: int, what: str = "images") -> str:
    """The rule in one line; `what` is counted."""
    return (
        f"training {what}: head > {head_over}, medium {tail_under}-{head_over}, tail < {tail_under}"
    )


def split_rest(by_counts: Iterable[int], head: int) -> dict[str, tuple[int, ...]]:
    """`head` and `medium` from the classes outside the tail, the one with the highest count first."""
    ordered = list(by_counts)
    return {"head": tuple(sorted(ordered[:head])), "medium": tuple(sorted(ordered[head:]))}


def groups_beside_tail(
    classes: int, tail: Iterable[int], head: int, counts: Iterable[int]
) -> dict[str, tuple[int, ...]]:
    """Head, medium and tail where the tail is given, and the head are the `head` others with most counts.

    Ties go to the class that comes first. Raises ValueError for counts of another number of classes.
    """
    found, tail = list(counts), tuple(tail)
    if len(found) != classes:
        raise ValueError(f"pixel counts of {len(found)} classes, expected {classes}")
    rest = [c for c in range(classes) if c not in set(tail)]
    return split_rest(sorted(rest, key=lambda c: (-found[c], c)), head) | {"tail": tail}


def settings(data: DataSet) -> dict[str, Any]:
    """Classes and groups as a task's settings have them, see `resolve_groups`.

    A data set whose groups are known only from its training counts has no `groups` but
    `group_thresholds`, (head_over, tail_under) in images. Raises UserError if it has neither.
    """
    made: dict[str, Any] = {
        "classes": list(data.classes),
        "groups": {name: list(members) for name, members in data.groups.items()},
        "group_rule": data.group_rule,
    }
    if not made["groups"]:
        if not data.group_thresholds:
            raise UserError(
                f"data set {data.name!r} has neither groups nor group_thresholds: give it one of them"
            )
        made["group_thresholds"] = list(data.group_thresholds)
    return made


def resolve_groups(
    settings: Mapping[str, Any], class_counts: Sequence[int]
) -> dict[str, list[int]]:
    """Group name -> class ids.

    The settings' own `groups`; with `head`, the tail of these and as many head classes, by training
    counts; without any, head, medium and tail by `group_thresholds`. Raises RecordError if the counts are
    needed and are not those of the settings' classes.
    """
    classes = len(settings["classes"])
    found: Mapping[str, Sequence[int]] = settings["groups"]
    if "head" in settings:
        try:
            found = groups_beside_tail(classes, found["tail"], settings["head"], class_counts)
        except ValueError as error:
            raise RecordError(
                f"the record's training counts do not give the groups: {error}"
            ) from None
    elif not found and "group_thresholds" in settings:
        if len(class_counts) != classes:
            raise RecordError(
                f"the record holds training counts of {len(class_counts)} classes, the groups need "
                f"those of {classes}"
            )
        found = groups(class_counts, *settings["group_thresholds"])
    return {name: list(members) for name, members in found.items()}
