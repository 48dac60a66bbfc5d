"""Which of a board's metric keys are measures that methods are compared by, in which order, and how they are spelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from suite.define.metrics import split_key
from suite.define.task import Task, direction

AP = "ap"
TURNED = " ↓"
"""Beside a measure of which less is better."""
COUNTS = ("instances_without_label", "labels_without_positive")
"""What is counted of the test set and says nothing of a method."""
_ELSEWHERE = ("split=", "scores=", "alpha=")
"""In keys of other sets, of un-adapted scores, and of TKPR as it is normalised otherwise."""
_GROUPS = ("group=head", "group=medium", "group=tail")


def comparable(task: Task, keys: Iterable[str]) -> list[str]:
    """Keys of the whole test set that tell methods apart, in the order of the task's metrics."""
    order = [metric.name for metric in task.metrics]
    known = {
        key
        for key in keys
        if direction(task, key) is not None
        and split_key(key)[0] not in COUNTS
        and not any(part in key for part in _ELSEWHERE)
    }
    return sorted(known, key=lambda key: (order.index(split_key(key)[0]), _natural(key)))


def _natural(key: str) -> tuple[Any, ...]:
    """The protocol's own K, then others by size; groups from the most frequent on."""
    where = split_key(key)[1]
    cut = where.removeprefix("k=")
    number = int(cut) if cut.isdecimal() else 0
    return number, _GROUPS.index(where) if where in _GROUPS else -1, where


def usual(keys: Sequence[str]) -> list[str]:
    """Those that papers print: at the protocol's own K, of whole rankings, and by label."""
    return [
        key for key in keys if split_key(key)[1] in ("", "k=K") or key.startswith(f"{AP}[group=")
    ]


def spelled(task: Task, key: str) -> str:
    """The key, marked where less is better."""
    return key + TURNED * (direction(task, key) is False)
