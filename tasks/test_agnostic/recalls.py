"""Recalls of the runs under one protocol, from the store: what `tasks.test_agnostic.expected` computes with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from suite.base.command import Command
from suite.base.errors import UserError
from suite.base.text import clipped, plain
from suite.boards.classes import class_counts
from suite.define.flags import ON_TEST_SET
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.render.grid import row_names
from suite.store.connection import no_collection, statements
from tasks.test_agnostic.axis import class_order
from tasks.test_agnostic.expected import Recalls, Row

if TYPE_CHECKING:
    import duckdb

Array = np.ndarray[Any, np.dtype[Any]]

METRIC, UNADAPTED = "recall", "scores=unadapted"


class _Line(NamedTuple):
    """A counted run, see `recalls.sql`."""

    row_id: int
    method: str
    params: str
    inputs: str
    digest: str
    flags: list[str] | None
    run: str
    attempt: int
    seed: int
    classes: list[str] | None
    values: list[float | None] | None


class _About(NamedTuple):
    """What names a row."""

    method: str
    params: dict[str, Any]
    inputs: dict[str, str | None]
    digest: str


def has_recalls(task: Task) -> bool:
    """Whether the task scores recall; by class, only its runs tell."""
    return any(metric.name == METRIC for metric in task.metrics)


def read(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    task: Task,
    protocol: Protocol,
    *,
    adapted: bool = True,
) -> Recalls | None:
    """Recalls of the counted runs with today's code and evaluation; None where there are none.

    Args:
        adapted: whether methods whose scores depend on the test set are scored by their own inference, on the
            uniform set; otherwise by the scores that they store, which depend on no test set.

    Classes are those of the data set; a run that was scored on others has no recall. Raises UserError where
    no record has the training counts.
    """
    with no_collection():
        found = _lines(connection, task, protocol, "")
        known = [line for line in found if line.classes]
        if not known:
            return None
        stored: dict[tuple[str, int], _Line] = {}
        if not adapted and any(_depends(line) for line in found):
            stored = {
                (line.run, line.attempt): line
                for line in _lines(connection, task, protocol, UNADAPTED)
                if line.classes and _depends(line)
            }
    classes = protocol.dataset.classes
    counts = class_counts(root, protocol.dataset, ((line.run, line.attempt) for line in known))
    if counts is None:
        raise UserError(
            f"no record of these runs holds the training counts of the {len(classes)} classes of "
            f"{protocol.dataset.name}; look at one with `{Command('show', known[0].run)}`"
        )
    values = _values([stored.get((line.run, line.attempt), line) for line in found], classes)
    present = np.asarray(np.isfinite(values).any(axis=0))
    return Recalls(classes, counts, class_order(counts), _rows(found, stored), values, present)


def _lines(
    connection: duckdb.DuckDBPyConnection, task: Task, protocol: Protocol, subset: str
) -> list[_Line]:
    asked = {
        "task": task.name,
        "hash": protocol.hash,
        "evaluation": task.evaluation_hash(protocol),
        "metric": METRIC,
        "subset": subset,
    }
    return [_Line(*line) for line in connection.execute(statements("recalls"), asked).fetchall()]


def _depends(line: _Line) -> bool:
    return any(flag in ON_TEST_SET for flag in line.flags or ())


def told_apart(names: Sequence[str]) -> list[str]:
    """The names, numbered where several are equal."""
    total, seen, taken = Counter(names), Counter[str](), set(names)
    made = []
    for name in names:
        text = name
        while total[name] > 1 and text in taken:
            seen[name] += 1
            text = f"{name} #{seen[name]}"
        taken.add(text)
        made.append(text)
    return made


def _values(lines: Sequence[_Line], classes: Sequence[str]) -> Array:
    """(runs, C); NaN for a run that was scored on other classes, and for what it does not define."""
    place = {name: at for at, name in enumerate(classes)}
    made = np.full((len(lines), len(classes)), np.nan)
    scored: list[str] = []
    columns: list[int] = []
    for line, row in zip(lines, made, strict=True):
        if line.classes is None or line.values is None:
            continue
        if line.classes != scored:  # nearly always those of the run before
            scored = line.classes
            columns = [place.get(name, -1) for name in scored]
        if -1 not in columns:
            row[columns] = np.array(line.values, dtype=float)
    return made


def _rows(lines: Sequence[_Line], stored: Collection[tuple[str, int]]) -> tuple[Row, ...]:
    grouped: dict[int, list[_Line]] = {}
    for line in lines:
        grouped.setdefault(line.row_id, []).append(line)
    parts = list(grouped.values())
    about = [
        _About(
            part[0].method,
            msgspec.json.decode(part[0].params),
            msgspec.json.decode(part[0].inputs),
            part[0].digest,
        )
        for part in parts
    ]
    # all or none: an evaluation has both kinds of scores
    plain_scores = [all((line.run, line.attempt) in stored for line in part) for part in parts]
    names = [
        clipped(plain(name)) + " (un-adapted)" * unadapted
        for name, unadapted in zip(row_names(about), plain_scores, strict=True)
    ]
    return tuple(
        Row(
            name=name,
            **row._asdict(),
            flags=tuple(sorted({flag for line in part for flag in line.flags or ()})),
            runs=tuple(line.run for line in part),
            seeds=tuple(line.seed for line in part),
            dependent=any(map(_depends, part)) and not unadapted,
        )
        for name, row, part, unadapted in zip(
            told_apart(names), about, parts, plain_scores, strict=True
        )
    )
