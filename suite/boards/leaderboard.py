"""The rows of a task's board, from the store. Holds no statistics of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec

from suite.base.canonical import canonical
from suite.base.errors import UserError, did_you_mean
from suite.define.flags import EXTERNAL
from suite.define.protocol import Protocol
from suite.define.task import Task, default_keys, direction
from suite.records.again import settings_of, settings_of_run
from suite.records.states import RowState
from suite.store.connection import connect, no_collection, statements
from suite.store.protocols import accepted
from suite.store.ranking import ranks
from suite.store.row import COST, NO_CELL, Cell, MeanCost, Row, RowFailure

if TYPE_CHECKING:
    from suite.define.catalog import Catalog

Planned = tuple[str, Mapping[str, Any], str, str, str, str]
"""(method, params, protocol name, protocol hash, evaluation hash, data set) of a row to come."""


Placed = Sequence[Any]
"""Rank, groups, seeds to next, test."""
UNPLACED: Placed = (None, "", None, "")


def board(
    root: Path,
    task: Task,
    *,
    protocol: str | Sequence[str] | None,
    by: str | None,
    today: Mapping[str, str],
    planned: Sequence[Planned],
    store: duckdb.DuckDBPyConnection | None = None,
    catalog: "Catalog | None" = None,
) -> list[Row]:
    """Rows of the leaderboard, block after block.

    A block is one protocol hash and one evaluation hash; only within it are rows comparable. In a
    block, rows go by the mean of `by` in its direction, those without a value last. Blocks of which nothing
    has run come last.

    Args:
        protocol: name of the only protocol to show, or several in their order; ranks are over whole boards
            all the same.
        by: metric key that ranks, such as `mIoU[group=tail]`; default the task's first primary.
        today: method -> digest of its code today, of methods that no other's code is part of; what the
            store says of them may be older.
        planned: rows that are wanted; those of which nothing is there yet are shown as planned.
        store: the root's store, if it is open already; it is left open.
        catalog: see `suite.store.protocols.accepted`.

    Raises UserError: no store, unknown protocol or metric key.
    """
    connection = store or connect(root)
    under = [protocol] if isinstance(protocol, str) else protocol
    try:
        only = None if under is None else _protocol_rows(connection, task, under)
        with no_collection():
            metrics = _metrics(connection, task, only)
        named = accepted(connection, task, catalog, only)
        key = _ranking_key(task, by, metrics)
        rank_of = _ranks(connection, task, key, only)
        with no_collection():
            rows = [
                _row(task, named.get(found["protocol_hash"]), found, metrics, rank_of, today)
                for found in _found_rows(connection, task, named, only)
            ]
    finally:
        if store is None:
            connection.close()
    rows += _planned_rows(task, rows, planned)
    if catalog is not None:
        rows = [_of_today(root, catalog, named.get(row.protocol_hash), row) for row in rows]
    if under is not None:
        rows = _only(task, rows, under)
    named |= _of_planned(task, named, planned)
    return sorted(rows, key=_order(task, rows, under or (), named.values(), key))


def rows_to_come(catalog: "Catalog", task: Task, protocol: Protocol) -> list[Planned]:
    """A row for every method of the task, whether it has run or not."""
    place = protocol.name, protocol.hash, task.evaluation_hash(protocol), protocol.dataset.name
    return [
        (method, catalog.spec(method, protocol).params, *place)
        for method in catalog.methods(task.name)
    ]


def _protocol_rows(
    connection: duckdb.DuckDBPyConnection, task: Task, under: Sequence[str]
) -> list[int]:
    """Ids of the rows that may be shown: a board of some protocols must not read all the others."""
    found: set[int] = set()
    for name in under:
        current = task.protocols.get(name)
        asked = {"name": name, "hash": current.hash if current else ""}
        result = connection.execute(statements("protocol_rows"), asked)
        found.update(row_id for (row_id,) in result.fetchall())
    return sorted(found)


def _of_planned(
    task: Task, known: Mapping[str, Protocol], planned: Sequence[Planned]
) -> dict[str, Protocol]:
    """Hash -> protocol, of rows to come under others than the `known` ones."""
    found = {}
    for _, _, name, hash_, _, _ in planned:
        if hash_ not in known and hash_ not in found:
            protocol = task.protocols.with_hash(hash_, name)
            if protocol is not None:
                found[hash_] = protocol
    return found


def _found_rows(
    connection: duckdb.DuckDBPyConnection,
    task: Task,
    named: Mapping[str, Protocol],
    only: Sequence[int] | None,
) -> Iterable[dict[str, Any]]:
    result = connection.execute(
        statements("board_rows"),
        {
            "task": task.name,
            "hashes": list(named),
            "evaluations": [task.evaluation_hash(protocol) for protocol in named.values()],
            "rows": only,
        },
    )
    names = [column[0] for column in result.description]
    return [dict(zip(names, values, strict=True)) for values in result.fetchall()]


def _metrics(
    connection: duckdb.DuckDBPyConnection, task: Task, only: Sequence[int] | None
) -> dict[tuple[int, str], dict[str, tuple[int, Cell]]]:
    """(row id, evaluation hash) -> metric key -> (n, cell)."""
    cells: dict[tuple[int, str], dict[str, tuple[int, Cell]]] = {}
    result = connection.execute(statements("board_metrics"), {"task": task.name, "rows": only})
    for row_id, evaluation, *columns in result.fetchall():
        cells[row_id, evaluation] = {
            key: (n, Cell(mean, low, high))
            for key, n, mean, low, high in sorted(zip(*columns, strict=True))
        }
    return cells


def _ranking_key(
    task: Task, by: str | None, metrics: Mapping[Any, Mapping[str, tuple[int, Cell]]]
) -> str:
    if by is None:
        return task.primary[0]
    known = {*task.primary, *task.columns, *chain.from_iterable(metrics.values())}
    known = {key for key in known if direction(task, key) is not None}
    if by not in known:
        raise UserError(f"--by {by}: task {task.name} has no such metric{did_you_mean(by, known)}")
    return by


def _ranks(
    connection: duckdb.DuckDBPyConnection, task: Task, key: str, only: Sequence[int] | None
) -> dict[tuple[int, str], Placed]:
    if (task.name, key) in default_keys({task.name: task}):
        asked = {"task": task.name, "key": key, "rows": only}
        result = connection.execute(statements("board_ranks"), asked)
        return {(row_id, evaluation): placed for row_id, evaluation, *placed in result.fetchall()}
    higher = direction(task, key)
    found = ranks(connection, {(task.name, key): higher is not False})
    return {(row_id, evaluation): placed for _, evaluation, _, row_id, *placed in found}


def _row(
    task: Task,
    protocol: Protocol | None,
    found: Mapping[str, Any],
    metrics: Mapping[tuple[int, str], Mapping[str, tuple[int, Cell]]],
    placed: Mapping[tuple[int, str], Placed],
    today: Mapping[str, str],
) -> Row:
    place = found["row_id"], found["evaluation_hash"]
    current = found["today"] and today.get(found["method"], found["digest"]) == found["digest"]
    rank, letters, seeds_to_next, test = placed.get(place, UNPLACED) if current else UNPLACED
    return Row(
        task=task.name,
        # a protocol may have been renamed since: its hash is what it is
        protocol=protocol.name if protocol else found["protocol"],
        protocol_hash=found["protocol_hash"],
        evaluation_hash=found["evaluation_hash"],
        dataset=found["dataset"] or (protocol.dataset.name if protocol else None),
        method=found["method"],
        params=msgspec.json.decode(found["params"]),
        inputs=msgspec.json.decode(found["inputs"] or "{}"),
        digest=found["digest"],
        n=found["n"],
        state=_state(found) if current else "stale",
        rank=rank,
        groups=letters,
        seeds_to_next=seeds_to_next,
        test=test,
        flags=found["flags"] or [],
        failures=[RowFailure(**failure) for failure in found["failures"] or ()],
        cost=MeanCost(**{name: found[name] for name in COST}),
        runs=found["runs"],
        seeds=found["seeds"],
        metrics={
            # a mean over some of the replicates is not the row's mean
            key: cell if n == found["n"] else NO_CELL
            for key, (n, cell) in metrics.get(place, {}).items()
        },
    )


def _of_today(root: Path, catalog: "Catalog", protocol: Protocol | None, row: Row) -> Row:
    """The row with what the methods of today say of it: the inputs that it will have, what to `--set`."""
    if row.state == "planned":
        if row.method not in catalog.methods():
            return row
        inputs = dict(catalog.card(row.method).needs.inputs)
        return msgspec.structs.replace(row, inputs=inputs, settings=[])
    # others' runs are a row of their own, which none of ours joins
    if protocol is None or EXTERNAL in row.flags:
        return row
    if row.inputs:
        settings = settings_of_run(root, catalog, protocol, row.runs[0])
    else:
        settings = settings_of(catalog, protocol, row)
    return msgspec.structs.replace(row, settings=settings)


def _state(found: Mapping[str, Any]) -> RowState:
    if found["alive"]:
        return "running"
    if found["n"] == found["replicates"]:
        return "done"
    return "failed" if found["failures"] and not found["recorded"] else "partial"


def _planned_rows(task: Task, rows: Iterable[Row], planned: Sequence[Planned]) -> list[Row]:
    def identity(method: str, params: Any, protocol_hash: str, evaluation: str) -> tuple[Any, ...]:
        return method, canonical(params), protocol_hash, evaluation

    if not planned:
        return []
    there = {
        identity(row.method, row.params, row.protocol_hash, row.evaluation_hash) for row in rows
    }
    missing: list[Row] = []
    for method, params, protocol, protocol_hash, evaluation_hash, dataset in planned:
        wanted = identity(method, params, protocol_hash, evaluation_hash)
        if wanted in there:
            continue
        there.add(wanted)
        missing.append(
            Row(
                task=task.name,
                protocol=protocol,
                protocol_hash=protocol_hash,
                evaluation_hash=evaluation_hash,
                dataset=dataset,
                method=method,
                params=dict(params),
                state="planned",
            )
        )
    return missing


def _only(task: Task, rows: list[Row], under: Sequence[str]) -> list[Row]:
    known = {*task.protocols.names, *(row.protocol for row in rows)}
    for name in under:
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"--protocol {name}: task {task.name} has no such protocol{near}")
    return [row for row in rows if row.protocol in under]


def _order(
    task: Task,
    rows: Iterable[Row],
    under: Sequence[str],
    protocols: Iterable[Protocol],
    key: str,
) -> Callable[[Row], tuple[Any, ...]]:
    """Sort key: blocks with runs, protocol (as in `under`, then by name), block (today's evaluation first),
    then the mean, best first.

    Rows come by method and parameters from the store, and sorting keeps that among equals.
    """
    begun = {row.block for row in rows if row.state != "planned"}
    place = {name: number for number, name in enumerate(under)}
    sign = -1 if direction(task, key) is not False else 1
    current = {(p.hash, task.evaluation_hash(p)) for p in protocols}

    def order(row: Row) -> tuple[Any, ...]:
        mean = row.cell(key).mean
        return (
            row.block not in begun,
            place.get(row.protocol, 0),
            row.protocol,
            row.block not in current,
            *row.block,
            mean is None,
            0.0 if mean is None else sign * mean,
        )

    return order
