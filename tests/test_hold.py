"""One process at a time on a run: leases across machines, takeovers, requests to cancel."""

import os
import time

import msgspec
import pytest

from suite.catalog import Catalog
from suite.hold import cancel, cancelled, held_elsewhere
from suite.plan import make_plan
from suite.record import Status
from suite.worker import Assignment, execute

pytestmark = pytest.mark.usefixtures("fake")


@pytest.fixture
def catalog():
    return Catalog.load()


def assign(catalog, root, *settings, **options):
    task = catalog.task("fake")
    (item,) = make_plan(
        root, catalog, task, catalog.protocol(task, "quick"), methods=["steady"], settings=settings
    ).items
    return item.attempt, Assignment(
        spec=item.spec, attempt=1, digest=item.digest, root=str(root), **options
    )


def status(**changes):
    now = time.time()
    return Status(
        **{
            "state": "running", "digest": "d", "started": now, "heartbeat": now,
            "host": "elsewhere", "pid": 1, "owner": "other", **changes,
        }
    )  # fmt: skip


def test_a_run_that_beats_on_another_machine_is_left_alone(catalog, tmp_path):
    attempt, assignment = assign(catalog, tmp_path, "steady.sleep=0.0")
    attempt.create(assignment.spec)
    attempt.write_status(status())
    assert execute(assignment, catalog).state == "busy"
    assert attempt.status().owner == "other"
    attempt.write_status(status(heartbeat=time.time() - 61))
    assert execute(assignment, catalog).state == "done"


def test_a_status_left_on_this_machine_holds_nobody_up():
    here = os.uname().nodename
    assert held_elsewhere(status())
    assert not held_elsewhere(status(host=here))
    assert not held_elsewhere(status(state="stopped"))
    assert not held_elsewhere(None)


def test_a_worker_whose_run_was_taken_over_writes_nothing_more(catalog, tmp_path):
    """Two machines whose file system has no locks: the first one was thought dead, and wakes up."""
    attempt, assignment = assign(catalog, tmp_path, "steady.sleep=0.05", checkpoint_seconds=0.1)
    steps = iter(range(1000))

    def take_over():
        if next(steps) == 10:
            attempt.write_status(status(step=3))
        return False

    assert execute(assignment, catalog, stopping=take_over).state == "busy"
    assert attempt.status().owner == "other"
    assert attempt.status().step == 3
    assert not attempt.finished
    assert not (attempt.path / "predictions.npz").exists()


def test_takeover_between_training_and_storing(catalog, tmp_path, monkeypatch):
    attempt, assignment = assign(catalog, tmp_path, "steady.sleep=0.0")
    written = attempt.path / "predictions.npz"
    write = type(attempt).write_predictions

    def slow(self, sets):
        write(self, sets)
        self.write_status(status())

    monkeypatch.setattr(type(attempt), "write_predictions", slow)
    assert execute(assignment, catalog).state == "busy"
    assert written.exists()
    assert not attempt.finished  # the other one writes the record


def test_a_cancelled_run_stops_at_its_checkpoint_and_a_later_command_goes_on(catalog, tmp_path):
    before = time.time()
    attempt, assignment = assign(catalog, tmp_path, "steady.sleep=0.03", wanted=before)
    asked = iter(range(1000))

    def look():
        if next(asked) == 10:
            cancel(tmp_path, assignment.spec.run_id)
        return False

    report = execute(assignment, catalog, stopping=look)
    assert report.state == "cancelled"
    assert 10 <= report.step < 60
    assert attempt.status().state == "stopped"
    assert execute(assignment, catalog).state == "cancelled"
    later = msgspec.structs.replace(assignment, wanted=time.time())
    assert execute(later, catalog).state == "done"
    assert attempt.status().restarts == 1


def test_a_damaged_request_cancels_nothing(tmp_path):
    cancel(tmp_path, "0" * 12, "by a test")
    assert cancelled(tmp_path, "0" * 12, 0.0).note == "by a test"
    (tmp_path / "runs" / ("0" * 12) / "cancel.json").write_text("{")
    assert cancelled(tmp_path, "0" * 12, 0.0) is None
