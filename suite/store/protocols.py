"""Which of a task's protocols have runs: what a board needs to know of protocols, and all that is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.store.connection import statements

if TYPE_CHECKING:
    import duckdb

    from suite.define.catalog import Catalog


def accepted(
    connection: duckdb.DuckDBPyConnection,
    task: Task,
    catalog: Catalog | None = None,
    rows: Sequence[int] | None = None,
) -> dict[str, Protocol]:
    """Hash -> protocol of today, of the protocols with runs in the store that the task accepts.

    Args:
        catalog: knows the protocols of other tasks, whose runs the store holds too; without it, all of the
            task's are built to know that such a run is under none of them.
        rows: ids of the only rows to look at; None for all.
    """
    found = {}
    names = connection.execute(statements("protocol_names"), {"rows": rows}).fetchall()
    for hash_, known_as in names:
        protocol = (
            task.protocols.with_hash(hash_, *known_as)
            if catalog is None
            else catalog.accepted(task, hash_, *known_as)
        )
        if protocol is not None:
            found[hash_] = protocol
    return found
