"""What pages read: the command line's root and plug-ins, the catalog, and the store's snapshot.

What a page reads of the store is kept until another snapshot is swapped in, and is shared by all sessions:
it must not be changed.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import duckdb
import streamlit as st

from suite.base import command, settings
from suite.boards import leaderboard
from suite.define.catalog import Catalog
from suite.define.task import Task
from suite.store.connection import connect, store_path
from suite.store.coverage import Coverage, FailedRun
from suite.store.coverage import coverage as read_coverage
from suite.store.coverage import failures as read_failures
from suite.store.coverage import refused as read_refused
from suite.store.row import Row

Stamp = tuple[int, int]

# a wrapper that keeps what it returns, as it is, for each combination of arguments: the first of them is
# always a snapshot's stamp
kept = st.cache_resource(show_spinner=False, max_entries=64)


@cache
def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--plugin", type=Path, action="append", default=[])
    parser.add_argument("--say-root", action="store_true")
    parser.add_argument("--data-root", type=Path)
    return parser.parse_args(sys.argv[1:])


def answer_the_call() -> None:
    """Have all commands on the pages say what the server's own said of folders and plug-ins."""
    given = _given()
    root = given.root if given.say_root else None
    command.answer(command.Call(root, given.data_root, given.plugin))


def root() -> Path:
    """The results folder."""
    path: Path = _given().root
    return path


def plugins() -> list[Path]:
    """Files with methods of the user's own."""
    paths: list[Path] = _given().plugin
    return paths


def data_root() -> Path | None:
    """Folder of the data sets: of the command line, else as commands find it; None where none is named."""
    return settings.data_root(_given().data_root, here=False)


@st.cache_resource(show_spinner=False)
def _installed() -> Catalog:
    return Catalog.load(plugins())


def catalog() -> Catalog:
    """Tasks and methods, as they were when the server started, and the protocols brought to the root."""
    return _installed().at(root())


def stamp() -> Stamp | None:
    """Which snapshot the store is now; None where there is none."""
    return stamp_of(root())


def stamp_of(folder: Path) -> Stamp | None:
    """The same for the results folder given."""
    try:
        found = os.stat(store_path(folder))
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def current() -> Stamp:
    """The snapshot that pages read. Raises UserError where there is none, see `suite.store.connection.connect`."""
    found = stamp()
    if found is None:
        connect(root()).close()  # it says what to type
    return found or (0, 0)


@st.cache_resource(show_spinner=False, max_entries=2)
def _opened(stamp: Stamp) -> duckdb.DuckDBPyConnection:
    """One for all sessions: to open a large store takes as long as to read a board."""
    return connect(root())


@contextmanager
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """The store, read-only. Raises UserError: none yet, damaged, of another version."""
    opened = _opened(current()).cursor()
    try:
        opened.execute("USE store")
        yield opened
    finally:
        opened.close()


def task(name: str) -> Task:
    return catalog().task(name)


def coverage(name: str) -> list[Coverage]:
    """The task's protocols with runs."""
    return _coverage(current(), name)


@kept
def _coverage(stamp: Stamp, name: str) -> list[Coverage]:
    with connection() as store:
        return read_coverage(store, task(name), catalog())


def failures() -> list[FailedRun]:
    return _failures(current())


@kept
def _failures(stamp: Stamp) -> list[FailedRun]:
    with connection() as store:
        return read_failures(store)


def refused() -> list[tuple[str, str]]:
    """(path, reason) of the files that the store refused."""
    return _refused(current())


@kept
def _refused(stamp: Stamp) -> list[tuple[str, str]]:
    with connection() as store:
        return read_refused(store)


def board(name: str, protocol: str, by: str) -> list[Row]:
    """Rows of a task under the protocol of that name, see `suite.boards.leaderboard.board`."""
    return _board(current(), name, protocol, by)


@kept
def _board(stamp: Stamp, name: str, protocol: str, by: str) -> list[Row]:
    of = task(name)
    known = of.protocols.get(protocol)
    planned: Sequence[leaderboard.Planned] = ()
    if known is not None:
        planned = leaderboard.rows_to_come(catalog(), of, known)
    # which code is today's, the store says: it is brought up to date by a process that reads it anew
    with connection() as store:
        return leaderboard.board(
            root(),
            of,
            protocol=protocol,
            by=by,
            today={},
            planned=planned,
            store=store,
            catalog=catalog(),
        )
