"""The store as readers see it: a read-only snapshot, and the named queries of `sql/`."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import duckdb

from suite.base.command import Command
from suite.base.errors import UserError
from suite.base.settings import cache_dir

STORE_SCHEMA = 4
"""Version of the tables. A store of another version is rebuilt from the files."""


STORE = "store.duckdb"


def store_path(root: Path) -> Path:
    """The store of a results root: beside its runs, or in the user's cache where nothing may be written
    there and what is there is not up to date (`suite.store.ingest`)."""
    own, kept = places(root)
    return kept / STORE if (kept / STORE).exists() else own / STORE


def places(root: Path) -> tuple[Path, Path]:
    """Folders where the store of a results root may lie: its own, the user's."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
    return root, cache_dir() / "stores" / name


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
        _attach_or_copy(connection, path)
        connection.execute("USE store; SET enable_external_access = false")
        rows = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchall()
    except duckdb.Error:
        connection.close()
        raise
    version = rows[0][0] if rows else "unknown"
    if version == str(STORE_SCHEMA):
        return connection, None
    return connection, f"store version {version}, this suite reads {STORE_SCHEMA}"


def _attach_or_copy(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        _attach(connection, path)
    except duckdb.Error as error:
        try:
            with copied(path) as copy:
                # stays open, and so readable, without a name
                _attach(connection, copy)
        except duckdb.Error:
            raise error from None


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    if not can_name(path):
        raise duckdb.IOException(f"DuckDB cannot name {path}")
    name = os.fspath(path.absolute()).replace("'", "''")
    # no parameter: DuckDB before 2 takes none here
    connection.execute(f"ATTACH '{name}' AS store (READ_ONLY)")


def can_name(path: Path) -> bool:
    """Whether DuckDB takes the path for what it is: `?` begins what it takes for options, a backslash a
    folder, and it knows no bytes that are no UTF-8."""
    text = os.fspath(path)
    return "?" not in text and "\\" not in text and text == text.encode(errors="replace").decode()


@contextmanager
def copied(path: Path | None) -> Iterator[Path]:
    """A store in the system's folder for temporary files, where files can be locked and have plain names:
    DuckDB opens none without a lock, and not every shared file system has those. A copy of `path`, if it
    is given; gone after the block. Raises duckdb.IOException where there is no room for it."""
    with tempfile.TemporaryDirectory(prefix="longtail-store-") as folder:
        copy = Path(folder) / STORE
        if path is not None:
            try:
                shutil.copyfile(path, copy)
            except OSError as error:
                raise duckdb.IOException(f"{path}: {error.strerror}") from None
        yield copy


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
