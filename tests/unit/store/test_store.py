"""The store: what is ingested, what is refused, what counts; and what survives."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from records import EVALUATION, HOSTILE, TASK, Records, edit
from stored import (
    board,  # noqa: F401
    everything,
    query,
)

import suite.records.files
import suite.store.derive
import suite.store.ingest
import suite.store.look
from suite.base.errors import UserError
from suite.define.digest import Code
from suite.define.metrics import MetricRow
from suite.records.attempt import Attempt
from suite.stats import tests as stats
from suite.store.connection import connect, cost_by_method, store_path


def evaluation_of(attempt: Attempt) -> Path:
    return attempt.evaluation_path(TASK.name, EVALUATION)


# -- reading without a store


def test_reading_without_a_store_says_what_to_type(board):
    with pytest.raises(UserError, match="python -m suite ingest"):
        connect(board.root)


def test_a_damaged_store_is_named_when_read_and_rebuilt_by_ingest(board):
    board.run(mIoU=0.3)
    board.ingest()
    store_path(board.root).write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match="damaged"):
        connect(board.root)
    assert board.ingest().rebuilt
    assert query(board, "SELECT mean FROM summary") == [(0.3,)]


def test_a_truncated_store_is_rebuilt(board):
    board.run(mIoU=0.3)
    board.ingest()
    content = store_path(board.root).read_bytes()
    store_path(board.root).write_bytes(content[: len(content) // 2])
    board.run("la", mIoU=0.5)
    board.ingest()
    assert query(board, "SELECT count(*) FROM attempts") == [(2,)]


def test_a_store_of_another_version_is_rebuilt_and_not_read(board, monkeypatch):
    board.run(mIoU=0.3)
    monkeypatch.setattr(suite.store.ingest, "STORE_SCHEMA", 99)
    board.ingest()
    monkeypatch.undo()
    with pytest.raises(UserError, match="version 99"):
        connect(board.root)
    assert board.ingest().rebuilt
    assert query(board, "SELECT mean FROM summary") == [(0.3,)]


def test_readers_cannot_write(board):
    board.ingest()
    with connect(board.root) as store, pytest.raises(Exception, match="read-only"):
        store.execute("DELETE FROM facts")


# -- incremental


def test_an_empty_root_makes_an_empty_store(board):
    report = board.ingest()
    assert (report.attempts, report.refused) == (0, ())
    assert query(board, "SELECT * FROM summary") == []


def test_a_second_ingest_reads_nothing_and_leaves_the_file_alone(board):
    board.seeds("ce", [0.30, 0.31, 0.32])
    board.ingest()
    before = os.stat(store_path(board.root))
    report = board.ingest()
    assert (report.changed, report.read, report.attempts) == (False, 0, 3)
    assert os.stat(store_path(board.root)).st_ino == before.st_ino


@pytest.mark.slow
def test_increments_end_where_a_rebuild_does(board):
    board.seeds("ce", [0.30, 0.31, 0.32])
    gone = board.run("gone", mIoU=0.2)
    changed = board.run("la", mIoU=0.5)
    board.unfinished("wd", beat=5)
    board.ingest()
    board.seeds("new", [0.6, 0.61, 0.62])
    (gone.path / "record.json").unlink()
    edit(evaluation_of(changed), metrics=[{"metric": "mIoU", "value": 0.75}])
    board.run("wd", mIoU=0.4, attempt=2)
    report = board.ingest()
    assert report.removed == 1
    assert not report.rebuilt
    increments = everything(board)
    assert board.ingest(rebuild=True).rebuilt
    assert everything(board) == increments
    assert query(board, "SELECT mean FROM summary WHERE mean = 0.75") == [(0.75,)]


def test_a_run_that_disappears_leaves_the_store(board):
    import shutil

    attempt = board.run(mIoU=0.3)
    board.run("la", mIoU=0.5)
    board.ingest()
    shutil.rmtree(attempt.path.parent)
    board.ingest()
    assert query(board, "SELECT method FROM attempts") == [("la",)]
    assert query(board, "SELECT mean FROM summary") == [(0.5,)]
    assert query(board, "SELECT count(*) FROM metrics") == [(1,)]


def test_a_heartbeat_moves_the_step_and_keeps_the_summary(board):
    board.seeds("ce", [0.30, 0.31, 0.32])
    attempt = board.unfinished("slow")
    board.ingest()
    before = query(board, "SELECT * FROM summary")
    edit(attempt.path / "status.json", step=123)
    assert board.ingest().read == 1
    assert query(board, "SELECT step FROM attempts WHERE method = 'slow'") == [(123,)]
    assert query(board, "SELECT * FROM summary") == before


# -- what counts


def test_summary_is_the_t_interval_over_seeds(board):
    values = [0.30, 0.32, 0.37]
    board.seeds("ce", values)
    board.ingest()
    ((n, *interval),) = query(board, "SELECT n, mean, low, high FROM summary")
    assert n == 3
    assert interval == pytest.approx(stats.mean_interval(values)[:3])


def test_the_newest_finished_attempt_of_a_digest_counts(board):
    board.run(mIoU=0.3)
    board.run(mIoU=0.4, attempt=2)
    board.unfinished(attempt=3, failure="oom")
    board.ingest()
    assert query(board, "SELECT attempt FROM attempts WHERE counted") == [(2,)]
    assert query(board, "SELECT mean, n FROM summary") == [(0.4, 1)]


def test_two_digests_are_two_rows(board):
    board.run(mIoU=0.3, digest="old")
    board.run(mIoU=0.5, digest="new", attempt=2)
    board.ingest(today={"ce": "new"})
    rows = query(board, "SELECT digest, counted, today FROM attempts ORDER BY attempt")
    assert rows == [("old", True, False), ("new", True, True)]
    assert query(board, "SELECT n, mean FROM summary ORDER BY mean") == [(1, 0.3), (1, 0.5)]


def test_another_today_ranks_anew_though_no_file_changed(board):
    board.seeds("ce", [0.30, 0.31, 0.32], digest="a")
    board.seeds("la", [0.50, 0.51, 0.52], digest="a")
    ranks = "SELECT method, rank FROM ranks JOIN board_rows USING (row_id) WHERE key = 'mIoU' ORDER BY 1"
    board.ingest(today={"ce": "a", "la": "a"})
    assert query(board, ranks) == [("ce", 2), ("la", 1)]
    assert board.ingest(today={"ce": "a", "la": "b"}).changed
    assert query(board, ranks) == [("ce", 1)]


def test_an_unknown_methods_newest_digest_is_todays(board):
    board.run("mine", mIoU=0.3, digest="first")
    board.run("mine", mIoU=0.3, digest="second", attempt=2)
    board.ingest()
    assert query(board, "SELECT digest FROM attempts WHERE today") == [("second",)]


@pytest.mark.slow
def test_a_running_attempt_without_heartbeat_is_stopped_with_no_ingest_between(board, monkeypatch):
    # a minute is long, and half a second too short for a busy machine
    monkeypatch.setattr("suite.store.derive.STALE_HEARTBEAT_SECONDS", 5.0)
    attempt = board.unfinished()
    edit(attempt.path / "status.json", heartbeat=time.time())
    board.ingest()
    assert query(board, "SELECT state FROM attempts") == [("running",)]
    deadline = time.monotonic() + 60
    while query(board, "SELECT state FROM attempts") != [("stopped",)]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_an_attempt_killed_before_its_first_heartbeat_is_a_stopped_one(board):
    attempt = board.unfinished()
    (attempt.path / "status.json").unlink()
    board.ingest(today={"ce": "now"})
    assert query(board, "SELECT state, digest FROM attempts") == [("stopped", "now")]


def test_replicates_trained_on_replicates_are_one_row_and_other_inputs_another(board):
    for seed in range(3):
        stage1 = board.run("ce", seed=seed, mIoU=0.3)
        board.run("crt", seed=seed, mIoU=0.5, inputs={"stage1": stage1.run_id})
    other = board.run("ce", params={"wd": 1}, mIoU=0.3)
    board.run("crt", mIoU=0.6, inputs={"stage1": other.run_id})
    board.ingest()
    rows = query(
        board,
        "SELECT input_methods, count(*) FROM attempts WHERE method = 'crt' GROUP BY row_id, 1 "
        "ORDER BY 2",
    )
    assert rows == [('{"stage1":"ce"}', 1), ('{"stage1":"ce"}', 3)]


def test_an_input_that_arrives_later_joins_the_rows(board):
    stage1 = [board.spec("ce", seed) for seed in (0, 1)]
    for seed in (0, 1):
        board.run("crt", seed=seed, mIoU=0.5, inputs={"stage1": stage1[seed].run_id})
    count = "SELECT count(DISTINCT row_id) FROM attempts WHERE method = 'crt'"
    board.ingest()
    assert query(board, count) == [(2,)]
    board.seeds("ce", [0.3, 0.3])
    board.ingest()
    assert query(board, count) == [(1,)]
    assert query(board, "SELECT max(n) FROM summary WHERE mean = 0.5") == [(2,)]


def test_values_of_training_steps_stay_out_of_the_summary(board):
    rows = [
        MetricRow(metric="mIoU", value=0.3),
        MetricRow(metric="mIoU", step=10, value=0.1, source="hook"),
        MetricRow(metric="IoU", class_="sky", value=0.9),
    ]
    board.run(rows=rows)
    board.ingest()
    assert query(board, "SELECT key, class, mean FROM summary ORDER BY 1 DESC") == [
        ("mIoU", None, 0.3),
        ("IoU", "sky", 0.9),
    ]


def test_a_row_with_an_undefined_value_is_not_ranked(board):
    board.seeds("ce", [0.30, 0.31, 0.32, None])
    board.seeds("la", [0.50, 0.51, 0.52])
    board.ingest()
    ranks = query(board, "SELECT rank FROM ranks WHERE key = 'mIoU' ORDER BY row_id")
    assert ranks == [(None,), (1,)]
    assert query(board, "SELECT max(n) FROM summary WHERE mean < 0.4") == [(3,)]


# -- refused


def refusals(report):
    return {Path(path).name: reason for path, reason in report.refused}


def test_bad_files_are_refused_by_name_and_reason_and_the_rest_is_ingested(board):
    board.run("good", mIoU=0.3)
    truncated = board.run("truncated", mIoU=0.3).path / "record.json"
    truncated.write_bytes(truncated.read_bytes()[:-20])
    newer = board.run("newer", mIoU=0.3)
    edit(evaluation_of(newer), schema=2)
    report = board.ingest()
    reasons = refusals(report)
    assert len(reasons) == 2
    assert "truncated" in reasons["record.json"]
    assert "newer than this suite's" in reasons[evaluation_of(newer).name]
    assert query(board, "SELECT method FROM attempts ORDER BY 1") == [("good",), ("newer",)]
    again = board.ingest()
    assert again.refused == report.refused
    assert not again.changed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run_id": "0" * 12}, "says run 000000000000"),
        ({"attempt": 2}, "says attempt 2"),
        ({"spec": {"protocol": "p", "protocol_hash": "h", "method": "other"}}, "its spec is that"),
        ({"spec": None}, "Expected `object`"),
        ({"flags": "no list"}, "Expected `array`"),
    ],
)
def test_a_record_must_agree_with_its_place(board, changes, reason):
    attempt = board.run(mIoU=0.3)
    edit(attempt.path / "record.json", **changes)
    report = board.ingest()
    assert reason in refusals(report)["record.json"]
    assert report.attempts == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run_id": "0" * 12}, "says run"),
        ({"attempt": 7}, "attempt 7"),
        ({"task": "other"}, "says task 'other'"),
        ({"evaluation_hash": "f00"}, "says task"),
        ({"metrics": [{"metric": "mIoU", "value": 1}] * 2}, "given twice"),
        ({"metrics": [{"metric": "mIoU", "value": 1, "step": 1 << 70}]}, "64-bit"),
    ],
)
def test_an_evaluation_must_agree_with_its_place(board, changes, reason):
    edit(evaluation_of(board.run(mIoU=0.3)), **changes)
    report = board.ingest()
    assert reason in refusals(report).popitem()[1]
    assert (report.attempts, report.evaluations) == (1, 0)


def test_a_number_beyond_64_bits_stops_one_record_only(board):
    board.run("good", mIoU=0.3)
    attempt = board.run("huge", mIoU=0.3)
    cost = msgspec.json.decode((attempt.path / "record.json").read_bytes())["cost"]
    edit(attempt.path / "record.json", cost={**cost, "parameters": 10**30})
    report = board.ingest()
    assert "64-bit" in refusals(report)["record.json"]
    assert query(board, "SELECT method FROM attempts") == [("good",)]


def test_a_refused_record_leaves_its_attempt_visible_by_its_spec(board):
    attempt = board.unfinished("ce", state="done")
    (attempt.path / "record.json").write_bytes(b"{")
    report = board.ingest()
    assert list(refusals(report)) == ["record.json"]
    assert query(board, "SELECT state, counted FROM attempts") == [("stopped", False)]


def test_a_mended_file_is_no_longer_refused(board):
    attempt = board.run(mIoU=0.3)
    whole = (attempt.path / "record.json").read_bytes()
    (attempt.path / "record.json").write_bytes(whole[:50])
    assert board.ingest().refused
    (attempt.path / "record.json").write_bytes(whole)
    assert not board.ingest().refused
    assert query(board, "SELECT mean FROM summary") == [(0.3,)]


def test_folders_and_names_that_are_not_ours_are_refused_and_temporary_files_passed_over(board):
    attempt = board.run(mIoU=0.3)
    (board.root / "runs" / "copy of run").mkdir()
    (board.root / "runs" / ".trash").mkdir()
    (attempt.path.parent / "1.bak").mkdir()
    (attempt.path / "evaluations" / ".x.json.node.1.tmp").write_bytes(b"{")
    os.mkfifo(attempt.path / "status.json")
    (attempt.path / "evaluations" / os.fsdecode(b"\xff.json")).write_bytes(b"{}")
    report = board.ingest()
    paths = {path.rsplit("/", 2)[-1] or path for path, _ in report.refused}
    assert len(report.refused) == 4
    assert "\\xff.json" in paths
    assert report.attempts == 1
    assert not board.ingest().changed


def test_hostile_names_are_data(board):
    for name in HOSTILE:
        row = MetricRow(metric=name, subset=name, class_=name, value=0.5)
        board.run(name, rows=[row], digest=name, flags=(name,), params={name: name})
    report = board.ingest(today={name: name for name in HOSTILE})
    assert report.refused == ()
    assert sorted(query(board, "SELECT method FROM attempts")) == sorted((n,) for n in HOSTILE)
    classes = query(board, "SELECT metric, subset, class FROM summary")
    assert sorted(classes) == sorted((n, n, n) for n in HOSTILE)


def test_a_root_with_a_quote_in_its_name(tmp_path):
    board = Records(tmp_path / "it's; here")
    board.run(mIoU=0.3)
    board.ingest()
    assert query(board, "SELECT mean FROM summary") == [(0.3,)]


# -- snapshots


def test_a_reader_keeps_its_snapshot_while_the_next_is_swapped_in(board):
    board.run("ce", mIoU=0.3)
    board.ingest()
    count = "SELECT count(*) FROM attempts"
    with connect(board.root) as old:
        assert old.execute(count).fetchall() == [(1,)]
        board.run("la", mIoU=0.5)
        board.ingest()
        with connect(board.root) as new:
            assert new.execute(count).fetchall() == [(2,)]
        assert old.execute(count).fetchall() == [(1,)]


@pytest.mark.fault
def test_a_killed_first_ingest_is_made_up_for(board):
    board.seeds("ce", [0.30, 0.31, 0.32])
    board.root.joinpath("store.duckdb.work").write_bytes(b"half")
    board.root.joinpath("store.duckdb.work.wal").write_bytes(b"half")
    assert board.ingest().attempts == 3
    assert not list(board.root.glob("store.duckdb.*"))


def test_what_runs_took_by_method_and_device(tmp_path):
    board = Records(tmp_path)
    attempts = [*board.seeds("ce", [0.1, 0.2]), board.run("la", mIoU=0.3)]
    for attempt, memory, hours in zip(attempts, (2, 5, 7), (0.0, 0.0, 0.1), strict=True):
        record = attempt.record()
        cost = msgspec.structs.replace(record.cost, peak_memory_bytes=memory, gpu_hours=hours)
        attempt.write_record(msgspec.structs.replace(record, cost=cost))
    board.ingest()
    under = TASK.protocols[0].hash
    with connect(tmp_path) as store:
        assert cost_by_method(store, under) == {"ce": (60.5, 5), "la": (60.0, 7)}
        assert cost_by_method(store, under, gpu=True) == {"la": (60.0, 7)}
        assert cost_by_method(store, under, gpu=False) == {"ce": (60.5, 5)}
        assert cost_by_method(store, "another") == {}


# -- large roots are not looked through by every reader


@pytest.fixture
def large(board, monkeypatch):
    """A root that counts as large, looked at once; `refresh()` says whether it was looked at again."""
    monkeypatch.setattr(suite.store.look, "LOOKED_AT_ABOVE", 0)
    board.seeds("a", [0.1, 0.2])
    board.ingest()
    mark = suite.records.attempt.change_mark(board.root)

    def rest():
        # longer ago than a tick of the file system's clock
        os.utime(mark, (1000, 1000))
        board.ingest()

    looked, now = [], [Code({})]
    scan = suite.store.ingest.scan

    def counted(root):
        looked.append(root)
        return scan(root)

    monkeypatch.setattr(suite.store.ingest, "scan", counted)

    def refresh():
        before = len(looked)
        report = suite.store.ingest.refresh(board.root, {TASK.name: TASK}, now[0])
        return report, len(looked) > before

    rest()
    return SimpleNamespace(board=board, refresh=refresh, rest=rest, mark=mark, now=now)


def test_the_verb_looks_only_where_something_changed_if_asked(tmp_path, inside, monkeypatch):
    found = []
    for name in ("ingest", "refresh"):
        kept = getattr(suite.store.ingest, name)
        monkeypatch.setattr(
            suite.store.ingest,
            name,
            lambda *a, kept=kept, name=name, **k: found.append(name) or kept(*a, **k),
        )
    Records(tmp_path).run("ce", mIoU=0.3)
    assert inside("ingest", "--root", str(tmp_path)).returncode == 0
    assert found == ["ingest"]
    found.clear()
    assert inside("ingest", "--if-changed", "--root", str(tmp_path)).returncode == 0
    assert found[0] == "refresh"
    both = inside("ingest", "--if-changed", "--rebuild", "--root", str(tmp_path))
    assert both.returncode == 2 and "give one" in both.stderr


def test_a_large_root_at_rest_is_not_looked_through(large):
    report, looked = large.refresh()
    assert not looked and not report.changed
    assert (report.attempts, report.evaluations) == (2, 2)
    assert large.refresh()[1] is False


@pytest.mark.slow
@pytest.mark.parametrize("what", ["evaluation", "status", "run", "store", "late", "code"])
def test_it_is_where_something_may_have_changed(large, what, monkeypatch):
    board = large.board
    (attempt, *_) = suite.records.lookup.all_attempts(board.root)
    if what == "evaluation":
        (path,) = (attempt.path / "evaluations").iterdir()
        attempt.write_evaluation(suite.records.files.read(suite.records.files.Evaluation, path))
    elif what == "status":
        attempt.write_status(attempt.status())
    elif what == "run":
        board.seeds("b", [0.3])
        os.utime(large.mark, (1000, 1000))
    elif what == "store":
        board.ingest(rebuild=True)
    elif what == "late":
        monkeypatch.setattr(suite.store.look, "LOOK_SECONDS", 0.0)
    else:
        large.now[0] = Code({"a": "another"})
    report, looked = large.refresh()
    assert looked
    assert report.attempts == (3 if what == "run" else 2)


def test_a_change_in_the_tick_of_a_look_is_not_missed(large):
    # the mark is as new as the look itself: nothing is kept
    large.mark.touch()
    large.board.ingest()
    assert large.refresh()[1] and large.refresh()[1]
    large.rest()
    assert not large.refresh()[1]


def test_small_roots_are_always_looked_through(large, monkeypatch):
    monkeypatch.setattr(suite.store.look, "LOOKED_AT_ABOVE", 100)
    large.board.ingest()
    assert large.refresh()[1] and large.refresh()[1]
    assert not (large.board.root / suite.store.look.LOOK_FILE).exists()


def test_a_damaged_look_is_none(large):
    (large.board.root / suite.store.look.LOOK_FILE).write_text("{")
    assert large.refresh()[1]
