"""One run: record, failure kinds, locks, what a full disk leaves."""

import errno

import msgspec
import pytest
from assigned import (
    assign,
    catalog,  # noqa: F401
)

from suite.records.files import Evaluation, RunSpec, read
from suite.runs.failures import classify
from suite.runs.worker import execute

pytestmark = pytest.mark.usefixtures("fake")


def test_a_finished_run_leaves_record_predictions_and_evaluation(catalog, tmp_path):
    item, assignment = assign(catalog, tmp_path)
    assert execute(assignment, catalog).state == "done"
    attempt = item.attempt
    record = attempt.record()
    assert record.spec == item.spec == read(RunSpec, attempt.path / "spec.json")
    assert record.run_id == item.spec.run_id
    assert record.files == {"fake_methods/steady.py": record.files["fake_methods/steady.py"]}
    assert record.class_counts == [90, 10]
    assert record.environment["packages"]["numpy"]
    assert attempt.status().state == "done"
    (path,) = (attempt.path / "evaluations").iterdir()
    evaluation = read(Evaluation, path)
    assert [row.key for row in evaluation.metrics] == ["score", "score[group=tail]"]
    assert not attempt.checkpoint_dir.exists()


@pytest.mark.parametrize(
    ("what", "kind", "message", "step"),
    [
        ("nan", "nan", "loss is not finite at iteration 7", 7),
        ("oom", "oom", "MemoryError: out of memory", None),
        ("code", "code", "TypeError: no such thing (fake_task.py:", None),
        ("full", "disk", "No space left on device", None),
    ],
)
def test_failure_kinds(catalog, tmp_path, what, kind, message, step):
    item, assignment = assign(catalog, tmp_path, f"steady.what={what}", "steady.at=7")
    report = execute(assignment, catalog)
    assert report.state == "failed"
    assert report.failure.kind == kind
    assert message in report.failure.message
    assert report.failure.step == step
    status = item.attempt.status()
    assert (status.state, status.failure) == ("failed", report.failure)


@pytest.mark.slow
def test_time_limit(catalog, tmp_path):
    _, assignment = assign(catalog, tmp_path, "steady.sleep=0.05", time_limit=1.0)
    report = execute(assignment, catalog)
    assert report.failure.kind == "timeout"


def test_kinds_of_errors_from_below():
    assert (
        classify(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")).kind
        == "oom"
    )
    assert classify(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")).kind == "oom"
    assert classify(OSError(errno.EDQUOT, "Disk quota exceeded")).kind == "disk"
    assert (
        classify(RuntimeError("PytorchStreamWriter failed: No space left on device")).kind == "disk"
    )
    assert classify(KeyError("x")).kind == "code"


def test_stop_request_is_resumable_and_exact(catalog, tmp_path):
    item, assignment = assign(catalog, tmp_path / "a")
    execute(assignment, catalog)
    undisturbed = item.attempt.predictions()["test"]["score"]

    item, assignment = assign(catalog, tmp_path / "b")
    asked = iter([False] * 20 + [True] * 100)
    assert execute(assignment, catalog, stopping=lambda: next(asked)).state == "stopped"
    assert item.attempt.status().state == "stopped"
    assert execute(assignment, catalog).state == "done"
    assert item.attempt.status().restarts == 1
    assert item.attempt.predictions()["test"]["score"] == undisturbed


def test_code_that_changed_after_planning_is_not_run(catalog, tmp_path):
    _, assignment = assign(catalog, tmp_path)
    changed = msgspec.structs.replace(assignment, digest="0" * 12)
    report = execute(changed, catalog)
    assert report.state == "failed"
    assert "changed after the run was planned" in report.failure.message
