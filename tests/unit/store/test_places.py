"""Where a store can be kept: roots that may only be read, file systems without locks, odd paths."""

import errno
import fcntl
import os
import shutil
import struct

import duckdb
import pytest
from records import Records
from stored import (
    board,  # noqa: F401
    everything,
    query,
)

from suite.base.errors import UserError
from suite.store import connection, ingest, read_files, scan, tables
from suite.store.connection import connect, places, store_path

pytestmark = pytest.mark.slow


def attempts(board):
    return query(board, "SELECT count(*) FROM attempts")[0][0]


def read_only(patch, folder, number=errno.EACCES):
    """Nothing may be written below the folder, not even by root."""
    opened, access = ingest.open_lock, os.access

    def locked(path):
        if folder in path.parents and not path.exists():
            raise OSError(number, os.strerror(number))
        return opened(path)

    patch.setattr(ingest, "open_lock", locked)
    patch.setattr(os, "access", lambda path, mode: path != folder and access(path, mode))


def snapshot(folder):
    return {str(p): p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_results_that_may_only_be_read_have_a_board(board, monkeypatch, number):
    board.seeds("ce", [0.30, 0.31, 0.32])
    board.ingest()
    own, kept = places(board.root)
    read_only(monkeypatch, board.root, number)
    before = snapshot(board.root)
    # up to date: what lies there
    assert not board.ingest().changed
    assert store_path(board.root).parent == own and attempts(board) == 3
    # not any more: one of one's own, from what is there
    board.seeds("la", [0.40, 0.41])
    before |= snapshot(board.root)
    report = board.ingest()
    assert (report.changed, report.rebuilt, report.attempts) == (True, False, 5)
    assert store_path(board.root).parent == kept and attempts(board) == 5
    assert not board.ingest().changed
    assert board.ingest(rebuild=True).rebuilt
    assert snapshot(board.root) == before


def test_a_root_without_a_store_or_a_lock_that_may_only_be_read(board, monkeypatch):
    board.seeds("ce", [0.30, 0.31, 0.32])
    read_only(monkeypatch, board.root)
    assert board.ingest().rebuilt
    assert attempts(board) == 3
    assert sorted(path.name for path in board.root.iterdir()) == [".changed", "runs"]


def test_a_root_that_can_be_written_again_has_its_own_store(board):
    board.seeds("ce", [0.30, 0.31])
    with pytest.MonkeyPatch.context() as patch:
        read_only(patch, board.root)
        board.ingest()
    own, kept = places(board.root)
    assert store_path(board.root).parent == kept
    board.ingest()
    assert store_path(board.root).parent == own and not kept.exists()


def test_where_not_even_the_cache_can_be_written_it_is_one_line(board, monkeypatch):
    board.seeds("ce", [0.30, 0.31])
    read_only(monkeypatch, board.root)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(UserError, match=r"may only be read, and /proc/nowhere.* XDG_CACHE_HOME"):
        board.ingest()


def test_runs_that_may_not_be_read_are_no_empty_board(board, monkeypatch):
    board.seeds("ce", [0.30, 0.31])
    run = next((board.root / "runs").iterdir())
    listed = os.scandir

    def refused(path):
        if os.fspath(path).rstrip("/") == str(run):
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(path)

    monkeypatch.setattr(scan.os, "scandir", refused)
    report = board.ingest()
    assert report.attempts == 1
    assert report.refused == (
        read_files.Refused(f"runs/{run.name}/", "may not be read by this user"),
    )
    run = board.root / "runs"
    with pytest.raises(UserError, match="runs: cannot be read"):
        board.ingest()


# -- file systems without locks, paths that DuckDB takes for something else


def test_a_store_that_cannot_be_locked_is_read_from_a_copy(board):
    board.seeds("ce", [0.30, 0.31])
    board.ingest()
    with open(store_path(board.root), "rb+") as file:
        # another's lock, as far as DuckDB can tell
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, whole)
        assert attempts(board) == 2
        assert not board.ingest().changed
        board.run("la", mIoU=0.5)
        assert board.ingest().attempts == 3
    assert attempts(board) == 3


@pytest.fixture
def no_locks(board, monkeypatch):
    """DuckDB as it is below a root whose file system has no locks."""
    opened = duckdb.connect

    def connect(path, **options):
        if path.startswith(str(board.root)):
            raise duckdb.IOException(
                f'Could not set lock on file "{path}": Function not implemented'
            )
        return opened(path, **options)

    monkeypatch.setattr(ingest.duckdb, "connect", connect)


def test_a_store_where_nothing_can_be_locked_is_made_elsewhere(board, no_locks):
    board.seeds("ce", [0.30, 0.31, 0.32])
    assert board.ingest().rebuilt
    board.run("la", mIoU=0.5)
    report = board.ingest()
    assert (report.rebuilt, report.read) == (False, 2)
    assert attempts(board) == 4
    assert not list(board.root.glob("store.duckdb.*"))


ODD = [
    "what?",
    "back\\slash",
    "it's",
    'a "b"',
    "new\nline",
    "a;b",
    "%20",
    "#1",
    "[x]*",
    "-x",
    "\udcff",
]


@pytest.mark.parametrize("name", ODD)
def test_a_path_of_whatever_letters_has_a_store(tmp_path, name):
    try:
        board = Records(tmp_path / name / "r")
        board.seeds("ce", [0.30, 0.31, 0.32])
    except (OSError, UnicodeError):
        pytest.skip("no such name on this file system")
    assert board.ingest().rebuilt
    board.run("la", mIoU=0.5)
    assert board.ingest().attempts == attempts(board) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert not list(board.root.glob("store.duckdb.*"))


def test_damage_is_told_by_the_stores_own_name(board):
    board.seeds("ce", [0.30, 0.31])
    board.ingest()
    store_path(board.root).write_bytes(b"not a database" * 100)
    with pytest.raises(UserError) as caught:
        connect(board.root)
    assert str(store_path(board.root)) in str(caught.value)
    assert "longtail-store-" not in str(caught.value)


def test_no_room_for_a_copy_leaves_the_first_error(board, monkeypatch):
    board.seeds("ce", [0.30, 0.31])
    board.ingest()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(connection.shutil, "copyfile", full)
    monkeypatch.setattr(connection, "can_name", lambda path: False)
    with pytest.raises(UserError, match="DuckDB cannot name"):
        connect(board.root)


def test_few_and_many_rows_are_given_alike(board, monkeypatch):
    board.seeds("ce", [0.30, 0.31, 0.32])
    board.seeds("la", [0.40, None])
    board.ingest()
    listed = everything(board)
    monkeypatch.setattr(tables, "LISTED", 0)
    board.ingest(rebuild=True)
    assert everything(board) == listed
    shutil.rmtree(next((board.root / "runs").iterdir()))
    assert board.ingest().attempts == 4
