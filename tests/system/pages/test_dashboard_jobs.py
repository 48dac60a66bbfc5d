"""What is under way: counts, commands and submissions, the survey that sessions share, and the Jobs page."""

import re
import threading
import time
from pathlib import Path

import msgspec
import pytest
import strangers
from dashboards import _restored, check, open_page, texts  # noqa: F401
from records import HOSTILE, TASK, Records

from dashboard import watch as watching
from dashboard.watch import Cluster, Watch
from suite.base.errors import UserError
from suite.define.card import Card, Preset
from suite.define.catalog import Catalog
from suite.define.spec import RunSpec
from suite.dispatch import progress as jobs
from suite.dispatch.batch import Batch, write_batch
from suite.dispatch.progress import RunFilter
from suite.dispatch.reconcile import ClusterState, LiveJob
from suite.dispatch.request import Site
from suite.dispatch.states import Settled, read_settled, survey
from suite.records.attempt import Attempt
from suite.records.files import Failure, Status
from suite.records.states import RUN_STATES
from suite.runs.job import Assignment
from suite.store.connection import connect, store_path
from suite.store.ingest import ingest

DIGEST = "d1"


class Toy(Catalog):
    """The task of `records` and methods `ce` and `la`, whose code is d1 today."""

    def methods(self, task=None):
        return ["ce", "la"]

    def digest(self, spec, inputs=None):
        if spec.method not in self.methods():
            raise UserError("unknown")
        return DIGEST

    def card(self, method):
        return Card(title="", tasks=[TASK.name], names={method: Preset(summary="")})

    def spec(self, method, protocol, seed=0, overrides=None, inputs=None):
        return Records(Path()).spec(method, seed, overrides, inputs, protocol)


TOY = Toy({TASK.name: TASK}, {})


def by_id(found):
    return {run.spec.run_id: run.state for run in found}


# -- the survey that leaves out what the store knows


def made(root):
    """Runs of every kind; the ids of those that the store is to know as settled."""
    board = Records(root)
    done = [board.run("ce", seed=seed, mIoU=0.1).run_id for seed in range(3)]
    done.append(board.run("ce", seed=3, evaluated=False).run_id)
    stale = board.run("la", seed=0, digest="old", mIoU=0.1).run_id
    # an older attempt of today's code counts, whatever the newest was made with
    board.run("la", seed=1, mIoU=0.1)
    done.append(board.run("la", seed=1, attempt=2, digest="old", mIoU=0.1).run_id)
    # finished, and taken up again since
    board.run("ce", seed=4, mIoU=0.1)
    board.unfinished("ce", seed=4, attempt=2)
    board.unfinished("ce", seed=5, failure="oom")
    board.unfinished("ce", seed=6, state="stopped", beat=900)
    # of a method that is not known today, older code may count: its files must say
    board.run("gone", seed=0, digest="new", mIoU=0.1, attempt=1)
    board.run("gone", seed=1, digest="old", mIoU=0.1, attempt=1)
    board.ingest({"ce": DIGEST, "la": DIGEST})
    return board, done, stale


def test_leaving_out_what_the_store_knows_changes_no_state(tmp_path):
    _, done, stale = made(tmp_path)
    before, _ = survey(tmp_path, TOY, settle=False)
    with connect(tmp_path) as store:
        known = read_settled(store, TOY.methods())
    after, _ = survey(tmp_path, TOY, settle=False, leave_out=known.state.keys())
    assert {run for run, state in known.state.items() if state == "stale"} == {stale}
    assert set(done) < {run for run, state in known.state.items() if state == "done"}
    assert {**known.state, **by_id(after)} == by_id(before)
    assert not known.state.keys() & by_id(after).keys()
    assert {"running", "failed", "stopped"} <= set(by_id(after).values())
    assert sum(known.counts.values()) == len(known.state)


def test_what_is_left_out_is_not_opened(tmp_path, monkeypatch):
    board, *_ = made(tmp_path)
    with connect(tmp_path) as store:
        known = read_settled(store, TOY.methods())
    opened = []
    from suite.dispatch import states as surveys
    from suite.records import attempt as record
    from suite.records.lookup import find_spec

    def attempts(root, run_id):
        opened.append(run_id)
        return record.attempts(root, run_id)

    monkeypatch.setattr(surveys, "attempts", attempts)
    monkeypatch.setattr(
        surveys, "find_spec", lambda root, run: opened.append(run) or find_spec(root, run)
    )
    found, _ = survey(board.root, TOY, settle=False, leave_out=known.state.keys())
    assert opened and not set(opened) & known.state.keys()
    assert set(opened) == by_id(found).keys()


def assignment(root, spec, attempt=1):
    return Assignment(spec=spec, attempt=attempt, digest=DIGEST, root=str(root))


def batch(root, specs, *, attempt=1, **changes):
    made = Batch(
        id="20261125-101500-abcdef", created=time.time() - 50, state="submitted", cluster="hpc",
        uid=0, user="ada", host="login1", site=Site(partition="gpu", time="4:00:00", gpus_per_node=1),
        site_name="lab", slots=1, threads=1, code="0" * 12,
        jobs=[[assignment(root, spec, attempt)] for spec in specs],
        ids=[f"7_{n}" for n in range(len(specs))],
    )  # fmt: skip
    made = msgspec.structs.replace(made, **changes)
    write_batch(root, made)
    return made


def standing_of(submitted, root, **places):
    from suite.dispatch.reconcile import SubmittedRun

    runs = {
        run.spec.run_id: SubmittedRun(submitted, submitted.ids[n], run)
        for n, (run,) in enumerate(submitted.jobs)
    }
    return ClusterState(live=places, submitted=runs)


def test_a_settled_run_in_a_live_job_is_looked_at(tmp_path):
    board = Records(tmp_path)
    again = board.run("ce", seed=0, mIoU=0.1).run_id
    board.ingest({"ce": DIGEST})
    submitted = batch(tmp_path, [board.spec("ce", 0)], attempt=2)
    now = standing_of(
        submitted, tmp_path, **{again: LiveJob("7_0", "PENDING", "", "Resources", "b")}
    )
    found, _ = survey(tmp_path, TOY, leave_out={again}, now=now)
    assert by_id(found) == {again: "queued"}
    # and an answer of a moment ago does not hold a run that has finished since
    board.run("ce", seed=0, attempt=2, mIoU=0.1)
    found, _ = survey(tmp_path, TOY, now=now)
    assert by_id(found) == {again: "done"}


# -- pure functions


def test_tally_adds_what_the_store_knows(tmp_path):
    made(tmp_path)
    with connect(tmp_path) as store:
        known = read_settled(store, TOY.methods())
    runs, _ = survey(tmp_path, TOY, settle=False, leave_out=known.state.keys())
    whole = jobs.tally(runs, known, TOY, RunFilter())
    everything, _ = survey(tmp_path, TOY, settle=False)
    assert whole == jobs.tally(everything, Settled(), TOY, RunFilter())
    assert whole[(TASK.name,), "toy:quick"].total() == len(everything)
    for choice in (
        RunFilter(method="LA"),
        RunFilter(states=("done", "failed")),
        RunFilter(task=TASK.name, protocol="toy:quick", method="ce"),
        RunFilter(task="another"),
        RunFilter(protocol="toy:full"),
    ):
        assert jobs.tally(runs, known, TOY, choice) == jobs.tally(
            everything, Settled(), TOY, choice
        )
    assert jobs.tally(runs, known, TOY, RunFilter(protocol="toy:full")) == {}


@pytest.mark.parametrize(
    ("seeds", "text"), [([0], "0"), ([2, 0, 1, 1], "0-2"), ([5, 0, 1, 9, 8], "0-1,5,8-9"), ([], "")]
)
def test_seeds_are_spelled_as_they_are_typed(seeds, text):
    from suite.cli.options import parse_seeds
    from suite.define.spec import spelled

    assert spelled(seeds) == text
    if text:
        assert parse_seeds(text) == sorted(set(seeds))


def put(root, spec, state, *, kind=None, message="it broke", digest=DIGEST, **changes):
    attempt = Attempt(root, spec.run_id, 1)
    attempt.create(spec)
    now = time.time()
    status = Status(
        state=state, digest=digest, started=now - 90, heartbeat=now, step=15, total=60,
        elapsed=30.0, host="node7",
        failure=Failure(kind=kind, message=message, step=15) if kind else None,
    )  # fmt: skip
    attempt.write_status(msgspec.structs.replace(status, **changes))


def test_commands_go_on_with_what_stopped_and_failed(tmp_path):
    board = Records(tmp_path)
    put(tmp_path, board.spec("ce", 0), "failed", kind="oom")
    put(tmp_path, board.spec("ce", 1), "failed", kind="nan")
    put(tmp_path, board.spec("ce", 2), "stopped", heartbeat=1.0)

    def told(**more):
        runs, _ = survey(tmp_path, TOY, settle=False, **more)
        return jobs.next_commands([run for run in runs if run.state != "running"], TOY)

    stopped = board.spec("ce", 2).run_id
    assert told() == [
        "python -m suite retry",
        "python -m suite retry --kind nan",
        f"python -m suite retry {stopped}",
    ]
    runs, _ = survey(tmp_path, TOY, settle=False)
    assert jobs.next_commands(runs[:0], TOY) == []
    assert jobs.next_commands([r for r in runs if r.state == "failed"], TOY, "toy-task") == [
        "python -m suite retry --task toy-task",
        "python -m suite retry --kind nan --task toy-task",
    ]
    # more than a line names, and one that is wanted and nowhere
    for seed in range(3, 12):
        put(tmp_path, board.spec("ce", seed), "stopped", heartbeat=1.0)
    planned = told(wanted=[board.spec("la", 7), board.spec("no-such-method", 1)])
    run = "python -m suite run --task toy-task --protocol toy:quick"
    assert planned[2:] == [f"{run} --method ce --seeds 2-11", f"{run} --method la --seeds 7"]


def test_a_submission_in_a_few_words(tmp_path):
    board = Records(tmp_path)
    specs = [board.spec(method, seed) for method in ("ce", "la") for seed in (0, 1, 3)]
    found = jobs.submission(
        batch(tmp_path, specs), {specs[0].run_id: "done", specs[1].run_id: "running"}
    )
    assert found.asked == "ce, la; toy:quick; seeds 0-1,3"
    assert found.resources == "profile lab, partition gpu, time 4:00:00, GPUs 1"
    assert (found.runs, found.jobs, found.by) == (6, 6, "ada on login1")
    assert found.states == {"running": 1, "planned": 4, "done": 1}
    many = [board.spec(f"m{n}") for n in range(jobs.MOST_NAMED + 3)]
    assert "m7 and 3 more; toy:quick; seeds 0" in jobs.submission(batch(tmp_path, many), {}).asked


# -- the survey that sessions share


def test_ten_sessions_share_a_survey(tmp_path, monkeypatch):
    made(tmp_path)
    asked = []

    def slow(*args, **kwargs):
        asked.append(1)
        time.sleep(0.3)
        return survey(*args, **kwargs)

    monkeypatch.setattr(watching, "survey", slow)
    shared = Watch(tmp_path, TOY)
    views = []
    sessions = [threading.Thread(target=lambda: views.append(shared.look())) for _ in range(10)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    for _ in range(5):
        views.append(shared.look())
    assert len(asked) == 1
    assert len({id(view) for view in views}) == 1
    view = views[0]
    assert len(view.runs) + len(view.settled.state) == len(list((tmp_path / "runs").iterdir()))
    assert view.store_problem == view.problem == ""


def test_a_later_look_sees_what_changed(tmp_path, monkeypatch):
    board = Records(tmp_path)
    monkeypatch.setattr(watching, "SECONDS", 0.0)
    monkeypatch.setattr(watching, "SHARE", 0.0)
    board.unfinished("ce")
    shared = Watch(tmp_path, TOY)
    assert list(by_id(shared.look().runs).values()) == ["running"]
    board.unfinished("ce", failure="oom")
    until = time.time() + 10
    while "failed" not in by_id(shared.look().runs).values():
        assert time.time() < until
        time.sleep(0.01)


def test_a_store_that_cannot_be_read_costs_time_and_no_run(tmp_path):
    board, *_ = made(tmp_path)
    everything, _ = survey(tmp_path, TOY, settle=False)
    store_path(board.root).write_bytes(b"no store")
    view = Watch(tmp_path, TOY).look()
    assert by_id(view.runs) == by_id(everything)
    assert "type `python -m suite ingest`" in view.store_problem


def test_what_goes_wrong_in_the_thread_is_said(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(watching, "survey", broken)
    shared = Watch(tmp_path, TOY)
    assert shared.look() is None
    assert shared.problem == "PermissionError: [Errno 13] Permission denied"


def test_a_cluster_that_does_not_answer_holds_up_nothing(tmp_path, monkeypatch):
    board = Records(tmp_path)
    spec = board.spec("ce", 0)
    submitted = batch(tmp_path, [spec])
    here = standing_of(
        submitted, tmp_path, **{spec.run_id: LiveJob("7_0", "PENDING", "", "Priority", "b")}
    )
    answer, release, asked = [here], threading.Event(), []

    def reconcile(root, *, settle):
        assert not settle
        asked.append(1)
        if not answer:
            release.wait(30)
            return ClusterState(silent="squeue has not answered for 60 s")
        return answer[0]

    monkeypatch.setattr(watching, "reconcile", reconcile)
    monkeypatch.setattr(watching, "CLUSTER_SECONDS", 0.0)
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 0.1)
    cluster = Cluster(tmp_path)
    assert cluster.state() == here
    answer.clear()
    begun = time.monotonic()
    silent = [cluster.state() for _ in range(5)]
    assert time.monotonic() - begun < 2
    # one question at a time, and until then the last word holds
    assert len(asked) == 2
    assert all(one.live == here.live for one in silent)
    said = re.compile(r"the cluster has not answered for [0-2] s; jobs as of \d\d:\d\d:\d\d")
    assert all(said.fullmatch(one.silent) for one in silent)
    release.set()
    until = time.time() + 10
    while "squeue has not answered for 60 s; jobs as of" not in (cluster.state().problem or ""):
        assert time.time() < until
    answer.append(here)
    while cluster.state() != here:
        assert time.time() < until
    # never heard of: the files alone, and the reason
    answer.clear()
    release.clear()
    other = Cluster(tmp_path)
    assert other.state().silent == "the cluster has not answered for 0 s"
    release.set()


def test_nobody_asks_a_cluster_where_nothing_was_submitted(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "reconcile", None)
    made(tmp_path)
    assert Cluster(tmp_path).state() == ClusterState()


# -- the page


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("jobs") / "results"
    for seed in range(3):
        strangers.finished(root, seed, "ce")
    under = strangers.protocol()
    today = strangers.catalog()

    def spec(method, seed):
        return today.spec(method, under, seed)

    def begun(method, seed, state, **more):
        made = spec(method, seed)
        put(root, made, state, digest=today.digest(made), **more)

    begun("la", 0, "running", restarts=2)
    begun("focal", 0, "failed", kind="oom", message="CUDA out of memory")
    begun("focal", 1, "stopped", heartbeat=time.time() - 600)
    for number, name in enumerate(HOSTILE):
        stranger = RunSpec(
            protocol=name or "none", protocol_hash=under.hash, method=f"{name}!", seed=number
        )
        put(root, stranger, "failed", kind="code", message=name * 50, host=name)
    ingest(root, today.tasks(), today.code)
    return root


def tables(page):
    """Title -> rows of the table below it."""
    titles = [one.value.strip("*") for one in page.get("markdown") if one.value.startswith("**")]
    frames = [one.value for one in page.dataframe]
    assert len(titles) == len(frames)
    return {
        title.partition(",")[0]: frame.values.tolist()
        for title, frame in zip(titles, frames, strict=True)
    }


def test_page_shows_states_progress_and_commands(results):
    page = open_page(results, "jobs")
    shown = tables(page)
    states = {state: runs for state, runs, _ in shown["Runs by state"]}
    assert states == {"running": 1, "failed": 1 + len(HOSTILE), "stopped": 1, "done": 3}
    meanings = {state: text for state, _, text in shown["Runs by state"]}
    assert meanings["done"] == RUN_STATES["done"]
    assert meanings["failed"].startswith(f"{len(HOSTILE)} code, 1 oom; `retry`")
    (running,) = shown["Running"]
    assert running[1:4] == ["quick", "la", 0]
    assert running[4:10] == [25.0, 15, 60, "1 min 30 s", "on node7", 2]
    assert running[10].endswith(" ago")
    assert any(line[-1] == "CUDA out of memory" for line in shown["Failed"])
    (stopped,) = shown["Stopped"]
    # and as long as the page took to open
    assert stopped[6].startswith("10 min ") and stopped[6].endswith(" ago")
    told = texts(page)
    assert "python -m suite retry\n" in told
    assert "python -m suite retry --kind code" in told
    assert f"python -m suite retry {stopped[0].removeprefix('run?run=')}" in told


def test_filters_are_in_the_url(results):
    page = open_page(
        results, "jobs", task="longtail-cls", protocol="quick", contains="FOC", state="failed"
    )
    shown = tables(page)
    assert [line[:2] for line in shown["Runs by state"]] == [["failed", 1]]
    assert shown.keys() == {"Runs by state", "Failed", "Runs by protocol"}
    assert "python -m suite retry --task longtail-cls" in texts(page)
    page = open_page(results, "jobs", contains="no such method", state="done")
    assert "no run is left by these filters" in texts(page)
    page = open_page(results, "jobs", state="dnoe", protocol="quikc")
    told = texts(page)
    assert "state=dnoe in the URL" in told and "did you mean" in told
    assert tables(page)["Runs by state"]


def test_submitted_runs_are_shown_before_there_is_a_store(tmp_path, monkeypatch):
    today = strangers.catalog()
    specs = [today.spec("ce", strangers.protocol(), seed) for seed in range(4)]
    submitted = batch(tmp_path, specs)
    now = standing_of(
        submitted,
        tmp_path,
        **{
            specs[0].run_id: LiveJob("7_0", "RUNNING", "node1", "", "b"),
            specs[1].run_id: LiveJob("7_1", "PENDING", "", "launch failed requeued held", "b"),
        },
    )
    monkeypatch.setattr(watching, "reconcile", lambda root, settle: now)
    page = open_page(tmp_path, "jobs")
    shown = tables(page)
    queued = {line[0].removeprefix("run?run="): line[4:] for line in shown["Queued"]}
    assert queued == {
        specs[0].run_id: ["job 7_0 on node1", "its job runs; other runs come first"],
        specs[1].run_id: ["job 7_1", "launch failed requeued held: `retry` releases it"],
    }
    (line,) = shown["Submitted to a cluster"]
    assert line[2:7] == [0.0, 0, 4, "2 queued, 2 planned", "ce; quick; seeds 0-3"]
    run = "python -m suite run --task longtail-cls --protocol quick --method ce --seeds 2-3"
    assert run in texts(page)
    # nothing was written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs"]
    monkeypatch.setattr(
        watching, "reconcile", lambda root, settle: ClusterState(silent="squeue is not on PATH")
    )
    page = open_page(tmp_path, "jobs")
    assert "cluster: squeue is not on PATH" in texts(page).replace("\\", "")


def test_no_runs_and_a_first_survey_that_takes_long(tmp_path, monkeypatch):
    board = Records(tmp_path)
    board.ingest()
    page = open_page(tmp_path, "jobs")
    assert "no runs yet" in texts(page)
    assert "python -m suite run --task longtail-seg" in texts(page)
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 0.05)
    hold = threading.Event()
    monkeypatch.setattr(
        watching, "survey", lambda *_, **__: (hold.wait(20), survey(tmp_path, TOY))[1]
    )
    page = open_page(tmp_path, "jobs", protocol="smoke")
    assert "being read" in texts(page)
    # a filter of the URL is kept until there is something to filter
    assert "in the URL" not in texts(page)
    hold.set()
    until = time.time() + 10
    while "being read" in texts(page):
        assert time.time() < until
        page.run()
        check(page)
