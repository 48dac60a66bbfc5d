"""The board's rows: states, order, ranks, what is pooled and what never is."""

import time

import msgspec
import pytest
from records import EVALUATION, TASK, TODAY, Records, edit

from suite.base.errors import UserError
from suite.boards.leaderboard import board as make_board
from suite.define.metrics import MetricRow
from suite.stats import tests as stats
from suite.store.row import Cell

QUICK, FULL = TASK.protocols


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path)


def board(records, *, protocol=None, by=None, today=None, planned=()):
    records.ingest(today)
    return make_board(
        records.root, TASK, protocol=protocol, by=by, today=today or {}, planned=planned
    )


def plan(method, params=None, protocol=QUICK):
    evaluation = TASK.evaluation_hash(protocol)
    return method, params or {}, protocol.name, protocol.hash, evaluation, "toy"


def states(rows):
    return {row.method: row.state for row in rows}


def test_a_row_in_full(records):
    values = [0.30, 0.32, 0.37]
    runs = records.seeds("ce", values, flags=("data-variant",), params={"wd": 1e-4})
    (row,) = board(records)
    mean, low, high, _ = stats.mean_interval(values)
    interval = msgspec.structs.asdict(row.metrics.pop("mIoU"))
    assert interval == pytest.approx({"mean": mean, "low": low, "high": high})
    assert msgspec.to_builtins(row) == {
        "task": "toy-task",
        "protocol": "toy:quick",
        "protocol_hash": QUICK.hash,
        "evaluation_hash": EVALUATION,
        "dataset": "toy",
        "method": "ce",
        "params": {"wd": 1e-4},
        "inputs": {},
        "settings": None,
        "digest": TODAY,
        "n": 3,
        "state": "done",
        "rank": 1,
        "groups": "a",
        "seeds_to_next": None,
        "test": "",
        "flags": ["data-variant"],
        "failures": [],
        "cost": {
            "parameters": 1000,
            "passes_per_step": 1,
            "train_seconds": 50,
            "wall_seconds": 61,
            "gpu_hours": 0,
            "peak_memory_bytes": 0,
        },
        "runs": [run.run_id for run in runs],
        "seeds": [0, 1, 2],
        "metrics": {},
    }


def test_an_empty_board(records):
    assert board(records) == []


def test_rows_go_by_the_mean_and_rows_without_a_value_last(records):
    records.seeds("middle", [0.5])
    records.seeds("failed", [])
    records.unfinished("failed", failure="nan")
    records.seeds("best", [0.9])
    records.seeds("worst", [0.1])
    rows = board(records)
    assert [row.method for row in rows] == ["best", "middle", "worst", "failed"]


def test_by_a_metric_where_lower_is_better(records):
    for method, loss in (("a", 0.5), ("b", 0.1)):
        for seed in range(3):
            records.run(method, seed=seed, mIoU=0.5, loss=loss + seed / 1000)
    rows = board(records, by="loss")
    assert [(row.method, row.rank) for row in rows] == [("b", 1), ("a", 2)]


def test_a_metric_that_was_not_ranked_at_ingest_is_ranked_on_demand(records):
    for method, value in (("a", 0.1), ("b", 0.5)):
        for seed in range(3):
            records.run(method, seed=seed, mIoU=0.5, extra=value + seed / 1000)
    rows = board(records, by="extra")
    assert [(row.method, row.rank) for row in rows] == [("b", 1), ("a", 2)]


def test_fewer_than_three_seeds_are_unranked_in_order_of_the_mean(records):
    records.seeds("two", [0.5, 0.6])
    records.seeds("one", [0.9])
    rows = board(records)
    assert [(row.method, row.n, row.rank) for row in rows] == [
        ("one", 1, None),
        ("two", 2, None),
    ]
    assert rows[0].metrics["mIoU"] == Cell(mean=0.9, low=None, high=None)


def test_class_and_step_rows_are_not_on_the_board(records):
    rows = [
        MetricRow(metric="mIoU", value=0.5),
        MetricRow(metric="mIoU", subset="group=tail", value=0.2),
        MetricRow(metric="IoU", class_="sky", value=0.9),
        MetricRow(metric="extra", step=5, value=0.1, source="hook"),
    ]
    records.run(rows=rows)
    (row,) = board(records)
    assert list(row.metrics) == ["mIoU", "mIoU[group=tail]"]


def test_a_mean_over_some_of_the_replicates_is_not_shown(records):
    records.run(seed=0, mIoU=0.5, tail=0.1)
    records.run(seed=1, mIoU=0.5)
    records.run(seed=2, mIoU=None, tail=0.3)
    (row,) = board(records)
    assert row.n == 3
    assert {key: cell.mean for key, cell in row.metrics.items()} == {
        "mIoU": None,
        "mIoU[group=tail]": None,
    }


def test_states(records):
    records.seeds("done", [0.5, 0.5])
    records.run("partial", seed=0, mIoU=0.5)
    records.unfinished("partial", seed=1, state="stopped")
    records.run("running", seed=0, mIoU=0.5)
    records.unfinished("running", seed=1)
    records.unfinished("failed", seed=0, failure="oom")
    records.unfinished("failed", seed=1, state="stopped")
    records.unfinished("dead", beat=120)
    records.run("unscored", evaluated=False)
    records.run("stale", mIoU=0.5, digest="old")
    rows = board(records, today={"stale": TODAY}, planned=[plan("done"), plan("planned")])
    assert states(rows) == {
        "done": "done",
        "partial": "partial",
        "running": "running",
        "failed": "failed",
        "dead": "partial",
        "unscored": "partial",
        "stale": "stale",
        "planned": "planned",
    }


def test_a_failed_run_is_listed_with_its_kind_even_beside_finished_ones(records):
    records.run("ce", seed=0, mIoU=0.5)
    failed = records.unfinished("ce", seed=1, failure="nan", message="loss is nan")
    (row,) = board(records)
    assert row.state == "partial"
    assert row.n == 1
    assert msgspec.to_builtins(row.failures) == [
        {"run": failed.run_id, "seed": 1, "kind": "nan", "message": "loss is nan", "step": 7}
    ]


def test_a_failure_that_a_later_attempt_mended_is_history(records):
    records.unfinished("ce", failure="oom")
    records.run("ce", mIoU=0.5, attempt=2)
    (row,) = board(records)
    assert (row.state, row.failures) == ("done", [])


def test_a_failed_fresh_attempt_does_not_unmake_the_finished_one(records):
    records.run("ce", mIoU=0.5)
    records.unfinished("ce", failure="oom", attempt=2)
    (row,) = board(records)
    assert (row.state, row.n, len(row.failures)) == ("done", 1, 1)


def test_superseded_attempts_are_not_pooled(records):
    records.run("ce", mIoU=0.1)
    records.run("ce", mIoU=0.5, attempt=2)
    (row,) = board(records)
    assert (row.n, row.metrics["mIoU"].mean) == (1, 0.5)


def test_a_stale_row_is_apart_and_takes_no_part_in_the_ranks(records):
    records.seeds("ce", [0.90, 0.91, 0.92], digest="old")
    for seed, value in enumerate([0.50, 0.51, 0.52]):
        records.run("ce", seed=seed, mIoU=value, attempt=2, digest="new")
    rows = board(records, today={"ce": "new"})
    assert [(row.digest, row.state, row.rank) for row in rows] == [
        ("old", "stale", None),
        ("new", "done", 1),
    ]


def test_other_parameters_are_another_row(records):
    records.seeds("ce", [0.5], params={"wd": 1})
    records.seeds("ce", [0.4], params={"wd": 2})
    assert [row.params for row in board(records)] == [{"wd": 1}, {"wd": 2}]


def test_protocols_and_evaluations_are_never_in_one_block(records):
    records.seeds("a", [0.1, 0.11, 0.12])
    records.seeds("b", [0.9, 0.91, 0.92], under=FULL, evaluation_hash=TASK.evaluation_hash(FULL))
    records.seeds("c", [0.5, 0.51, 0.52], evaluation_hash="old")
    rows = board(records)
    blocks = [(row.protocol, row.evaluation_hash, row.method, row.rank) for row in rows]
    assert blocks == [
        ("toy:full", TASK.evaluation_hash(FULL), "b", 1),
        ("toy:quick", EVALUATION, "a", 1),
        ("toy:quick", EVALUATION, "c", None),  # has runs, not evaluated the way of today yet
        ("toy:quick", "old", "c", 1),
    ]


def test_a_renamed_protocol_keeps_its_rows(records):
    from records import protocol

    records.seeds("ce", [0.5], under=protocol("toy:former-name"))
    assert [row.protocol for row in board(records, protocol="toy:quick")] == ["toy:quick"]


def test_a_protocol_filter_leaves_ranks_alone(records):
    records.seeds("a", [0.1, 0.11, 0.12])
    records.seeds("b", [0.9, 0.91, 0.92])
    records.seeds("c", [0.5], under=FULL, evaluation_hash=TASK.evaluation_hash(FULL))
    rows = board(records, protocol="toy:quick")
    assert [(row.method, row.rank) for row in rows] == [("b", 1), ("a", 2)]


def test_unknown_names_get_the_nearest(records):
    records.seeds("ce", [0.5])
    with pytest.raises(UserError, match="did you mean mIoU"):
        board(records, by="mIuO")
    with pytest.raises(UserError, match="did you mean toy:quick"):
        board(records, protocol="toy:quik")


def test_running_is_a_matter_of_the_heartbeat(records):
    attempt = records.unfinished("ce", beat=30.0)
    assert states(board(records)) == {"ce": "running"}
    edit(attempt.path / "status.json", heartbeat=time.time() - 60.1)
    assert states(board(records)) == {"ce": "partial"}


def test_a_run_of_another_task_with_the_same_protocol_is_awaiting_evaluation(records):
    records.run("ce", evaluated=False)
    (row,) = board(records)
    assert (row.n, row.metrics, row.cost.parameters) == (0, {}, 1000)
