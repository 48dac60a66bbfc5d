"""Rows as a user names them: by a method, or by a run that stands for its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from suite.base.command import Command
from suite.base.errors import UserError, did_you_mean
from suite.base.text import plain
from suite.define.catalog import Catalog
from suite.define.metrics import canonical_key, split_key
from suite.define.protocol import Protocol
from suite.define.task import Metric, Task
from suite.records.again import settings_of, train_again
from suite.records.lookup import match_run
from suite.store.connection import connect, statements
from suite.store.rows import Side, read_rows

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class _Named:
    """What a user's name stands for: a method, or the row of a run."""

    text: str
    method: str
    row_id: int | None = None


def pick_task(root: Path, catalog: Catalog, name: str | None, sides: Sequence[str]) -> Task:
    """The task of that name; for None the only one that has evaluations of all `sides`.

    Raises UserError: unknown names, no task, or several.
    """
    if name is not None:
        return catalog.task(name)
    with connect(root) as connection:
        tasks: set[str] | None = None
        for side in sides:
            named = _resolve(root, connection, catalog, None, side)
            found = connection.execute(
                statements("compare_tasks"),
                {
                    "methods": [named.method] if named.row_id is None else None,
                    "rows": None if named.row_id is None else [named.row_id],
                },
            ).fetchall()
            here = {task for (task,) in found}
            tasks = here if tasks is None else tasks & here
    known = sorted((tasks or set()) & set(catalog.tasks()))
    if len(known) == 1:
        return catalog.task(known[0])
    if known:
        raise UserError(f"give --task: these are evaluated for {', '.join(known)}")
    raise UserError(
        f"give --task: no task has evaluations of all that is named; see `{Command('tasks')}`"
    )


def metric_key(task: Task, given: str | None) -> tuple[str, Metric]:
    """(canonical key, metric) of what `--metric` says; default the task's first primary.

    Raises UserError for a metric that the task has not.
    """
    key = canonical_key(given) if given else task.primary[0]
    name = split_key(key)[0]
    found = next((metric for metric in task.metrics if metric.name == name), None)
    if found is None:
        known = {*task.primary, *task.columns, *(metric.name for metric in task.metrics)}
        near = did_you_mean(key, known)
        raise UserError(f"--metric {key}: task {task.name} has no such metric{near}")
    return key, found


def paired_rows(
    root: Path,
    catalog: Catalog,
    task: Task,
    a: str,
    b: str,
    key: str,
    only: Protocol | None = None,
) -> tuple[list[tuple[Side, Side]], list[tuple[Side | None, Side | None]], list[str]]:
    """Rows of A and B under each protocol that has both; the others; and notes on what was left out.

    `a` and `b` are method names or run ids. Of several rows of a method under one protocol the one with the
    default parameters is taken. Raises UserError: unknown names, a run that does not count, no row at all.
    """
    with connect(root) as connection:
        named = [_resolve(root, connection, catalog, task, text) for text in (a, b)]
        if named[0] == named[1]:
            raise UserError(f"{a!r} and {b!r} are the same row; compare two")
        notes: list[str] = []
        found = []
        for one in named:
            rows = read_rows(
                connection,
                task,
                key,
                methods=None if one.row_id is not None else [one.method],
                row_ids=None if one.row_id is None else [one.row_id],
                only=only,
                catalog=catalog,
            )
            if not rows:
                raise UserError(_nothing(task, one, only, catalog))
            found.append(_row_each(rows, catalog, task, notes))
    both = [(found[0][name], found[1][name]) for name in found[0] if name in found[1]]
    both = [(x, y) for x, y in both if x.row_id != y.row_id]
    alone: list[tuple[Side | None, Side | None]] = [
        (side, None) for name, side in found[0].items() if name not in found[1]
    ]
    alone += [(None, side) for name, side in found[1].items() if name not in found[0]]
    if not both and not alone:
        raise UserError(f"{a!r} and {b!r} are the same row; compare two")
    return both, alone, notes


def _resolve(
    root: Path,
    connection: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    task: Task | None,
    text: str,
) -> _Named:
    """A method comes before a run: `ce` is hexadecimal, too."""
    known = set(catalog.methods())
    if text in known:
        return _Named(text, text)
    stored = {m for (m,) in connection.execute("SELECT DISTINCT method FROM digests").fetchall()}
    if text in stored:
        return _Named(text, text)
    if text and set(text) <= _HEX:
        found = connection.execute(statements("compare_run"), {"prefix": text}).fetchall()
        runs = list(dict.fromkeys(run for run, *_ in found))
        if runs:
            match_run(text, runs, "here", cut=True)
            _, row_id, method, _, counted, today = found[0]
            if not counted:
                raise UserError(f"run {runs[0]} is not finished; see `{Command('show', text)}`")
            if not today:
                again = train_again(root, catalog, runs[0], "--stale")
                raise UserError(
                    f"run {runs[0]} was trained with other code of its method than today's{again}"
                )
            return _Named(text, method, row_id)
    # names of other tasks would be refused next
    of_task = stored - known | set(catalog.methods(task.name if task else None))
    near = did_you_mean(text, of_task)
    raise UserError(f"{text!r} is neither a method nor a run here{near}")


def _nothing(task: Task, named: _Named, only: Protocol | None, catalog: Catalog) -> str:
    under = f" under {only.name}" if only else ""
    what = f"run {named.text}" if named.row_id is not None else named.method
    problem = f"{what} has no evaluated run of today's code for {task.name}{under}"
    if named.method not in catalog.methods(task.name):
        of = catalog.tasks_of(named.method) if named.method in catalog.methods() else ()
        return f"{problem}; it is for {', '.join(of)}" if of else problem
    under_it = ["--protocol", only.name] if only else []
    command = Command(
        "run", "--task", task.name, *under_it, "--method", named.method, "--seeds", "0-2"
    )
    return f"{problem}; type {command}"


def row_of_method(
    rows: Sequence[Side], catalog: Catalog, task: Task
) -> tuple[Side | None, list[Side]]:
    """(the row that a method's name stands for, the others) of its rows under one protocol.

    It is the only one, else the only one with default parameters and inputs; None where neither is.
    """
    if len(rows) == 1:
        return rows[0], []
    protocol = task.protocols[rows[0].protocol]
    plain_rows = [row for row in rows if settings_of(catalog, protocol, row) == []]
    if len(plain_rows) != 1:
        return None, list(rows)
    return plain_rows[0], [row for row in rows if row is not plain_rows[0]]


def _row_each(
    rows: Sequence[Side], catalog: Catalog, task: Task, notes: list[str]
) -> dict[str, Side]:
    """Protocol hash -> the row that stands for the method there."""
    under: dict[str, list[Side]] = {}
    for row in rows:
        under.setdefault(row.protocol_hash, []).append(row)
    chosen: dict[str, Side] = {}
    for name, members in under.items():
        found, others = row_of_method(members, catalog, task)
        if found is not None:
            chosen[name] = found
            if others:
                notes.append(
                    f"{found.method} under {found.protocol}: the default parameters; name a run for "
                    f"another row: {listed([row.runs[0].run_id for row in others])}"
                )
        else:
            ids = listed([row.runs[0].run_id for row in members])
            notes.append(
                f"{members[0].method} under {members[0].protocol}: {len(members)} rows, none of them with "
                f"the default parameters; name a run of the one that is meant: {ids}"
            )
    if not chosen:
        raise UserError(notes[-1])
    return chosen


def listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(plain, names[:most])) + more
