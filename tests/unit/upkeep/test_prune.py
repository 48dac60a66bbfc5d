"""`prune`: what may go, what never does, and what a kill leaves. (Weights and inputs: test_inputs.py.)"""

import msgspec
import numpy as np
from prunable import (
    Today,
    board,  # noqa: F401
    fill,
)
from records import TODAY

from suite.records.attempt import attempts
from suite.records.lease import run_lock
from suite.records.lookup import all_attempts
from suite.upkeep.prune import removal as removing
from suite.upkeep.prune.removal import remove
from suite.upkeep.prune.survey import (
    size_of,
    survey,
    survey_checkpoints,
    survey_superseded,
)


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


def test_what_cannot_be_removed_is_said(board, monkeypatch):
    attempt = board.run("ce", mIoU=0.5)
    fill(attempt, "checkpoint/state.pth")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(removing.shutil, "rmtree", refuse)
    freed, (left,) = remove(survey_checkpoints(board.root))
    assert freed == 0 and left.failed
    assert left.why == "cannot be removed (Permission denied)"


def test_the_verb_refuses_flags_that_contradict_each_other(inside):
    done = inside("prune", "--superseded", "--all")
    assert done.returncode == 2
    assert "--all is for weights; add --weights" in done.stderr


def test_the_verb_does_nothing_where_there_is_nothing(inside, tmp_path):
    done = inside("prune")
    assert (done.returncode, done.stdout) == (0, "0.0 MiB freed\n")
    assert not (tmp_path / "results").exists()
