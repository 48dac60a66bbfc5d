"""A task's runs as the store has them, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suite.define.task import Task
from suite.records.states import StoredState
from suite.store.connection import statements
from suite.store.protocols import accepted

if TYPE_CHECKING:
    import duckdb

    from suite.define.catalog import Catalog


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
    catalog: Catalog | None = None,
) -> tuple[list[ListedRun], int]:
    """The newest `most` runs under the task's protocols, and how many there are.

    Args:
        protocol: the name of the only one.
        method: a part of the method's name, in any case.
        states: of `records.states.STORED_STATES`; none for all.
        catalog: see `suite.store.protocols.accepted`.
    """
    if protocol is None:
        named = {hash_: one.name for hash_, one in accepted(connection, task, catalog).items()}
    else:
        only = task.protocols.get(protocol)
        named = {only.hash: only.name} if only is not None else {}
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
