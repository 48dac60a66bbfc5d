"""Scores by class: against training counts, and as differences of two rows.

The first half reads the store and records, the second is of pure functions. A class is its place in the
protocol's data set, 0..C-1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from suite.define.metrics import split_key
from suite.define.protocol import DataSet, Protocol
from suite.define.task import Ability, Task
from suite.records.attempt import Attempt
from suite.records.files import Record
from suite.stats.tests import Interval, mean_interval
from suite.store.connection import statements
from suite.store.rows import Side, read_rows

if TYPE_CHECKING:
    import duckdb

Groups = Callable[[Mapping[str, Any], Sequence[int]], Mapping[str, Sequence[int]]]
"""(settings, training counts) -> group name -> class ids, as `Task.evaluate` groups them. Raises RecordError for
counts of other classes."""
GROUPS = Ability[Groups]("groups")
"""Without it the groups are the data set's own."""
COUNTED = Ability[str]("counted")
"""What training counts per class and confusions count, such as `pixels`; without it `images`."""

MOST_RECORDS = 20
"""Records that are read for the training counts."""
_MOST_COUNT = 1 << 53


# -- from the store


@dataclass(frozen=True)
class ClassScores:
    """A row of the board and its scores by class.

    Attributes:
        side: the row and its counted runs.
        classes: an interval a class, in the data set's order; None where a run has no value.
    """

    side: Side
    classes: tuple[Interval | None, ...]


def tasks_with_classes(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the tasks that have values by class."""
    query = "SELECT DISTINCT task FROM summary WHERE class IS NOT NULL ORDER BY task"
    return [name for (name,) in connection.execute(query).fetchall()]


def class_keys(connection: duckdb.DuckDBPyConnection, task: Task, protocol: Protocol) -> list[str]:
    """Keys of the metrics that have values by class, those of a whole test set first."""
    found = connection.execute(statements("class_keys"), _place(task, protocol)).fetchall()
    return sorted(
        (key for (key,) in found), key=lambda key: ("[" in key, _declared(task, key), key)
    )


def class_scores(
    connection: duckdb.DuckDBPyConnection, task: Task, protocol: Protocol, key: str
) -> list[ClassScores]:
    """The rows with today's code that have the metric by class, under today's evaluation."""
    names = protocol.dataset.classes
    sides = read_rows(connection, task, key, only=protocol)
    found: dict[int, dict[str, tuple[Any, ...]]] = {}
    result = connection.execute(
        statements("class_scores"),
        {
            **_place(task, protocol),
            "key": key,
            "rows": [side.row_id for side in sides],
            "classes": list(names),
        },
    )
    for row_id, name, *cell in result.fetchall():
        found.setdefault(row_id, {})[name] = tuple(cell)
    return [
        ClassScores(side, tuple(_interval(found[side.row_id].get(c), side) for c in names))
        for side in sides
        if side.row_id in found
    ]


def class_values(
    connection: duckdb.DuckDBPyConnection,
    task: Task,
    protocol: Protocol,
    key: str,
    sides: Sequence[Side],
) -> list[dict[int, list[float | None]]]:
    """For each row: seed -> values in the data set's order of classes; empty where two runs share a seed."""
    place = {name: c for c, name in enumerate(protocol.dataset.classes)}
    metric, subset = split_key(key)
    result = connection.execute(
        statements("class_values"),
        {
            "task": task.name,
            "evaluation": task.evaluation_hash(protocol),
            "rows": [side.row_id for side in sides],
            "metric": metric,
            "subset": subset,
        },
    )
    found: dict[tuple[int, str], list[float | None]] = {}
    for row_id, run_id, name, value in result.fetchall():
        if name in place:
            values = found.setdefault((row_id, run_id), [None] * len(place))
            values[place[name]] = value
    return [
        {
            seed: found[side.row_id, run.run_id]
            for seed, run in by_seed(side).items()
            if (side.row_id, run.run_id) in found
        }
        for side in sides
    ]


def by_seed(side: Side) -> dict[int, Any]:
    """Seed -> run; empty where two runs share a seed: then there is no telling which belongs to which."""
    runs = {run.seed: run for run in side.runs}
    return runs if len(runs) == len(side.runs) else {}


def _place(task: Task, protocol: Protocol) -> dict[str, Any]:
    return {
        "task": task.name,
        "protocol": protocol.hash,
        "evaluation": task.evaluation_hash(protocol),
    }


def _declared(task: Task, key: str) -> int:
    names = [metric.name for metric in task.metrics]
    metric = split_key(key)[0]
    return names.index(metric) if metric in names else len(names)


def _interval(cell: tuple[Any, ...] | None, side: Side) -> Interval | None:
    if cell is None:
        return None
    n, mean, low, high = cell
    # a mean over some of the replicates is not the row's mean
    return Interval(mean, low, high, n) if mean is not None and n == len(side.runs) else None


# -- from records


def class_counts(
    root: Path, dataset: DataSet, runs: Iterable[tuple[str, int]]
) -> tuple[int, ...] | None:
    """Training count of each class of the data set, as the record of one of the runs (id, attempt) says it.

    Our own records come before those of others; records of other classes say nothing. None where none of
    the first `MOST_RECORDS` does.
    """
    theirs = None
    for run_id, number in islice(runs, MOST_RECORDS):
        try:
            record = Attempt(root, run_id, number).record()
        except (OSError, RecordError):
            continue
        if found := counts_of(record, dataset):
            if not record.external:
                return found
            theirs = theirs or found
    return theirs


def counts_of(record: Record, dataset: DataSet) -> tuple[int, ...] | None:
    """The record's training counts, if they are those of the data set's classes."""
    counts = tuple(record.class_counts)
    fits = len(counts) == len(dataset.classes) and record.classes in ([], list(dataset.classes))
    return counts if fits and all(0 <= n < _MOST_COUNT for n in counts) else None


# -- pure


def groups_of(task: Task, protocol: Protocol, counts: Sequence[int] | None) -> tuple[str, ...]:
    """The group of each class as the task's scores have it, "" where it is in none or where that hangs on
    unknown counts."""
    members: Mapping[str, Sequence[int]] = protocol.dataset.groups
    groups = GROUPS.of(task)
    if groups is not None and counts is not None:
        members = groups(task.evaluation(protocol), counts)
    of_class = [""] * len(protocol.dataset.classes)
    for name, found in members.items():
        for c in found:
            of_class[c] = name
    return tuple(of_class)


def counted(task: Task) -> str:
    """What the task's training counts per class and confusions count: `images` or `pixels`."""
    return COUNTED.of(task) or "images"


def by_frequency(classes: int, counts: Sequence[int] | None) -> list[int]:
    """The classes, the most frequent first; in their own order where counts are not known."""
    order = list(range(classes))
    return sorted(order, key=lambda c: -counts[c]) if counts else order


def group_spans(
    groups: Sequence[str], counts: Sequence[int]
) -> list[tuple[str, float, float]] | None:
    """(group, lowest, highest training count) from the most frequent group on, borders halfway on a
    logarithmic axis; None where groups overlap: they do not follow these counts."""
    ends: dict[str, list[int]] = {}
    for name, n in zip(groups, counts, strict=True):
        if name:
            ends.setdefault(name, []).append(max(1, n))
    spans = sorted(((min(found), max(found), name) for name, found in ends.items()), reverse=True)
    if any(low <= high for (low, _, _), (_, high, _) in pairwise(spans)):
        return None
    borders = [(upper[0] * lower[1]) ** 0.5 for upper, lower in pairwise(spans)]
    made = []
    for place, (low, high, name) in enumerate(spans):
        top = borders[place - 1] if place else high * 1.15
        bottom = borders[place] if place < len(borders) else low / 1.15
        made.append((name, bottom, top))
    return made


def differences(
    a: Mapping[int, Sequence[float | None]], b: Mapping[int, Sequence[float | None]]
) -> tuple[list[int], list[Interval | None]]:
    """Common seeds, and B minus A per class: mean and 95 % t interval over them, paired by seed.

    `a` and `b`: seed -> a value a class. None for a class that some common seed does not define.
    """
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return [], []
    gaps = [[_minus(y, x) for x, y in zip(a[s], b[s], strict=True)] for s in seeds]
    return seeds, [_mean(column) for column in zip(*gaps, strict=True)]


@dataclass(frozen=True)
class GroupChange:
    """What a group of classes gains or pays: sums of the classes' differences B - A.

    Attributes:
        total: mean and interval over common seeds of the sum over `classes` classes.
        gained, lost: classes whose own interval lies above or below 0.
    """

    group: str
    classes: int
    total: Interval
    gained: int
    lost: int


def group_changes(
    a: Mapping[int, Sequence[float | None]],
    b: Mapping[int, Sequence[float | None]],
    groups: Sequence[str],
) -> list[GroupChange]:
    """The change of every group, and last of all classes (group ""); classes without a value are left out."""
    seeds, single = differences(a, b)
    if not seeds:
        return []
    made = []
    for name in [*dict.fromkeys(filter(None, groups)), ""]:
        members = [
            c
            for c, found in enumerate(single)
            if found is not None and (not name or groups[c] == name)
        ]
        if not members:
            continue
        totals = [sum(_minus(b[s][c], a[s][c]) or 0.0 for c in members) for s in seeds]
        own = [found for c in members if (found := single[c]) is not None]
        made.append(
            GroupChange(
                group=name,
                classes=len(members),
                total=mean_interval(totals),
                gained=sum(side_of(one) > 0 for one in own),
                lost=sum(side_of(one) < 0 for one in own),
            )
        )
    return made


def side_of(found: Interval) -> int:
    """1 or -1 where the whole interval lies above or below 0; 0 where it does not, or there is none."""
    if found.low is None or found.high is None:
        return 0
    return (found.low > 0) - (found.high < 0)


def _minus(y: float | None, x: float | None) -> float | None:
    return None if x is None or y is None else y - x


def _mean(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return mean_interval(known) if len(known) == len(values) else None
