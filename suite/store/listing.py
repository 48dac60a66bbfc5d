"""A task's runs as the store has them, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suite.define.task import Task
from suite.records.states import StoredState
from suite.store.connection import statements

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class ListedRun:
    """A run as its newest attempt is; `seen` is when it was last heard of, in Unix seconds."""

    run: str
    protocol: str
    method: str
    params: str
    seed: int
    attempt: int
    state: StoredState
    seen: float | None


def newest_runs(
    connection: duckdb.DuckDBPyConnection,
    task: Task,
    *,
    protocol: str | None = None,
    method: str = "",
    states: Sequence[str] = (),
    most: int = 200,
) -> tuple[list[ListedRun], int]:
    """The newest `most` runs under the task's protocols, and how many there are.

    Args:
        protocol: the name of the only one.
        method: a part of the method's name, in any case.
        states: of `records.states.STORED_STATES`; none for all.
    """
    named = {one.hash: one.name for one in task.protocols if protocol in (None, one.name)}
    result = connection.execute(
        statements("newest_runs"),
        {
            "hashes": list(named),
            "method": method.lower(),
            "states": list(states) or None,
            "most": most,
        },
    )
    rows = result.fetchall()
    found = [ListedRun(run, named[protocol_hash], *rest) for run, protocol_hash, *rest, _ in rows]
    return found, rows[0][-1] if rows else 0
