"""The whole board that two rows stand on: its test borrows the spread of all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.define.catalog import Catalog
from suite.define.task import Task
from suite.stats.ranking import Board
from suite.stats.tests import MIN_REPLICATES
from suite.store.connection import connect
from suite.store.ranking import sample
from suite.store.rows import Side, read_rows


@dataclass(frozen=True)
class WholeBoard:
    """The ranked rows of a block. `position` maps the id of a row to its place in `board`."""

    board: Board
    position: Mapping[int, int]

    def pair(self, a: Side, b: Side) -> tuple[int, int] | None:
        """Where the two are in `board`; None unless both are ranked."""
        if a.row_id not in self.position or b.row_id not in self.position:
            return None
        return self.position[a.row_id], self.position[b.row_id]


def whole_boards(
    root: Path, catalog: Catalog, task: Task, key: str, pairs: Sequence[tuple[Side, Side]]
) -> dict[str, WholeBoard]:
    """Protocol hash -> the board of the metric key, for the protocols of these pairs."""
    hashes = list(dict.fromkeys(a.protocol_hash for a, _ in pairs))
    if not hashes:
        return {}
    with connect(root) as connection:
        rows = read_rows(connection, task, key, hashes=hashes, catalog=catalog)
    under: dict[str, list[Side]] = {}
    for row in rows:
        under.setdefault(row.protocol_hash, []).append(row)
    return {name: _whole(members) for name, members in under.items()}


def _whole(rows: Sequence[Side]) -> WholeBoard:
    samples = {
        row.row_id: sample(
            [run.seed for run in row.runs],
            [run.run_id for run in row.runs],
            [run.value for run in row.runs],
        )
        for row in rows
    }
    ranked = {id_: values for id_, values in samples.items() if len(values) >= MIN_REPLICATES}
    board = Board(list(ranked.values()))
    return WholeBoard(board, {id_: at for at, id_ in enumerate(ranked)})
