"""Rows into the tables of sql/schema.sql: as Arrow data, never as text in a statement."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import duckdb

from suite.store.connection import duckdb_config, statements

if TYPE_CHECKING:
    import pyarrow as pa


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
    with registered(connection, "incoming", arrow_table(columns_of(name), columns)):
        connection.execute(f"INSERT INTO {name} SELECT * FROM incoming")


def insert_rows(
    connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    if rows:
        insert(connection, name, zip(*rows, strict=True))


def text_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> "pa.Table":
    columns: Iterable[Any] = zip(*rows, strict=True) if rows else [()] * len(names)
    return arrow_table(dict.fromkeys(names, "VARCHAR"), columns)


@contextmanager
def registered(
    connection: duckdb.DuckDBPyConnection, name: str, content: "pa.Table"
) -> Iterator[None]:
    connection.register(name, content)
    # not in a `finally`: after an error the connection takes nothing more, and is closed anyway
    yield
    connection.unregister(name)
