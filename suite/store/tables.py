"""Rows into the tables of sql/schema.sql, and for statements to read: never as text in a statement.

As Arrow data where there may be many. Small ones go as parameters: DuckDB imports pandas to take Arrow data, which
takes longer than what most commands do.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import duckdb

from suite.store.connection import duckdb_config, statements

if TYPE_CHECKING:
    import pyarrow as pa

LISTED = 20_000
"""Rows of a table that are given as parameters."""


def arrow_table(types: Mapping[str, str], columns: Iterable[Iterable[Any]]) -> "pa.Table":
    """Arrow table. `types`: column -> its DuckDB type in sql/schema.sql, in order.

    Raises OverflowError or pyarrow.ArrowInvalid if a value does not fit its column.
    """
    import pyarrow as pa

    arrow = {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "VARCHAR[]": pa.list_(pa.string()),
    }
    pairs = zip(types.items(), columns, strict=True)
    return pa.table({name: pa.array(column, arrow[kind]) for (name, kind), column in pairs})


@cache
def columns_of(name: str) -> dict[str, str]:
    """Column -> type of a table in schema.sql, by DuckDB's own reading of it."""
    with duckdb.connect(":memory:", config=duckdb_config()) as connection:
        connection.execute(statements("schema"))
        rows = connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? "
            "ORDER BY column_index",
            [name],
        ).fetchall()
    return dict(rows)


def insert(
    connection: duckdb.DuckDBPyConnection, name: str, columns: Iterable[Iterable[Any]]
) -> None:
    """Append to a table of schema.sql. `name` is ours; what the rows hold travels as Arrow data."""
    connection.register("incoming", arrow_table(columns_of(name), columns))
    connection.execute(f"INSERT INTO {name} SELECT * FROM incoming")
    connection.unregister("incoming")


def insert_rows(
    connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    if rows:
        insert(connection, name, zip(*rows, strict=True))


@contextmanager
def given(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    types: Mapping[str, str],
    rows: Sequence[Sequence[Any]],
) -> Iterator[None]:
    """A table that the statements of the block may read. `types`: column -> DuckDB type, in order."""
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
    columns = columns or [[] for _ in types]
    if len(rows) > LISTED:
        connection.register(name, arrow_table(types, columns))
    else:
        cells = ", ".join(f"unnest(?::{kind}[]) AS {column}" for column, kind in types.items())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {cells}", columns)
    # not in a `finally`: after an error the connection takes nothing more, and is closed anyway
    yield
    if len(rows) > LISTED:
        connection.unregister(name)
    else:
        connection.execute(f"DROP TABLE {name}")
