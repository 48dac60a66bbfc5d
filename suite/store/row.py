"""A row of a board: runs that are replicates of each other, with their means.

Boards and rescored runs make rows; claims, every format and the dashboard show them. A row's JSON form is
`msgspec.to_builtins` of it: fields in this order.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from suite.records.states import RowState


class Cell(msgspec.Struct, frozen=True, gc=False):
    """Mean of a metric over a row's runs and its 95 % interval; all None where a run has no value."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


class MeanCost(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Means over a row's counted runs; `wall_seconds` with that of input runs. None without any."""

    parameters: float | None = None
    passes_per_step: float | None = None
    train_seconds: float | None = None
    wall_seconds: float | None = None
    gpu_hours: float | None = None
    peak_memory_bytes: float | None = None


COST = MeanCost.__struct_fields__
"""Names of the costs."""


class RowFailure(msgspec.Struct, frozen=True, kw_only=True):
    """What ended a replicate whose newest attempt failed."""

    run: str
    seed: int
    kind: str | None
    message: str | None
    step: int | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    Attributes:
        protocol, dataset: names; the hashes say what was run and how it was scored.
        inputs: role -> method of the input runs, None where these are not here.
        settings: the `--set` texts with which `run` makes runs of the row; None where nothing here can.
        digest: of the method's code; None where nothing has run.
        n: runs with this evaluation.
        state: see `suite.records.states.RowState`.
        rank: None where unranked. Never better than that of a row whose mean is better.
        groups: letters of the compact letter display: rows of a block that share a letter cannot be told apart.
        seeds_to_next: seeds that would tell the row from the next ranked one below it with probability 80 %, in
            all; at most `n` where they are told apart already, 1,001 for more than 1,000. None for the last
            ranked row and for unranked ones.
        test: what ranks the board, "moderated t" or "t" (fewer than five rows that vary); "" where it ranks none
            or one.
        flags: fairness flags of its runs, see `suite.define.flags`.
        runs, seeds: ids of all its runs, and their seeds, in the same order.
        metrics: metric key -> cell; final values, not by class.
    """

    task: str
    protocol: str
    protocol_hash: str
    evaluation_hash: str
    dataset: str | None
    method: str
    params: dict[str, Any]
    inputs: dict[str, str | None] = {}
    settings: list[str] | None = None
    digest: str | None = None
    n: int = 0
    state: RowState
    rank: int | None = None
    groups: str = ""
    seeds_to_next: int | None = None
    test: str = ""
    flags: list[str] = []
    failures: list[RowFailure] = []
    cost: MeanCost = MeanCost()
    runs: list[str] = []
    seeds: list[int] = []
    metrics: dict[str, Cell] = {}

    @property
    def block(self) -> tuple[str, str]:
        """What rows must share to be compared: protocol hash and evaluation hash."""
        return self.protocol_hash, self.evaluation_hash

    def cell(self, key: str) -> Cell:
        """The metric's cell, an empty one where the row has none."""
        return self.metrics.get(key, NO_CELL)


NO_CELL = Cell()


def inputs_text(inputs: Mapping[str, str | None]) -> str:
    """` (stage1=ce)`: the methods of a row's input runs; nothing for a row that has none."""
    named = ", ".join(f"{role}={of or 'unknown'}" for role, of in inputs.items())
    return f" ({named})" if named else ""
