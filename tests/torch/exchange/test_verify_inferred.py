"""Verifying records of methods that infer with torch."""

from pathlib import Path

import pytest
from strangers import catalog, edit, finished

from suite.exchange.verify import verify
from suite.records.attempt import Attempt


@pytest.fixture
def run(tmp_path: Path) -> Attempt:
    return finished(tmp_path, 3)


def fields(**changes):
    return lambda content: content.update(changes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["spec"].update(seed=4), "its spec is that of run"),
        (lambda c: c["spec"].update(protocol_hash="f" * 12), "not known here"),
        (fields(dataset="other"), "data set 'other'"),
        (fields(class_counts=[1, 2]), "class counts"),
        (fields(class_counts=[-1] * 10), "out of range"),
        (fields(classes=["x"] * 10), "classes are not those"),
        (fields(attempt=2), "attempt 2"),
        (fields(infers=True), "which is not so"),
        (fields(rows=[{"metric": "mIoU", "value": 1.0, "source": "arrays"}]), "made from arrays"),
        (lambda c: c["cost"].update(wall_seconds=-1.0), "wall_seconds is -1.0"),
        (lambda c: c["cost"].update(parameters=2**70), "parameters is"),
        (fields(inputs={"stage1": {"run_id": "a", "attempt": 1, "method": "ce", "digest": ""}}),
         "input runs"),
    ],
)  # fmt: skip
def test_a_record_that_contradicts_itself(run, change, says):
    edit(run.path / "record.json", change)
    verdict = verify(run, catalog())
    assert not verdict.holds
    assert any(says in problem for problem in verdict.problems), verdict.problems
