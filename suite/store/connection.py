"""The store as readers see it: a read-only snapshot, and the named queries of `sql/`."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import duckdb

from suite.base.command import Command
from suite.base.errors import UserError

STORE_SCHEMA = 4
"""Version of the tables. A store of another version is rebuilt from the files."""


def store_path(root: Path) -> Path:
    return root / "store.duckdb"


def connect(root: Path) -> duckdb.DuckDBPyConnection:
    """Read-only connection to the store as it is now; later ingests do not reach it.

    Raises UserError where there is no store, or one that is damaged or of another version.
    """
    path = store_path(root)
    if not path.exists():
        raise UserError(f"{path}: no store yet; type `{Command('ingest')}` or `run` first")
    try:
        connection, problem = attach(path)
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: damaged ({first}); type `{Command('ingest')}`") from None
    if problem:
        connection.close()
        raise UserError(f"{path}: {problem}; type `{Command('ingest')}`")
    return connection


def cost_by_method(
    connection: duckdb.DuckDBPyConnection, protocol_hash: str, gpu: bool | None = None
) -> dict[str, tuple[float, int]]:
    """Method -> (mean wall seconds, largest peak memory in bytes) of the counted runs under a
    protocol, over all parameters; `gpu`: only runs on a GPU, or only runs without."""
    query = statements("cost_by_method")
    rows = connection.execute(query, {"protocol_hash": protocol_hash, "gpu": gpu}).fetchall()
    return {method: (seconds, memory) for method, seconds, memory in rows}


@cache
def statements(name: str) -> str:
    """Text of `sql/<name>.sql`."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def duckdb_config() -> dict[str, str | bool | int | float | list[str]]:
    # a store is local files only: DuckDB must never look for an extension on the network
    return {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "threads": str(min(4, os.cpu_count() or 1)),
    }


def attach(path: Path) -> tuple[duckdb.DuckDBPyConnection, str | None]:
    """A connection that reads `path`, and what is wrong with its version. Raises duckdb.Error."""
    # Attached to a database of its own: `duckdb.connect(path)` hands every connection of a process
    # the file that the first one opened, so a long-lived reader would never see a newer snapshot.
    connection = duckdb.connect(":memory:", config=duckdb_config())
    try:
        connection.execute("ATTACH ? AS store (READ_ONLY)", [os.fspath(path.absolute())])
        connection.execute("USE store; SET enable_external_access = false")
        rows = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchall()
    except duckdb.Error:
        connection.close()
        raise
    version = rows[0][0] if rows else "unknown"
    if version == str(STORE_SCHEMA):
        return connection, None
    return connection, f"store version {version}, this suite reads {STORE_SCHEMA}"


@contextmanager
def no_collection() -> Iterator[None]:
    """Without looking for cycles: rows by the hundred thousand hold none, and it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
