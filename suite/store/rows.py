"""Rows of the board as a user names them, a side each of a comparison; and the command that makes more of
them.

Rows are those of the store with today's code: runs of one protocol and one evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from suite.base.command import Command
from suite.base.errors import UserError, did_you_mean
from suite.base.text import plain
from suite.define.card import parse_setting
from suite.define.catalog import Catalog
from suite.define.metrics import canonical_key, split_key
from suite.define.protocol import Protocol
from suite.define.spec import spelled
from suite.define.task import Metric, Task
from suite.store.connection import connect, statements

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Run:
    """A counted run: its newest finished attempt of today's code. `value` is None where undefined."""

    run_id: str
    attempt: int
    seed: int
    value: float | None


@dataclass(frozen=True)
class Side:
    """A row of the board; `inputs` maps a role to the method of the runs that fill it."""

    row_id: int
    protocol: str
    protocol_hash: str
    evaluation_hash: str
    dataset: str | None
    method: str
    params: Mapping[str, Any]
    digest: str
    inputs: Mapping[str, str | None]
    runs: tuple[Run, ...]

    @property
    def complete(self) -> bool:
        """Whether every run defines the metric: a mean over some of a row's runs is not the row's."""
        return all(run.value is not None for run in self.runs)

    @property
    def values(self) -> dict[int, float]:
        """Seed -> value; empty if a run has none, or if two runs share a seed."""
        if not self.complete or len({run.seed for run in self.runs}) < len(self.runs):
            return {}
        return {run.seed: run.value for run in self.runs if run.value is not None}


@dataclass(frozen=True)
class _Named:
    """What a user's name stands for: a method, or the row of a run."""

    text: str
    method: str
    row_id: int | None = None


@dataclass
class Store:
    """Reads rows of one task and metric key."""

    connection: duckdb.DuckDBPyConnection
    task: Task
    current: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.current = {p.hash: self.task.evaluation_hash(p) for p in self.task.protocols}

    def rows(
        self,
        key: str,
        *,
        methods: Sequence[str] | None = None,
        row_ids: Sequence[int] | None = None,
        only: Protocol | None = None,
    ) -> list[Side]:
        """Rows under today's evaluation of the task's protocols."""
        metric, subset = split_key(key)
        result = self.connection.execute(
            statements("compare_rows"),
            {
                "task": self.task.name,
                "metric": metric,
                "subset": subset,
                "methods": methods,
                "rows": row_ids,
                "hashes": [only.hash] if only else list(self.current),
            },
        )
        names = {protocol.hash: protocol.name for protocol in self.task.protocols}
        sides = []
        for row in result.fetchall():
            row_id, evaluation, protocol_hash, _, dataset, method, params, digest, inputs = row[:9]
            if self.current[protocol_hash] != evaluation:
                continue
            seeds, runs, attempts, values = row[9:]
            sides.append(
                Side(
                    row_id=row_id,
                    protocol=names[protocol_hash],
                    protocol_hash=protocol_hash,
                    evaluation_hash=evaluation,
                    dataset=dataset,
                    method=method,
                    params=msgspec.json.decode(params),
                    digest=digest,
                    inputs=msgspec.json.decode(inputs),
                    runs=tuple(
                        Run(run, attempt, seed, value)
                        for run, attempt, seed, value in zip(
                            runs, attempts, seeds, values, strict=True
                        )
                    ),
                )
            )
        return sides


def pick_task(root: Path, catalog: Catalog, name: str | None, sides: Sequence[str]) -> Task:
    """The task of that name; for None the only one that has evaluations of all `sides`.

    Raises UserError: unknown names, no task, or several.
    """
    if name is not None:
        return catalog.task(name)
    with connect(root) as connection:
        tasks: set[str] | None = None
        for side in sides:
            named = _resolve(connection, catalog, side)
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
        "give --task: no task has evaluations of all that is named; see `python -m suite tasks`"
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


def pair(
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
        store = Store(connection, task)
        named = [_resolve(connection, catalog, text) for text in (a, b)]
        if named[0] == named[1]:
            raise UserError(f"{a!r} and {b!r} are the same row; compare two")
        notes: list[str] = []
        found = []
        for one in named:
            rows = store.rows(
                key,
                methods=None if one.row_id is not None else [one.method],
                row_ids=None if one.row_id is None else [one.row_id],
                only=only,
            )
            if not rows:
                raise UserError(_nothing(task, one, only, catalog))
            found.append(_one_each(rows, catalog, task, notes))
    both = [(found[0][name], found[1][name]) for name in found[0] if name in found[1]]
    both = [(x, y) for x, y in both if x.row_id != y.row_id]
    alone: list[tuple[Side | None, Side | None]] = [
        (side, None) for name, side in found[0].items() if name not in found[1]
    ]
    alone += [(None, side) for name, side in found[1].items() if name not in found[0]]
    if not both and not alone:
        raise UserError(f"{a!r} and {b!r} are the same row; compare two")
    return both, alone, notes


def next_seeds(a: Iterable[int], b: Iterable[int], common: int) -> list[int]:
    """Seeds to run so that the two share `common`: first those that one of them has, then the smallest."""
    have_a, have_b = set(a), set(b)
    missing = common - len(have_a & have_b)
    chosen = sorted(have_a ^ have_b)[: max(missing, 0)]
    seed = 0
    while len(chosen) < missing:
        if seed not in have_a | have_b:
            chosen.append(seed)
        seed += 1
    return sorted(chosen)


def settings_of(catalog: Catalog, protocol: Protocol, side: Side) -> list[str] | None:
    """The `--set` texts with which `run` makes runs of the row; None if it cannot be said here.

    It cannot where the method is unknown or its parameters are no longer those of today's card.
    """
    if side.method not in catalog.methods():
        return None
    card = catalog.card(side.method)
    try:
        default = catalog.spec(side.method, protocol).params
        params = dict(side.params)
        for name in default.keys() - params.keys():
            params[name] = card.params[name].neutral
        texts = [
            f"{side.method}.{name}={_literal(value)}"
            for name, value in params.items()
            if name not in default or default[name] != value
        ]
        given = [parse_setting(text, catalog.methods()) for text in texts]
        made = catalog.spec(side.method, protocol, 0, {one.key: one.value for one in given})
    except (UserError, KeyError):
        return None
    for role, of in card.needs.inputs.items():
        filled = side.inputs.get(role)
        if filled is None:
            return None
        if filled != of:
            texts.append(f"{side.method}.{role}={filled}")
    return texts if made.params == dict(side.params) else None


def run_command(
    catalog: Catalog, task: Task, sides: Sequence[Side], seeds: Sequence[int]
) -> Command | None:
    """The command that trains the rows' methods with these seeds; None where nothing here can."""
    protocol = next((p for p in task.protocols if p.hash == sides[0].protocol_hash), None)
    if protocol is None:
        return None
    settings = [settings_of(catalog, protocol, side) for side in sides]
    if any(texts is None for texts in settings) or clash(sides):
        return None
    words = ["run", "--task", task.name, "--protocol", protocol.name]
    for method in dict.fromkeys(side.method for side in sides):
        words += ["--method", method]
    for text in (text for texts in settings for text in texts or ()):
        words += ["--set", text]
    return Command(*words, "--seeds", spelled(seeds))


def clash(sides: Sequence[Side]) -> bool:
    """Whether two rows are of one method: one command makes runs of one set of parameters."""
    return len({side.method for side in sides}) < len(sides)


def _resolve(connection: duckdb.DuckDBPyConnection, catalog: Catalog, text: str) -> _Named:
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
        if len(runs) > 1:
            raise UserError(f"run {text!r} is not one run but several: {', '.join(runs[:5])}")
        if runs:
            _, row_id, method, _, counted, today = found[0]
            if not counted:
                raise UserError(f"run {runs[0]} is not finished; see `python -m suite show {text}`")
            if not today:
                raise UserError(
                    f"run {runs[0]} was trained with other code of its method than today's; train it "
                    "again with --stale"
                )
            return _Named(text, method, row_id)
    near = did_you_mean(text, known | stored)
    raise UserError(f"{text!r} is neither a method nor a run here{near}")


def _nothing(task: Task, named: _Named, only: Protocol | None, catalog: Catalog) -> str:
    under = f" under {only.name}" if only else ""
    what = f"run {named.text}" if named.row_id is not None else named.method
    problem = f"{what} has no evaluated run of today's code for {task.name}{under}"
    if named.method not in catalog.methods(task.name):
        return problem
    under_it = ["--protocol", only.name] if only else []
    command = Command(
        "run", "--task", task.name, *under_it, "--method", named.method, "--seeds", "0-2"
    )
    return f"{problem}; type {command}"


def one_of(rows: Sequence[Side], catalog: Catalog, task: Task) -> tuple[Side | None, list[Side]]:
    """(the row that a method's name stands for, the others) of its rows under one protocol.

    It is the only one, else the only one with default parameters and inputs; None where neither is.
    """
    if len(rows) == 1:
        return rows[0], []
    protocol = next(p for p in task.protocols if p.hash == rows[0].protocol_hash)
    plain_rows = [row for row in rows if settings_of(catalog, protocol, row) == []]
    if len(plain_rows) != 1:
        return None, list(rows)
    return plain_rows[0], [row for row in rows if row is not plain_rows[0]]


def _one_each(
    rows: Sequence[Side], catalog: Catalog, task: Task, notes: list[str]
) -> dict[str, Side]:
    """Protocol hash -> the row that stands for the method there."""
    under: dict[str, list[Side]] = {}
    for row in rows:
        under.setdefault(row.protocol_hash, []).append(row)
    chosen: dict[str, Side] = {}
    for name, members in under.items():
        found, others = one_of(members, catalog, task)
        if found is not None:
            chosen[name] = found
            if others:
                notes.append(
                    f"{found.method} under {found.protocol}: the default parameters; name a run for "
                    f"another row: {some([row.runs[0].run_id for row in others])}"
                )
        else:
            ids = some([row.runs[0].run_id for row in members])
            notes.append(
                f"{members[0].method} under {members[0].protocol}: {len(members)} rows, none of them with "
                f"the default parameters; name a run of the one that is meant: {ids}"
            )
    if not chosen:
        raise UserError(notes[-1])
    return chosen


def _literal(value: Any) -> str:
    """As `parse_setting` reads it back."""
    if isinstance(value, str) and parse_setting(f"m.k={value}").value == value:
        return value
    return repr(value)


def some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(plain, names[:most])) + more
