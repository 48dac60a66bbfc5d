"""One line per run and metric: what a re-analysis starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite.base.text import csv_text
from suite.define.metrics import split_key
from suite.store.connection import connect, statements

if TYPE_CHECKING:
    import pyarrow as pa

    from suite.render.export import Export


def read(content: Export) -> pa.Table:
    """Every metric value of the runs behind the board: per subset, class and step, as stored.

    `step` is null for the final model, `value` where it is undefined. Of a run with no evaluation there
    is one line with its `state` and `failure`. `today` tells whether it was made by today's code.
    Only runs of rows that are shown, and metrics that are. Texts are as stored. Raises UserError: no store.
    """
    task, view = content.task, content.view
    shown = {row.protocol_hash: row.protocol for row in content.rows}
    accepted = [task.protocols.with_hash(*one) for one in shown.items()]
    names = {protocol.hash: protocol.name for protocol in accepted if protocol is not None}
    connection = connect(content.root)
    try:
        made = connection.sql(
            statements("export_long"),
            params={
                "task": task.name,
                "hashes": list(names),
                "names": list(names.values()),
                "shown": sorted(shown),
            },
        )
        table = made.to_arrow_table()
    finally:
        connection.close()
    if view.methods:
        runs = {run for row in content.rows if view.has(row) for run in row.runs}
        table = table.filter([run in runs for run in table["run"].to_pylist()])
    if view.columns:
        keys = {split_key(column) for column in view.columns}
        pairs = zip(table["metric"].to_pylist(), table["subset"].to_pylist(), strict=True)
        # of a run without a score, the line that says so stays
        table = table.filter([pair[0] is None or pair in keys for pair in pairs])
    return table


def csv(table: pa.Table) -> bytes:
    """Texts that a spreadsheet would take for a formula get an apostrophe, controls are spelled out."""
    import pyarrow as pa
    import pyarrow.csv

    columns = []
    for column in table.columns:
        if pa.types.is_string(column.type):
            # a million lines hold few different texts: each is escaped once
            coded = column.combine_chunks().dictionary_encode()
            if isinstance(coded, pa.ChunkedArray):
                coded = coded.combine_chunks()
            texts = [csv_text(text) for text in coded.dictionary.to_pylist()]
            column = pa.array(texts, pa.string()).take(coded.indices)
        columns.append(column)
    sink = pa.BufferOutputStream()
    head = ",".join(table.column_names) + "\n"
    sink.write(head.encode())
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")
    pa.csv.write_csv(pa.table(columns, table.column_names), sink, options)
    content: bytes = sink.getvalue().to_pybytes()
    return content
