"""What there is: a task's protocols with their runs, what failed and what the store refused.

Reads the store alone; the state of a run that waits for a cluster is known to `suite.dispatch.states` only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.define.task import Task
from suite.stats.tests import MIN_REPLICATES
from suite.store.connection import statements
from suite.store.protocols import accepted

if TYPE_CHECKING:
    import duckdb

    from suite.define.catalog import Catalog


@dataclass(frozen=True)
class Coverage:
    """The runs of a task under one protocol. Counts are of runs, but for `rows` and `ranked`.

    Attributes:
        protocol: its name today, or when its newest run was made.
        current: whether the task has this protocol today.
        imbalance: largest over smallest training count of a class; None where not recorded.
        methods: names of those with a score of today's code and evaluation.
        rows: rows of the board with such a score; `ranked`: those with enough replicates.
        done: finished and scored; `unscored`: finished, no evaluation of today (`evaluate`).
        running, failed, stopped: of runs that are not finished.
        stale: made by other code than today's.
        finished: Unix seconds of the newest end, None without any.
    """

    protocol: str
    protocol_hash: str
    current: bool
    dataset: str | None
    imbalance: float | None
    methods: tuple[str, ...]
    rows: int
    ranked: int
    runs: int
    done: int
    unscored: int
    running: int
    failed: int
    stopped: int
    stale: int
    finished: float | None


@dataclass(frozen=True)
class FailedRun:
    """A run whose newest attempt failed; `at` is its last sign of life in Unix seconds."""

    run: str
    protocol: str
    method: str
    seed: int
    kind: str
    message: str
    step: int | None
    at: float | None
    host: str | None


def coverage(
    connection: "duckdb.DuckDBPyConnection", task: Task, catalog: "Catalog | None" = None
) -> list[Coverage]:
    """The task's protocols with runs, by name. `catalog`: see `suite.store.protocols.accepted`."""
    named = accepted(connection, task, catalog)
    result = connection.execute(
        statements("coverage"),
        {
            "task": task.name,
            "hashes": list(named),
            "evaluations": [task.evaluation_hash(protocol) for protocol in named.values()],
            "replicates": MIN_REPLICATES,
        },
    )
    found = []
    for row in _rows(result):
        today = named.get(row["protocol_hash"])
        if today is not None:
            # it may have been renamed since
            row |= {"protocol": today.name, "dataset": row["dataset"] or today.dataset.name}
        row["methods"] = tuple(row["methods"] or ())
        found.append(Coverage(current=today is not None, **row))
    return sorted(found, key=lambda one: (not one.current, one.protocol, one.protocol_hash))


def failures(connection: "duckdb.DuckDBPyConnection", most: int = 200) -> list[FailedRun]:
    """Runs that failed and are not finished since, the newest `most`."""
    names = ("run", "protocol", "method", "seed", "kind", "message", "step", "at", "host")
    rows = connection.execute(statements("failures"), {"most": most}).fetchall()
    made = [dict(zip(names, row, strict=True)) for row in rows]
    return [
        FailedRun(**{**row, "kind": row["kind"] or "unknown", "message": row["message"] or ""})
        for row in made
    ]


def refused(connection: "duckdb.DuckDBPyConnection", most: int = 200) -> list[tuple[str, str]]:
    """(path, reason) of files that are there and not in the store, at most `most`."""
    query = "SELECT path, reason FROM refused ORDER BY path LIMIT $most"
    return connection.execute(query, {"most": most}).fetchall()


def _rows(result: "duckdb.DuckDBPyConnection") -> Iterable[dict[str, Any]]:
    names = [column[0] for column in result.description]
    return (dict(zip(names, values, strict=True)) for values in result.fetchall())


def totals(found: Iterable[Coverage]) -> Mapping[str, int]:
    """Sums of the counts over protocols."""
    names = ("runs", "done", "unscored", "running", "failed", "stopped", "stale", "rows", "ranked")
    lines = list(found)
    return {name: sum(getattr(line, name) for line in lines) for name in names}
