"""`suite review` and `merge` in processes of their own, ended at any instant."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from strangers import (
    Stranger,
    catalog,
    edit,
    finished,
)

from suite.exchange.importing import accept
from suite.exchange.merge import merge
from suite.exchange.review.examine import review
from suite.exchange.verify import verify
from suite.records.attempt import attempts
from suite.records.files import Status
from suite.records.lease import run_lock
from suite.store.ingest import ingest

HERE = Path(__file__).parents[2]


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    return Stranger(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import suite.exchange.merge
from strangers import catalog
from suite.exchange.importing import accept
from suite.exchange.review.examine import review

calls = 0
def dying(step):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments, **options)
    return call

os.replace, os.rename, os.mkdir = map(dying, (os.replace, os.rename, os.mkdir))
os.fsync = dying(os.fsync)
accept(review(Path(sys.argv[2]), Path(sys.argv[3]), catalog()), Path(sys.argv[3]), catalog())
"""


@pytest.mark.fault
def test_killed_at_any_instant_an_import_leaves_nothing_half(stranger, tmp_path):
    outcomes = set()
    for at in (1, 2, 5, 12, 18, 20, 21, 22, 23, 99):
        root = tmp_path / f"own{at}"
        shutil.copytree(stranger.root, root)
        command = [sys.executable, "-c", KILLED, HERE, stranger.folder, root, at]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        here = attempts(root, stranger.run.run_id)
        assert all(verify(attempt, catalog()).holds for attempt in here)
        outcomes.add((done.returncode, len(here)))
        report = ingest(root, catalog().tasks(), catalog().code)
        assert (report.attempts, report.refused) == (2 + len(here), ())
        # and the next one completes it
        accept(review(stranger.folder, root, catalog()), root, catalog())
        (made,) = attempts(root, stranger.run.run_id)
        assert sorted(p.name for p in made.path.parent.iterdir()) == ["1", "lock"]
    assert (-signal.SIGKILL, 0) in outcomes and (0, 1) in outcomes


def test_command_line(suite, inside, stranger):
    own, folder = str(stranger.root), str(stranger.folder)
    done = suite("review", folder, "--root", own)
    assert done.returncode == 0 and "add --accept" in done.stdout, done.stderr
    assert "\x1b" not in done.stdout
    assert not attempts(stranger.root, stranger.run.run_id)
    done = suite("review", folder, "--root", own, "--accept", "--format", "json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["imported"]) == (0, [f"{stranger.run.run_id}/1"])
    board = inside("leaderboard", "--task", "longtail-cls", "--root", own)
    assert "external" in board.stdout
    edit(stranger.run.path / "record.json", lambda c: c.update(dataset="\x1b[2J[red]"))
    done = inside("review", folder, "--root", own, "--accept")
    assert done.returncode == 1 and "nothing imported" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    done = inside("review", "nowhere", "--root", own)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


# -- merge


def states(done) -> list[tuple[int, str, int | None]]:
    return [(one.attempt, one.state, one.to) for one in done]


def test_merge_leaves_live_and_locked_runs_and_damage_alone(tmp_path):
    ours, theirs = tmp_path / "a", tmp_path / "b"
    live = finished(theirs, 1)
    (live.path / "record.json").unlink()
    now = time.time()
    live.write_status(
        Status(state="running", digest="d", started=now, heartbeat=now, host="another")
    )
    damaged = finished(theirs, 2)
    (damaged.path / "record.json").write_bytes(b"{")
    stopped = finished(theirs, 3)
    (stopped.path / "record.json").unlink()
    locked = finished(theirs, 4)
    with run_lock(theirs, locked.run_id):
        script = "import sys; from pathlib import Path; from suite.exchange.merge import merge\n"
        script += "print({o.run_id: o.state for o in merge(Path(sys.argv[1]), Path(sys.argv[2]))})"
        command = [sys.executable, "-c", script, str(theirs), str(ours)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = {live: "busy", damaged: "refused", stopped: "unfinished", locked: "busy"}
    assert eval(done.stdout) == {one.run_id: state for one, state in expected.items()}
    assert not list(ours.glob("runs/*/1"))
    assert states(merge(theirs, ours)).count((1, "brought", 1)) == 1


def test_merge_command_line(suite, inside, tmp_path):
    ours, theirs = tmp_path / "a", tmp_path / "b"
    finished(theirs, 1)
    done = inside("merge", str(theirs), "--root", str(ours), "--dry-run")
    assert done.returncode == 0 and "1 attempt(s) would be brought" in done.stdout, done.stderr
    assert not ours.exists()
    done = suite("merge", str(theirs), "--root", str(ours))
    assert done.returncode == 0 and "1 attempt(s) brought, 0 here" in done.stdout
    done = inside("merge", str(theirs), "--root", str(ours), "--format", "json")
    assert [one["state"] for one in json.loads(done.stdout)["rows"]] == ["here"]
    for wrong in ("nowhere", str(ours)):
        done = inside("merge", wrong, "--root", str(ours))
        assert done.returncode == 2 and done.stderr.count("\n") == 1
