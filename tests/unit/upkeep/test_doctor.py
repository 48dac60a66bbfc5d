"""`doctor`: every check against an environment made for it; none may raise, hang or lie."""

import errno
import importlib.metadata
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from fake_commands import commands
from findings import (
    _fresh_config,  # noqa: F401
    one,
    place,  # noqa: F401
    states,
)
from records import Records

from suite.base import settings
from suite.base.errors import DataError
from suite.upkeep.doctor import cluster, contents, data, environment, filesystem
from suite.upkeep.doctor.examine import CHECKS, examine
from suite.upkeep.doctor.finding import Finding, Place


# -- the frame
def test_a_check_that_breaks_or_hangs_is_a_line_and_costs_nothing_else(place):
    def breaks(place):
        yield Finding("first", "ok", "before")
        raise RuntimeError("line one\nline two")

    def exits(place):
        sys.exit(3)

    def hangs(place):
        yield Finding("hangs", "ok", "before")
        time.sleep(30)

    def fine(place):
        return [Finding("fine", "ok", "yes")]

    start = time.monotonic()
    checks = {"breaks": breaks, "exits": exits, "hangs": hangs, "fine": fine}
    found = examine(place, checks, seconds=0.3)
    assert time.monotonic() - start < 2
    assert states(found) == [
        ("first", "ok"),
        ("breaks", "problem"),
        ("exits", "problem"),
        ("hangs", "ok"),
        ("hangs", "problem"),
        ("fine", "ok"),
    ]
    assert "RuntimeError: line one line two" in found[1].text
    assert "has not answered for 0.3 s" in found[4].text


@pytest.mark.parametrize("name", [n for n in CHECKS if n not in ("imports", "catalog")])
def test_no_check_raises_whatever_lies_about(name, tmp_path, monkeypatch):
    home = tmp_path / "config" / "longtail-suite"
    home.mkdir(parents=True)
    (home / "config.toml").write_text("root = 3\n[")
    (home / "sites.toml").write_text("[lab]\nno such thing")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", "")
    weird = tmp_path / "results"
    (weird / "runs" / "0123456789ab").mkdir(parents=True)
    os.symlink("1", weird / "runs" / "0123456789ab" / "1")
    (weird / "jobs").write_text("a file")
    (weird / "store.duckdb").mkdir()
    a_file = tmp_path / "file"
    a_file.touch()
    for root in (None, weird, a_file, tmp_path / "x" / "y", Path("/proc/1/nowhere")):
        found = examine(Place(root=root, data_root=a_file), {name: CHECKS[name]})
        assert not [f for f in found if "cannot be looked at" in f.text], found
        assert all("\n" not in f.text for f in found)


# -- environment
def test_python_and_packages_are_held_against_what_is_declared(place, monkeypatch):
    assert states(environment.check_python(place)) == [("python", "ok")]
    assert one(environment.check_packages(place), "ok").text.startswith("torch ")
    monkeypatch.setattr(environment.platform, "python_version", lambda: "3.9.1")
    old = one(environment.check_python(place), "problem")
    assert "3.9.1" in old.text and ">=3.11" in old.todo

    declared = ["torch<0.2,>=0.1", "no-such-thing>=2", "streamlit>=1", 'pytest>=8; extra == "test"']
    real = importlib.metadata.version

    def version(name):
        if name == "streamlit":
            raise importlib.metadata.PackageNotFoundError
        return real(name)

    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    monkeypatch.setattr(importlib.metadata, "version", version)
    found = list(environment.check_packages(place))
    assert [(f.state, f.text.split()[0]) for f in found] == [
        ("warning", "torch"),
        ("problem", "no-such-thing"),
        ("warning", "streamlit"),
        ("ok", "torch"),
    ]
    assert found[1].todo == "pip install 'no-such-thing>=2'"


def test_a_suite_that_is_not_installed_says_how(place, monkeypatch):
    monkeypatch.setattr(environment, "DISTRIBUTION", "no-such-distribution")
    assert one(environment.check_python(place), "problem").todo == "pip install -e ."
    assert list(environment.check_packages(place)) == []


def test_a_plugin_that_cannot_be_read_is_a_problem(tmp_path):
    found = examine(Place(plugins=[tmp_path / "none.py"]), {"catalog": environment.check_catalog})
    assert states(found) == [("catalog", "problem")]
    assert "no such file" in found[0].text


# -- folders
def test_the_data_root_says_where_it_is_from(place, tmp_path, monkeypatch, fake):
    def root_of(given=None):
        found = list(data.check_data(Place(data_root=given)))
        assert any("fake-data (embedded)" in f.text for f in found)
        return found[0]

    assert root_of().state == "warning" and "none is set" in root_of().text
    config = tmp_path / "config" / "longtail-suite" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'data_root = "{tmp_path}"')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    settings.config.cache_clear()
    assert root_of().text == f"{tmp_path} (from {config})"
    monkeypatch.setenv("LONGTAIL_DATA", str(tmp_path / "gone"))
    assert (
        root_of().state == "problem" and "(from $LONGTAIL_DATA): no such folder" in root_of().text
    )
    assert root_of(tmp_path).text == f"{tmp_path} (from --data-root)"


def test_embedded_data_of_a_package_that_is_not_installed(place, monkeypatch):
    def find(cache):
        raise DataError("cells are not installed")

    found = {
        "cells": SimpleNamespace(embedded=True, find=find),
        "digits": SimpleNamespace(embedded=True, find=lambda cache: cache),
    }
    catalog = SimpleNamespace(datasets=lambda: found)
    monkeypatch.setattr(data, "catalog_of", lambda place: catalog)
    texts = [finding.text for finding in data.check_data(place)]
    assert texts[1:] == ["here: digits (embedded)", "not here: cells"]


def test_the_root_is_written_to_and_left_as_it_was(place, tmp_path):
    found = list(filesystem.check_root(place))
    assert states(found)[:2] == [("root", "ok"), ("locks", "ok")]
    assert list(tmp_path.iterdir()) == []
    absent = one(filesystem.check_root(Place(root=tmp_path / "a" / "b")), "ok")
    assert "can be made" in absent.text and list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_be_written_is_a_problem(place, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(filesystem.os, "fsync", full)
    assert "No space left" in one(filesystem.check_root(place), "problem").text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flock", "says"),
    [
        (lambda *_: None, "two processes get the same lock"),
        (OSError(errno.ENOLCK, "No locks available"), "has no locks"),
        (OSError(errno.EIO, "Input/output error"), "has no locks (Input/output error)"),
    ],
)
def test_locks_that_do_not_work_are_told(place, monkeypatch, flock, says):
    def call(*_):
        if isinstance(flock, OSError):
            raise flock

    monkeypatch.setattr(filesystem.fcntl, "flock", call)
    assert says in one(filesystem.check_root(place), "warning").text


def test_a_slow_disk_and_a_full_one_are_told(place, tmp_path, monkeypatch):
    monkeypatch.setattr(filesystem, "SLOW_FSYNC_SECONDS", -1.0)
    assert states(filesystem.check_root(place))[2] == ("fsync", "warning")
    free = filesystem.shutil.disk_usage(tmp_path).free
    monkeypatch.setattr(filesystem, "SMALL_SHM_BYTES", 0)
    for low, full, state in ((0, 0, "ok"), (2 * free, 0, "warning"), (0, 2 * free, "problem")):
        monkeypatch.setattr(filesystem, "LOW_BYTES", low)
        monkeypatch.setattr(filesystem, "FULL_BYTES", full)
        assert [f.state for f in filesystem.check_disk(place)] == [state]


# -- what lies in the root
def test_leftovers_and_runs_that_claim_to_run(place, tmp_path):
    board = Records(tmp_path)
    assert [f.state for f in contents.check_leftovers(place)] == ["ok"]
    done = board.run("done", mIoU=0.5)
    board.unfinished("alive")
    assert one(contents.check_runs(place), "ok").text == "2 with a folder, 1 of them running"
    (done.path / "checkpoint").mkdir()
    (done.path / "checkpoint" / "state").write_bytes(b"x" * (1 << 20))
    left = one(contents.check_leftovers(place), "warning")
    assert left.text == "1 left by killed processes, 1.0 MiB"
    assert left.todo == f"python -m suite prune --checkpoints --root {tmp_path}"
    dead = board.unfinished("dead", beat=1000.0)
    in_job = board.unfinished("in-job", beat=1000.0)
    in_job.write_status(msgspec.structs.replace(in_job.status(), job="17"))
    board.unfinished("failed", failure="nan", beat=1000.0)
    board.unfinished("nameless", state="failed").path.joinpath("spec.json").write_bytes(b"")
    orphan, job, nameless = contents.check_runs(place)
    assert dead.run_id in orphan.text and "python -m suite retry" in orphan.todo
    assert in_job.run_id in job.text and "python -m suite status" in job.todo
    assert "1 have no readable spec.json" in nameless.text


def test_the_store_is_held_against_the_files(place, tmp_path):
    board = Records(tmp_path)
    assert one(contents.check_store(place), "ok").text == "none yet, and nothing to put into it"
    board.run("ce", mIoU=0.5)
    assert "python -m suite ingest" in one(contents.check_store(place), "warning").todo
    board.ingest()
    assert "up to date with 2 file(s)" in one(contents.check_store(place), "ok").text
    gone = board.run("focal", mIoU=0.5)
    assert "2 file(s) have changed" in one(contents.check_store(place), "warning").text
    (gone.path / "record.json").write_bytes(b"{")
    board.ingest()
    refused = one(contents.check_store(place), "warning")
    assert refused.text.startswith(f"1 file(s) refused, such as runs/{gone.run_id}/1/record.json")


def test_a_damaged_store_is_a_problem(place, tmp_path):
    board = Records(tmp_path)
    board.run("ce", mIoU=0.5)
    board.ingest()
    path = tmp_path / "store.duckdb"
    whole = path.read_bytes()
    path.write_bytes(b"not a store")
    assert one(contents.check_store(place), "problem").todo.startswith(
        "python -m suite ingest --rebuild"
    )
    path.write_bytes(whole[: len(whole) // 2])
    found = list(contents.check_store(place))
    assert one(found, "problem").todo.startswith("python -m suite ingest --rebuild"), found
    path.write_bytes(whole)
    assert states(contents.check_store(place)) == [("store", "ok")]


def test_no_slurm_is_no_fault(place, tmp_path, monkeypatch):
    commands(tmp_path / "bin", monkeypatch)
    assert states(cluster.check_slurm(place)) == [("slurm", "ok")]
    commands(tmp_path / "half", monkeypatch, sbatch="")
    assert "no squeue, sinfo on PATH" in one(cluster.check_slurm(place), "warning").text
