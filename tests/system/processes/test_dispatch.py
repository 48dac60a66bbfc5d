"""Local dispatch: slots, dead workers, Ctrl-C, two commands on one root."""

import os
import random
import signal
import threading
import time

import pytest

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.dispatch import here as local
from suite.dispatch.carry_out import assignments
from suite.dispatch.here import LocalDispatch
from suite.records.attempt import attempts
from suite.records.files import Status, read
from suite.runs import slots as places
from suite.runs.plan import make_plan
from suite.runs.slots import Slot, make_slots

pytestmark = pytest.mark.usefixtures("fake")


def work(root, *settings, methods=(), seeds=(0,), **options):
    catalog = Catalog.load()
    task = catalog.task("fake")
    plan = make_plan(
        root,
        catalog,
        task,
        catalog.protocol(task, "quick"),
        methods=methods,
        seeds=seeds,
        settings=settings,
    )
    return assignments(plan.items, root, None, **options)


def scores(root):
    found = {}
    for run in sorted((root / "runs").iterdir()):
        (attempt,) = [a for a in attempts(root, run.name) if a.finished]
        found[run.name] = float(attempt.predictions()["test"]["score"][0])
    return found


def cpu(count):
    return [Slot("cpu", "", 1)] * count


@pytest.mark.fault
def test_results_do_not_depend_on_the_number_of_workers(tmp_path):
    one, three = tmp_path / "one", tmp_path / "three"
    LocalDispatch(cpu(1)).run(work(one, seeds=(0, 1)))
    LocalDispatch(cpu(3)).run(work(three, seeds=(0, 1)))
    assert len(scores(one)) == 6
    assert scores(one) == scores(three)


@pytest.mark.fault
def test_never_more_at_a_time_than_slots(tmp_path):
    running, most = set(), 0

    def on_report(report):
        nonlocal most
        (running.add if report.state == "running" else running.discard)(report.run_id)
        most = max(most, len(running))

    todo = work(tmp_path, "steady.sleep=0.02", "calm.sleep=0.02", "brisk.sleep=0.02", seeds=(0, 1))
    reports = LocalDispatch(cpu(2), on_report=on_report).run(todo)
    assert [report.state for report in reports.values()] == ["done"] * 6
    assert most == 2


@pytest.mark.fault
def test_one_failure_stops_nobody(tmp_path):
    reports = LocalDispatch(cpu(2)).run(work(tmp_path, "calm.what=code", "calm.at=3"))
    states = sorted(report.state for report in reports.values())
    assert states == ["done", "done", "failed"]


@pytest.mark.fault
def test_worker_that_dies_once_is_resumed_and_one_that_keeps_dying_has_failed(tmp_path):
    todo = work(tmp_path, "calm.what=die-once", "calm.at=30", "brisk.what=die", "brisk.at=30")
    reports = LocalDispatch(cpu(1)).run(todo)
    by_method = {a.spec.method: reports[a.spec.run_id] for a in todo}
    assert by_method["calm"].state == "done"
    assert by_method["steady"].state == "done"
    failure = by_method["brisk"].failure
    assert failure.kind == "killed"
    assert "exit code 137" in failure.message
    (brisk,) = (a for a in todo if a.spec.method == "brisk")
    (attempt,) = attempts(tmp_path, brisk.spec.run_id)
    assert attempt.status().failure.kind == "killed"


@pytest.mark.fault
def test_out_of_memory_and_disk_full_are_tried_three_times_and_code_once(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "BACKOFF_SECONDS", 0.1)
    kinds = {"calm": "oom", "brisk": "full", "steady": "code"}
    settings = [f"{m}.{key}" for m, what in kinds.items() for key in (f"what={what}", "at=3")]
    todo = work(tmp_path, *settings)
    began = time.monotonic()
    reports = LocalDispatch(cpu(1)).run(todo)
    by_method = {a.spec.method: reports[a.spec.run_id].failure.kind for a in todo}
    assert by_method == {"calm": "oom", "brisk": "disk", "steady": "code"}
    restarts = {}
    for assignment in todo:
        (attempt,) = attempts(tmp_path, assignment.spec.run_id)
        restarts[assignment.spec.method] = attempt.status().restarts
    assert restarts == {"calm": 2, "brisk": 2, "steady": 0}
    assert time.monotonic() - began >= 0.1 + 0.4


@pytest.mark.fault
def test_stopping_from_outside_checkpoints_and_stops(tmp_path):
    todo = work(tmp_path, *(f"{m}.sleep=0.05" for m in ("steady", "calm", "brisk")))
    reported = []
    dispatch = LocalDispatch(
        cpu(1),
        on_report=lambda report: reported.append(report.step),
        stopping=lambda: any(reported),
    )
    reports = dispatch.run(todo)
    assert dispatch.interrupted
    assert [report.state for report in reports.values()] == ["stopped"]
    (attempt,) = attempts(tmp_path, todo[0].spec.run_id)
    assert attempt.status().state == "stopped"
    assert attempt.checkpoint_dir.exists()
    assert LocalDispatch(cpu(1)).run(todo)[todo[0].spec.run_id].state == "done"


@pytest.mark.fault
def test_a_hanging_run_is_ended_after_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "HANG_GRACE_SECONDS", 0.5)
    todo = work(tmp_path, "steady.what=hang", "steady.at=3", methods=["steady"], time_limit=1.0)
    (report,) = LocalDispatch(cpu(1)).run(todo).values()
    assert report.failure.kind == "timeout"


@pytest.mark.fault
def test_kill_at_random_moments_and_rerun_gives_the_undisturbed_result(tmp_path):
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    settings = [f"{m}.sleep=0.01" for m in ("steady", "calm", "brisk")]
    LocalDispatch(cpu(2)).run(work(calm, *settings))
    generator = random.Random(7)
    stop = threading.Event()

    def kill_now_and_then():
        while not stop.is_set():
            time.sleep(generator.uniform(0.05, 0.6))
            running = [read(Status, path) for path in rough.glob("runs/*/*/status.json")]
            for status in running:
                if status.state == "running" and generator.random() < 0.5:
                    try:
                        os.kill(status.pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        for _ in range(4):
            LocalDispatch(cpu(2)).run(work(rough, *settings, checkpoint_seconds=0.05))
    finally:
        stop.set()
        killer.join()
    LocalDispatch(cpu(2)).run(work(rough, *settings, checkpoint_seconds=0.05))
    assert scores(rough) == scores(calm)


@pytest.mark.fault
def test_two_dispatches_on_one_root_share_the_work(tmp_path):
    todo = work(tmp_path, *(f"{m}.sleep=0.02" for m in ("steady", "calm", "brisk")))
    results = {}

    def go(name):
        results[name] = LocalDispatch(cpu(1)).run(todo)

    threads = [threading.Thread(target=go, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "ab":
        assert [r.state for r in results[name].values()] == ["done"] * 3
    assert len(scores(tmp_path)) == 3  # one attempt each


def test_slots(monkeypatch):
    monkeypatch.setattr(places, "gpus", lambda: [])
    monkeypatch.setattr(places, "usable_cores", lambda: 8)
    assert len(make_slots("auto", None, 2)) == 4
    assert make_slots("cpu", 3, 1) == [Slot("cpu", "", 1)] * 3
    with pytest.raises(UserError, match="no GPU here"):
        make_slots("cuda", None, 1)
    monkeypatch.setattr(places, "gpus", lambda: ["0", "2"])
    assert [slot.visible for slot in make_slots("auto", None, 4)] == ["0", "2"]
    assert [slot.visible for slot in make_slots("cuda", 3, 4)] == ["0", "2", "0"]
    assert [slot.visible for slot in make_slots("cuda:2", None, 4)] == ["2"]
    for device in ("gpu", "cuda:1", "cpu:0"):
        with pytest.raises(UserError, match="--device"):
            make_slots(device, None, 1)
    with pytest.raises(UserError, match="at least 1"):
        make_slots("cpu", 0, 1)
