"""Pruning among processes that live, die and are killed."""

import os
import platform
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from prunable import (
    Today,
    board,  # noqa: F401
    fill,
)
from records import Records

from suite.records.attempt import attempts
from suite.store.connection import connect
from suite.upkeep.prune import temporary as leftovers
from suite.upkeep.prune.removal import remove
from suite.upkeep.prune.survey import (
    survey,
    survey_temporary,
)


def dead_pid():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def temporary(folder, name="record.json", host=None, pid=None, age=120.0):
    folder.mkdir(parents=True, exist_ok=True)
    host = host or os.uname().nodename
    path = folder / f".{name}.{host}.{dead_pid() if pid is None else pid}.tmp"
    path.write_bytes(b"x" * 10)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_links_lead_nowhere(board, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    precious = outside / "precious"
    precious.write_text("mine")
    new = board.run("ce", attempt=2, mIoU=0.5)
    os.symlink(outside, new.path.parent / "1")
    os.symlink(outside, new.checkpoint_dir)
    os.symlink(precious, new.weights)
    os.symlink(outside, board.root / "runs" / "0123456789ab")
    (outside / "1").mkdir()
    temporary(outside)
    kinds = {"temporary", "checkpoint", "weights", "attempt"}
    found = survey(board.root, kinds, catalog=Today(), all_=True)
    assert [one.kind for one in found] == ["checkpoint"]
    freed, left = remove(found)
    assert (freed, left) == (0, [])
    assert not os.path.lexists(new.checkpoint_dir)
    assert precious.read_text() == "mine" and len(list(outside.iterdir())) == 3


# -- temporary files
def test_temporary_files_of_dead_processes_go(board):
    attempt = board.run("ce", mIoU=0.5)
    runs, evaluations = board.root / "runs", attempt.path / "evaluations"
    gone = [
        temporary(attempt.path),
        temporary(evaluations, "toy-0.json"),
        temporary(attempt.path.parent, "cancel.json"),
        temporary(runs, "cancel-all.json"),
        temporary(board.root / "jobs" / "20260101-000000-abcdef", "batch.json"),
        temporary(attempt.path, "of-another-machine", host="another.lab.org", age=2 * 86400),
    ]
    tree = board.root / "jobs" / "code" / f".0123.{platform.node()}.{dead_pid()}.tmp"
    tree.mkdir(parents=True)
    temporary(tree, "inner")
    os.utime(tree, (time.time() - 120,) * 2)
    kept = [
        temporary(attempt.path, "of-a-living-process", pid=os.getpid()),
        temporary(attempt.path, "just-written", age=1.0),
        temporary(attempt.path, "of-another-machine-today", host="another"),
        attempt.path / ".tmp",
    ]
    kept[-1].touch()
    found = survey_temporary(board.root)
    assert sorted(one.path for one in found) == sorted([*gone, tree])
    # of one run: nothing beside it
    of_run = survey_temporary(board.root, runs=[attempt.run_id])
    assert sorted(one.path for one in of_run) == sorted([*gone[:3], gone[5]])
    freed, left = remove(found)
    assert (freed, left) == (70, [])
    assert not any(path.exists() for path in (*gone, tree))
    assert all(path.exists() for path in kept)


# -- kills
CHANGING = {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def _prune_and_die(root, kinds, fatal):
    """In a child process: removes all it can, and is killed before its `fatal`-th change."""
    count = 0

    def die(event, arguments):
        nonlocal count
        # told before the change is made; the kill is an event, too
        if event in CHANGING:
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        found = survey(root, kinds, catalog=Today())
        sys.addaudithook(die)
        remove(found)
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.fault
def test_a_kill_at_any_instant_leaves_attempts_whole_or_gone(tmp_path, monkeypatch):
    kinds = {"checkpoint", "weights", "attempt", "temporary"}

    def files(attempt):
        return {p.relative_to(attempt.path) for p in attempt.path.rglob("*") if p.is_file()}

    for fatal in range(1, 100):
        board = Records(tmp_path / str(fatal))
        made = [board.run("ce", attempt=k, mIoU=0.5) for k in (1, 2, 3)]
        for attempt in made:
            attempt.write_predictions({"test": {"score": np.zeros(1)}})
            fill(attempt, "weights.safetensors")
            fill(attempt, "checkpoint/state.pth")
            fill(attempt, "checkpoint/rng.pth")
        results = {p for p in files(made[0]) if p.suffix in (".json", ".npz")}
        child = os.fork()
        if child == 0:
            _prune_and_die(board.root, kinds, fatal)
        _, code = os.waitpid(child, 0)
        assert os.WIFSIGNALED(code) or os.WEXITSTATUS(code) == 0
        left = attempts(board.root, made[0].run_id)
        assert left[-1].number == 3 and left[-1].weights.exists()
        for attempt in left:
            assert results <= files(attempt)
            attempt.record()
        # the next one comes to the end
        monkeypatch.setattr(leftovers, "STALE_HEARTBEAT_SECONDS", -1.0)
        assert remove(survey(board.root, kinds, catalog=Today()))[1] == []
        assert os.listdir(board.root / "runs" / made[0].run_id).count("3") == 1
        assert set(os.listdir(board.root / "runs" / made[0].run_id)) == {"3", "lock"}
        assert files(made[2]) == results | {made[2].weights.relative_to(made[2].path)}
        if os.WIFEXITED(code):
            break
    assert 10 < fatal < 99  # there were that many instants


# -- the verb
def test_the_verb_shows_removes_and_brings_the_store_up_to_date(suite, inside, fake, tmp_path):
    root = tmp_path / "results"
    board = Records(root)
    for k in (1, 2):
        # of a method that nobody here knows: its attempts never go
        fill(board.run("unheard-of", attempt=k, mIoU=0.5), "weights.safetensors", 1 << 20)
    run = ("run", "--task", "fake", "--method", "steady")
    for more in ((), ("--fresh",)):
        done = suite(*run, *more)
        assert done.returncode == 0, done.stderr
    steady = next(
        path for path in (root / "runs").iterdir() if path.name != board.spec("unheard-of").run_id
    )
    fill(attempts(root, steady.name)[1], "checkpoint/state.pth", 3 << 20)

    shown = suite("prune", "--superseded", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("goes") == 1 and "whole attempt" in shown.stdout
    assert "would be freed" in shown.stdout and len(attempts(root, steady.name)) == 2

    done = suite("prune", steady.name[:6], "--superseded")
    assert done.returncode == 0, done.stderr
    assert [a.number for a in attempts(root, steady.name)] == [2]
    with connect(root) as store:
        rows = store.execute("SELECT attempt FROM facts WHERE run_id = ?", [steady.name]).fetchall()
    assert rows == [(2,)]

    # without a flag: what is left over, and superseded weights
    done = suite("prune")
    assert done.returncode == 0, done.stderr
    assert "4.0 MiB freed" in done.stdout
    assert not attempts(root, steady.name)[0].checkpoint_dir.exists()
    unheard = attempts(root, board.spec("unheard-of").run_id)
    assert [a.weights.exists() for a in unheard] == [False, True]
    assert inside("plan", "--task", "fake", "--method", "steady").stdout.count("done") >= 1
