"""What goes with a score over all runs of a protocol: a task's own pairs of metrics (`Correlates`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suite.base.command import Command, Note
from suite.boards.arm_rows import setting
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.stats.correlation import (
    CORRELATES,
    MIN_ROWS,
    Correlates,
    Correlation,
    advantage,
    correlation,
)
from suite.stats.tests import Interval
from suite.store.rows import Side, read_rows

if TYPE_CHECKING:
    import duckdb

NAME = "Spearman's rank correlation over runs, 95 % interval by the jackknife over rows"


@dataclass(frozen=True)
class Point:
    """A run: its row of the board, and its values of the two metrics."""

    row_id: int
    run_id: str
    seed: int
    x: float
    y: float


@dataclass(frozen=True)
class Correlated:
    """One metric `by` against a score `of` under one protocol.

    Attributes:
        points: the runs that have both values.
        found: None where a metric is constant, or there are fewer than three runs.
        beside, gain: another metric key, and how much larger its correlation is in size than that one's, over the runs
            that have all three values; None without.
        words: what follows.
        arms: ids of rows whose runs are among the points and are not counted (`Correlates.arms`).
    """

    protocol: str
    protocol_hash: str
    of: str
    by: str
    points: tuple[Point, ...]
    found: Correlation | None
    beside: str | None
    gain: Interval | None
    words: str
    arms: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Correlations:
    """All of a task's. `words` says what is left out, and why there is none."""

    found: tuple[Correlated, ...]
    words: str


def correlations(
    connection: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    task: Task,
    only: Protocol | None = None,
    asked: Correlates | None = None,
) -> Correlations | None:
    """Of every protocol of the board (of one), in the order of the keys that are asked for, by default the task's; None where it names none."""
    asked = asked or CORRELATES.of(task)
    if asked is None:
        return None
    keys = [asked.of, *asked.by, *([asked.beside] if asked.beside else [])]
    sides = {key: read_rows(connection, task, key, only=only, catalog=catalog) for key in keys}
    protocols = {side.protocol_hash: side.protocol for side in sides[asked.of]}
    found, missing = [], []
    for hash_, name in protocols.items():
        here = {
            key: {side.row_id: side for side in rows if side.protocol_hash == hash_}
            for key, rows in sides.items()
        }
        protocol = task.protocols.get(name)
        # what a protocol that is not there any more had by default is not known
        every = [side for rows in here.values() for side in rows.values()] if protocol else []
        arms = setting(catalog, task, protocol, every, asked.arms) if protocol else set()
        made = [_correlated(asked, name, hash_, by, here, arms) for by in asked.by]
        # a metric that no run has is not looked at: its row would say nothing
        made = [one for one in made if one.points]
        found += made
        if not made:
            missing.append(name)
    return Correlations(tuple(found), _words(asked, found, missing))


def _correlated(
    asked: Correlates,
    protocol: str,
    hash_: str,
    by: str,
    here: Mapping[str, Mapping[int, Side]],
    arms: Set[int],
) -> Correlated:
    score, predictor = here[asked.of], here[by]
    rows = {
        row_id: [
            Point(row_id, run, seed, x, y) for run, seed, x, y in _both(predictor[row_id], side)
        ]
        for row_id, side in score.items()
        if row_id in predictor
    }
    drawn = {row_id: points for row_id, points in rows.items() if points}
    rows = {row_id: points for row_id, points in drawn.items() if row_id not in arms}
    found = correlation([[(p.x, p.y) for p in points] for points in rows.values()])
    gain = None
    if asked.beside is not None:
        other = {
            run.run_id: run.value
            for side in here[asked.beside].values()
            for run in side.runs
            if run.value is not None
        }
        triples = [
            [(p.x, other[p.run_id], p.y) for p in points if p.run_id in other]
            for points in rows.values()
        ]
        gain = advantage([one for one in triples if one])
    return Correlated(
        protocol=protocol,
        protocol_hash=hash_,
        of=asked.of,
        by=by,
        points=tuple(point for points in drawn.values() for point in points),
        found=found,
        beside=asked.beside,
        gain=gain,
        words=said(found, gain, asked.beside),
        arms=frozenset(drawn.keys() - rows.keys()),
    )


def _both(x: Side, y: Side) -> list[tuple[str, int, float, float]]:
    known = {run.run_id: run.value for run in x.runs}
    made = []
    for run in y.runs:
        value = known.get(run.run_id)
        if value is not None and run.value is not None:
            made.append((run.run_id, run.seed, value, run.value))
    return made


def said(found: Correlation | None, gain: Interval | None, beside: str | None) -> str:
    """What follows from an interval: that the correlation is not 0, and that it is larger than the other."""
    if found is None:
        return "no correlation: fewer than three runs, or a metric is the same in all"
    if found.low is None or found.high is None:
        return f"no conclusion: {found.rows} rows, an interval needs {MIN_ROWS}"
    if found.low <= 0 <= found.high:
        return "undecided: the interval holds 0"
    words = "higher goes with " + ("higher" if found.rho > 0 else "lower")
    if beside is None or gain is None or gain.low is None or gain.high is None:
        return words
    if gain.low <= 0 <= gain.high:
        return f"{words}; not told apart from {beside} as a predictor"
    return f"{words}; predicts {'better' if gain.mean > 0 else 'worse'} than {beside}"


def _words(asked: Correlates, found: Sequence[Correlated], missing: Sequence[str]) -> str:
    words = []
    if found:
        count = len(found)
        words.append(
            f"{count} correlations are looked at: where there is none, one of 20 intervals leaves 0 out"
            if count > 1
            else ""
        )
    if arms := max((len(one.arms) for one in found), default=0):
        words.append(
            f"{arms} row(s) that set {' or '.join(asked.arms)} are not counted: arms of one method are no points of their own"
        )
    if missing:
        under = ", ".join(missing)
        told = f"no run under {under} has {asked.by[0]}"
        if asked.stored:
            told = str(Note(told, Command("predict", "RUN", "--set", asked.stored)))
        words.append(told)
    if not found and not missing:
        words.append(f"no run has {asked.of}")
    return "; ".join(filter(None, words))
