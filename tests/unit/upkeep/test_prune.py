"""`prune`: what may go, what never does, and what a kill leaves. (Weights and inputs: test_inputs.py.)"""

import os
import platform
import signal
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
from records import TODAY, Records

from suite.define.digest import Code
from suite.records.attempt import attempts
from suite.records.lease import run_lock
from suite.records.lookup import all_attempts
from suite.store.connection import connect
from suite.upkeep.prune import removal as removing
from suite.upkeep.prune import temporary as leftovers
from suite.upkeep.prune.removal import remove
from suite.upkeep.prune.survey import (
    size_of,
    survey,
    survey_checkpoints,
    survey_superseded,
    survey_temporary,
)


class Today:
    """A catalog for whom every method's code is `TODAY`, but that of `unknown`."""

    code = Code({})

    def digest(self, spec, inputs=None):
        from suite.base.errors import UserError

        if spec.method == "unknown":
            raise UserError("unknown method 'unknown'")
        return TODAY


@pytest.fixture
def board(tmp_path):
    return Records(tmp_path)


def fill(attempt, name, size=1000):
    """A file of an attempt, or a checkpoint."""
    path = attempt.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


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


def whys(found):
    return {(one.spec.method, one.attempt.number): one.why for one in found}


# -- checkpoints
def test_checkpoints_of_finished_attempts_go_and_others_stay(board):
    done = board.run("done", mIoU=0.5)
    begun = board.unfinished("begun", beat=1000.0)
    damaged = board.run("damaged", mIoU=0.5)
    (damaged.path / "record.json").write_bytes(b'{"schema": 1')
    for attempt in (done, begun, damaged):
        fill(attempt, "checkpoint/state.pth")
    found = survey_checkpoints(board.root)
    assert {one.attempt.path.parent.name: one.goes for one in found} == {
        done.run_id: True,
        damaged.run_id: False,
    }
    assert remove(found) == (1000, [])
    assert not done.checkpoint_dir.exists() and done.finished
    assert begun.checkpoint_dir.exists() and damaged.checkpoint_dir.exists()


def test_nothing_is_taken_from_a_run_that_somebody_is_at(board):
    attempt = board.run("done", mIoU=0.5)
    fill(attempt, "checkpoint/state.pth")
    found = survey_checkpoints(board.root)
    with run_lock(board.root, attempt.run_id) as mine:
        assert mine
        freed, left = remove(found)
    assert freed == 0 and [(one.why, one.failed) for one in left] == [
        ("in use by another process", False)
    ]
    # no lock reaches here from the other machine: its lease does
    status = board.unfinished("done", attempt=2).status()
    attempts(board.root, attempt.run_id)[1].write_status(
        msgspec.structs.replace(status, host="another", pid=1)
    )
    assert [one.why for one in remove(found)[1]] == ["in use by another process"]
    assert attempt.checkpoint_dir.exists()


def test_what_has_become_needed_since_the_survey_stays(board):
    first = board.run("first", mIoU=0.5)
    fill(first, "weights.safetensors")
    fill(first, "checkpoint/state.pth")
    old, new = board.run("twice", mIoU=0.4), board.run("twice", attempt=2, mIoU=0.5)
    found = survey(board.root, {"checkpoint", "weights", "attempt"}, catalog=Today(), all_=True)
    assert len(found) == 3 and all(one.goes for one in found)
    board.unfinished("second", beat=1000.0, inputs={"stage1": first.run_id})
    (first.path / "record.json").write_bytes(b"")
    (new.path / "record.json").unlink()
    freed, left = remove(found)
    assert freed == 0
    assert {one.candidate.kind: one.why for one in left} == {
        "checkpoint": "its record.json has gone or is damaged",
        "weights": f"run {board.spec('second', inputs={'stage1': first.run_id}).run_id} (second) names it",
        "attempt": "attempt 2 has gone or is damaged",
    }
    assert old.finished and first.weights.exists()


# -- superseded attempts
def test_attempts_older_than_the_newest_of_todays_code_are_superseded(board):
    for attempt, digest in enumerate(["d0", TODAY, "d0", TODAY, "d2"], start=1):
        board.run("ce", attempt=attempt, digest=digest, mIoU=0.1 * attempt)
    board.run("stale", attempt=1, digest="d0", mIoU=0.5)
    board.run("stale", attempt=2, digest="d1-old", mIoU=0.5)
    board.run("unknown", attempt=1, mIoU=0.5)
    board.run("unknown", attempt=2, mIoU=0.5)
    board.unfinished("failed", failure="nan", attempt=1)
    board.run("failed", attempt=2, mIoU=0.5)
    found = survey_superseded(board.root, Today())
    assert whys(found) == {("ce", 1): "", ("ce", 2): "", ("ce", 3): "", ("failed", 1): ""}
    assert all(one.size == size_of(one.path) > 0 for one in found)
    remove(found)
    left = {(a.run_id, a.number) for a in all_attempts(board.root)}
    ce, failed = board.spec("ce").run_id, board.spec("failed").run_id
    assert {n for run, n in left if run == ce} == {4, 5}
    assert {n for run, n in left if run == failed} == {2}
    assert len(left) == 7


def test_attempts_with_more_than_the_newest_stay(board):
    old, new = board.run("ce", mIoU=0.4), board.run("ce", attempt=2, mIoU=0.5)
    scores = {"score": np.zeros(1)}
    old.write_predictions({"test": scores, "val": scores})
    new.write_predictions({"test": scores})
    (one,) = survey_superseded(board.root, Today())
    assert one.why == "attempt 2 lacks its prediction set(s) val"
    new.write_predictions({"test": scores, "val": scores})
    assert survey_superseded(board.root, Today())[0].goes
    # a newest attempt that does not stand supersedes nothing
    content = (new.path / "record.json").read_bytes()
    (new.path / "record.json").write_bytes(content.replace(b'"cost"', b'"lost"'))
    assert survey_superseded(board.root, Today()) == []


def test_attempts_that_a_run_names_stay(board):
    board.run("first", mIoU=0.4)
    first = board.run("first", attempt=2, mIoU=0.5)
    second = board.run("second", mIoU=0.5, inputs={"stage1": first.run_id})
    assert whys(survey_superseded(board.root, Today())) == {
        ("first", 1): f"run {second.run_id} (second) names it"
    }


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


def test_what_cannot_be_removed_is_said(board, monkeypatch):
    attempt = board.run("ce", mIoU=0.5)
    fill(attempt, "checkpoint/state.pth")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(removing.shutil, "rmtree", refuse)
    freed, (left,) = remove(survey_checkpoints(board.root))
    assert freed == 0 and left.failed
    assert left.why == "cannot be removed (Permission denied)"


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


def test_the_verb_refuses_flags_that_contradict_each_other(inside):
    done = inside("prune", "--superseded", "--all")
    assert done.returncode == 2
    assert "--all is for weights; add --weights" in done.stderr


def test_the_verb_does_nothing_where_there_is_nothing(inside, tmp_path):
    done = inside("prune")
    assert (done.returncode, done.stdout) == (0, "0.0 MiB freed\n")
    assert not (tmp_path / "results").exists()
