"""What there is of a task, counted from the store."""

from records import TASK, Records, edit, protocol

from suite.store.connection import connect
from suite.store.coverage import coverage, failures, refused, totals


def counted(root, task=TASK):
    with connect(root) as connection:
        return coverage(connection, task)


def test_every_run_is_counted_once_by_what_became_of_it(tmp_path):
    board = Records(tmp_path)
    board.seeds("ce", [0.3, 0.31, 0.32])
    board.seeds("la", [0.4, 0.41])
    board.run("la", seed=7, evaluated=False)
    board.run("la", seed=8, evaluation_hash="another", mIoU=0.9)
    board.seeds("old", [0.2], digest="d0")
    # a new attempt at a run that is finished changes nothing
    board.unfinished("ce", seed=0, attempt=2)
    board.unfinished("focal", seed=0)
    board.unfinished("focal", seed=1, beat=9999)
    board.unfinished("focal", seed=2, failure="nan")
    board.run("ce", under=TASK.protocols[1], mIoU=0.5)
    board.ingest({"ce": "d1", "la": "d1", "old": "d1", "focal": "d1"})
    full, quick = counted(tmp_path)
    assert (full.protocol, full.runs, full.done, full.rows, full.ranked) == ("toy:full", 1, 1, 1, 0)
    assert quick.protocol == "toy:quick"
    assert quick.current
    assert quick.methods == ("ce", "la")
    assert (quick.rows, quick.ranked) == (2, 1)
    assert (quick.runs, quick.done, quick.unscored, quick.stale) == (11, 5, 2, 1)
    assert (quick.running, quick.stopped, quick.failed) == (2, 1, 1)
    assert totals([full, quick])["runs"] == 12


def test_a_failure_is_told_until_the_run_is_finished(tmp_path):
    board = Records(tmp_path)
    board.unfinished("ce", seed=0, failure="nan", message="loss is nan")
    board.unfinished("ce", seed=1, failure="oom", message="", beat=50)
    board.ingest()
    with connect(tmp_path) as connection:
        found = failures(connection)
        assert [(f.method, f.seed, f.kind, f.message, f.step) for f in found] == [
            ("ce", 0, "nan", "loss is nan", 7),
            ("ce", 1, "oom", "", 7),
        ]
        assert len(failures(connection, 1)) == 1
    board.run("ce", seed=0, attempt=2, mIoU=0.3)
    board.ingest()
    with connect(tmp_path) as connection:
        assert [f.seed for f in failures(connection)] == [1]


def test_a_protocol_that_the_task_has_no_more_is_told_apart(tmp_path):
    gone = protocol("toy:gone", recipe="another")
    board = Records(tmp_path)
    board.run("ce", mIoU=0.3)
    board.run("ce", under=gone, mIoU=0.3)
    board.run("ce", under=protocol("of another task", recipe="third"), evaluated=False)
    board.ingest()
    assert [(line.protocol, line.current) for line in counted(tmp_path)] == [
        ("toy:quick", True),
        ("toy:gone", False),
    ]


def test_imbalance_is_that_of_the_recorded_counts(tmp_path):
    board = Records(tmp_path)
    attempt = board.run("ce", mIoU=0.3)
    edit(attempt.path / "record.json", class_counts=[500, 0, 20, 5], classes=list("abcd"))
    board.run("la", under=TASK.protocols[1], mIoU=0.3)
    board.ingest()
    assert [line.imbalance for line in counted(tmp_path)] == [None, 100.0]


def test_counts_of_a_stranger_do_not_stop_the_ingest(tmp_path):
    board = Records(tmp_path)
    attempt = board.run("ce", mIoU=0.3)
    edit(attempt.path / "record.json", class_counts=[-5, 0, 10**30])
    board.ingest()
    assert [line.imbalance for line in counted(tmp_path)] == [None]


def test_refused_files_are_named(tmp_path):
    board = Records(tmp_path)
    attempt = board.run("ce", mIoU=0.3)
    (attempt.path / "record.json").write_text("{")
    board.ingest()
    with connect(tmp_path) as connection:
        assert next(path.rpartition("/")[2] for path, _ in refused(connection)) == "record.json"
