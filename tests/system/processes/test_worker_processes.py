"""Runs in processes of their own."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from assigned import (
    assign,
    catalog,  # noqa: F401
)

from suite.records.lease import run_lock
from suite.runs.worker import execute

pytestmark = pytest.mark.usefixtures("fake")


def _hold(root, run_id, held, release):
    with run_lock(Path(root), run_id) as mine:
        assert mine
        held.set()
        release.wait(30)


def test_a_run_held_by_another_process_is_busy(catalog, tmp_path):
    _, assignment = assign(catalog, tmp_path)
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    arguments = (str(tmp_path), assignment.spec.run_id, held, release)
    process = context.Process(target=_hold, args=arguments)
    process.start()
    assert held.wait(120)
    assert execute(assignment, catalog).state == "busy"
    release.set()
    process.join()
    assert execute(assignment, catalog).state == "done"


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_disk_full_while_writing_loses_nothing(catalog, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        item, assignment = assign(catalog, disk, checkpoint_seconds=0.0)
        filler = disk / "filler"
        item.attempt.create(item.spec)
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 512)
            except OSError:
                pass
        report = execute(assignment, catalog)
        assert report.state == "failed"
        assert report.failure.kind == "disk"
        assert [path for path in disk.rglob("*.tmp") if path.is_file()] == []
        filler.unlink()
        _, assignment = assign(catalog, disk)
        assert execute(assignment, catalog).state == "done"
        json.loads((item.attempt.path / "record.json").read_bytes())
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_worker_needs_neither_torch_nor_scipy_for_the_harness(tmp_path):
    code = (
        "import sys, suite.runs.worker, suite.runs.plan, suite.define.catalog, suite.dispatch.carry_out;"
        "suite.define.catalog.Catalog.load().code;"
        "print([m for m in ('torch', 'scipy', 'mmengine', 'mmseg') if m in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"
