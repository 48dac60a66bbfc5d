"""One process at a time on a run: leases across machines, takeovers, requests to cancel."""

import errno
import os
import threading
import time

import msgspec
import pytest

from suite.define.catalog import Catalog
from suite.records import lease
from suite.records.files import Status
from suite.records.lease import (
    cancel,
    cancel_all,
    cancel_request,
    is_leased,
    is_leased_by_another,
    run_lock,
)
from suite.runs import job
from suite.runs.job import Assignment
from suite.runs.plan import make_plan
from suite.runs.worker import execute

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


def test_a_status_left_by_a_dead_process_holds_nobody_up():
    here = os.uname().nodename
    assert is_leased(status())
    assert not is_leased(status(host=here, pid=2**22 + 1))  # no such process
    mine = status(host=here, pid=os.getpid())
    assert is_leased(mine)
    assert not is_leased_by_another(mine)  # and this one knows better
    assert is_leased(status(host=here, pid=os.getppid()))
    assert not is_leased(status(state="stopped"))
    assert not is_leased(None)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_left_to_leases(catalog, tmp_path, monkeypatch, code):
    def no_locks(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(lease.fcntl, "flock", no_locks)
    with run_lock(tmp_path, "0" * 12) as mine:
        assert mine
    attempt, assignment = assign(catalog, tmp_path, "steady.sleep=0.0")
    attempt.create(assignment.spec)
    attempt.write_status(status(host=os.uname().nodename, pid=os.getppid()))
    assert execute(assignment, catalog).state == "busy"
    attempt.write_status(status(host=os.uname().nodename, pid=2**22 + 1))
    assert execute(assignment, catalog).state == "done"


@pytest.mark.slow
def test_the_heart_beats_while_an_iteration_takes_long(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "PULSE_SECONDS", 0.05)
    attempt, assignment = assign(catalog, tmp_path, "steady.sleep=0.6")
    beats = set()

    def look():
        beats.add(attempt.status().heartbeat)
        return len(beats) > 1

    thread = threading.Thread(target=lambda: [time.sleep(0.05) or look() for _ in range(10)])
    thread.start()
    execute(assignment, catalog, stopping=lambda: len(beats) > 5)
    thread.join()
    assert len(beats) > 5  # in half a second; iterations take longer
    final = attempt.status()
    time.sleep(0.2)
    assert attempt.status() == final == msgspec.structs.replace(final, state="stopped")


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_requests_for_all_runs_and_for_those_of_a_protocol(catalog, tmp_path):
    _, assignment = assign(catalog, tmp_path)
    spec, before = assignment.spec, time.time()
    cancel_all(tmp_path, ["another"])
    assert cancel_request(tmp_path, spec, before) is None
    cancel_all(tmp_path, ["another", spec.protocol_hash])
    assert cancel_request(tmp_path, spec, before)
    assert cancel_request(tmp_path, spec, time.time()) is None
    later = time.time()
    cancel_all(tmp_path)
    assert cancel_request(tmp_path, spec, later)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"asked": "now"}'])
def test_a_damaged_request_cancels_nothing(catalog, tmp_path, content):
    _, assignment = assign(catalog, tmp_path)
    spec = assignment.spec
    cancel(tmp_path, spec.run_id, "by a test")
    assert cancel_request(tmp_path, spec, 0.0).note == "by a test"
    (tmp_path / "runs" / spec.run_id / "cancel.json").write_bytes(content)
    assert cancel_request(tmp_path, spec, 0.0) is None


@pytest.mark.parametrize(
    "number", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL", "EIO", "EBADF", "EPERM"]
)
def test_a_file_system_without_locks_says_so_in_many_ways(tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(getattr(errno, number), number)

    monkeypatch.setattr(lease.fcntl, "flock", flock)
    with run_lock(tmp_path, "a" * 12) as mine:
        assert mine


def test_another_users_lock_is_one_to_wait_for(tmp_path, monkeypatch):
    """In a folder shared by a group its file may be read alone."""
    with run_lock(tmp_path, "a" * 12) as mine:
        assert mine
        opened = os.open

        def refused(path, flags, *mode):
            if flags & os.O_RDWR:
                raise PermissionError(errno.EACCES, "Permission denied")
            return opened(path, flags, *mode)

        monkeypatch.setattr(lease.os, "open", refused)
        with run_lock(tmp_path, "a" * 12) as second:
            assert not second
        with pytest.raises(PermissionError):
            lease.open_lock(tmp_path / "none")
