"""Rows of a board with the values of their runs: what statistics of one metric are made of.

Rows are those of the store with today's code: runs of one protocol and one evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from suite.define.metrics import split_key
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.store.connection import statements
from suite.store.protocols import accepted

if TYPE_CHECKING:
    import duckdb

    from suite.define.catalog import Catalog


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


def read_rows(
    connection: duckdb.DuckDBPyConnection,
    task: Task,
    key: str,
    *,
    methods: Sequence[str] | None = None,
    row_ids: Sequence[int] | None = None,
    only: Protocol | None = None,
    hashes: Sequence[str] | None = None,
    catalog: Catalog | None = None,
) -> list[Side]:
    """Rows under today's evaluation of the task's protocols, with their values of a metric key.

    Args:
        methods, row_ids: the only ones; default all.
        only: the only protocol; `hashes` those of several.
        catalog: see `suite.store.protocols.accepted`.
    """
    metric, subset = split_key(key)
    result = connection.execute(
        statements("compare_rows"),
        {
            "task": task.name,
            "metric": metric,
            "subset": subset,
            "methods": methods,
            "rows": row_ids,
            "hashes": [only.hash] if only else hashes,
        },
    )
    rows = result.fetchall()
    known = (
        {only.hash: only} if only else accepted(connection, task, catalog, [row[0] for row in rows])
    )
    current = {hash_: task.evaluation_hash(one) for hash_, one in known.items()}
    sides = []
    for row in rows:
        row_id, evaluation, protocol_hash, _, dataset, method, params, digest, inputs = row[:9]
        if current.get(protocol_hash) != evaluation:
            continue
        seeds, runs, attempts, values = row[9:]
        sides.append(
            Side(
                row_id=row_id,
                protocol=known[protocol_hash].name,
                protocol_hash=protocol_hash,
                evaluation_hash=evaluation,
                dataset=dataset,
                method=method,
                params=msgspec.json.decode(params),
                digest=digest,
                inputs=msgspec.json.decode(inputs),
                runs=tuple(
                    Run(run, attempt, seed, value)
                    for run, attempt, seed, value in zip(runs, attempts, seeds, values, strict=True)
                ),
            )
        )
    return sides
