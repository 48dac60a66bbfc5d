"""The board as a typed table: one line per row, as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from suite.base.canonical import canonical
from suite.render.grid import ALL
from suite.render.view import CHOSEN, View
from suite.store.row import COST, Row

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("task", "protocol", "protocol_hash", "evaluation_hash", "dataset", "method")


def table(rows: Sequence[Row], view: View = ALL) -> pa.Table:
    """Rows and columns as in the CSV, typed: texts, counts, and float64 with nulls for metrics and costs.

    Flags are lists; failures are JSON. Texts are as stored, not escaped.
    """
    import msgspec
    import pyarrow as pa

    rows = view.rows(rows)
    columns: dict[str, pa.Array] = {}
    for name in TEXTS:
        columns[name] = pa.array([getattr(row, name) for row in rows], pa.string())
    columns["params"] = pa.array([canonical(row.params).decode() for row in rows], pa.string())
    columns["inputs"] = pa.array([canonical(row.inputs).decode() for row in rows], pa.string())
    columns["digest"] = pa.array([row.digest for row in rows], pa.string())
    columns["state"] = pa.array([row.state for row in rows], pa.string())
    for column, name in CHOSEN.items():
        if view.shows(column):
            kind = pa.string() if column in ("tied", "test") else pa.int64()
            columns[name] = pa.array([getattr(row, name) for row in rows], kind)
    if view.shows("flags"):
        columns["flags"] = pa.array([row.flags for row in rows], pa.list_(pa.string()))
    failures = [msgspec.json.encode(row.failures).decode() for row in rows]
    columns["failures"] = pa.array(failures, pa.string())
    columns["runs"] = pa.array([row.runs for row in rows], pa.list_(pa.string()))
    for name in COST if view.shows("cost") else ():
        columns[name] = pa.array([getattr(row.cost, name) for row in rows], pa.float64())
    for key in view.metrics(rows):
        cells = [row.cell(key) for row in rows]
        for bound, end in (("mean", ""), ("low", " low"), ("high", " high")):
            columns[key + end] = pa.array([getattr(cell, bound) for cell in cells], pa.float64())
    return pa.table(columns)


def parquet(table: pa.Table) -> bytes:
    """The file; equal tables give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
