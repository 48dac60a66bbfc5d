"""What becomes of runs whose jobs the cluster has ended, from its answers alone (no SLURM needed)."""

import os
import threading
import time

import msgspec
import pytest
from fake_slurm import (
    answers,  # noqa: F401
    catalog,  # noqa: F401
    states,
    submitted,
)
from records import edit

from suite.base.errors import UserError
from suite.cli.retry import _request
from suite.dispatch import follow as following
from suite.dispatch import sbatch, slurm, submission
from suite.dispatch.batch import batches, log_path, new_id, write_batch
from suite.dispatch.carry_out import Launcher, assignments
from suite.dispatch.follow import follow
from suite.dispatch.on_node import NodeJob
from suite.dispatch.reconcile import SubmittedRun, cancel_jobs, reconcile
from suite.dispatch.request import Site
from suite.dispatch.slurm import Ending, NoAnswer, Queued
from suite.dispatch.states import survey
from suite.dispatch.submission import Request
from suite.records.attempt import Attempt
from suite.records.files import Failure, Status
from suite.records.lease import cancel
from suite.runs.plan import make_plan
from suite.runs.worker import execute

pytestmark = pytest.mark.usefixtures("fake")


def test_queue_and_files_together_make_the_state(tmp_path, answers, catalog):
    batch = submitted(tmp_path, catalog)
    answers.queue = {
        "7_0": Queued("RUNNING", "node1", ""),
        "7_1": Queued("PENDING", "", "Resources"),
        "7_2": Queued("PENDING", "", "launch failed requeued held"),
    }
    run = batch.jobs[0][0]
    attempt = Attempt(tmp_path, run.spec.run_id, 1)
    attempt.create(run.spec)
    now = time.time()
    status = Status(
        state="running", digest=run.digest, started=now, heartbeat=now, step=15, total=60,
        elapsed=30.0, host="elsewhere", job="7_0",
    )  # fmt: skip
    attempt.write_status(status)
    found, problem = states(tmp_path, catalog)
    assert problem is None
    assert [found[seed].state for seed in range(3)] == ["running", "queued", "queued"]
    assert found[0].eta_seconds == 90.0
    assert found[0].as_dict()["node"] == "node1"
    assert found[2].note == "launch failed requeued held: `retry` releases it"


@pytest.mark.parametrize(
    ("ending", "log", "kind", "text"),
    [
        (Ending("OUT_OF_MEMORY", "0:125", "n1"), "", "oom", "job 7_0 on n1 ended OUT_OF_MEMORY"),
        (Ending("FAILED", "9:0", "n1"), "StepId exceeded memory limit\n", "oom", "(exit code 9:0)"),
        (Ending("TIMEOUT", "0:0", "n1"), "", "timeout", "ended TIMEOUT"),
        (Ending("NODE_FAIL", "0:0"), "", "killed", "job 7_0 ended NODE_FAIL"),
        (Ending("PREEMPTED", "0:0"), "", "killed", "ended PREEMPTED"),
        (Ending("FAILED", "75:0"), "", "killed", "was not queued again"),
        (Ending("FAILED", "0:53", "n9"), "", "environment", "job 7_0 on n9 does not see"),
        (Ending("FAILED", "78:0"), "No module named 'x'\n", "environment", "No module named 'x'"),
        (Ending("UNKNOWN"), "", "killed", "keeps no account of it"),
        (Ending("FAILED", "1:0"), "KeyError: 3\n", "killed", "before the run began: KeyError: 3"),
    ],
)  # fmt: skip
def test_a_job_that_ended_for_good_is_a_failure_of_its_run(
    tmp_path, answers, catalog, ending, log, kind, text
):
    batch = submitted(tmp_path, catalog, seeds=(0,))
    path = log_path(tmp_path, batch.id, "7_0")
    path.parent.mkdir()
    path.write_text(log)
    answers.endings = {"7_0": ending}
    found, _ = states(tmp_path, catalog)
    failure = found[0].status.failure
    assert (found[0].state, failure.kind) == ("failed", kind)
    assert text in failure.message
    asked = answers.asked
    answers.endings = {}
    assert states(tmp_path, catalog)[0][0].state == "failed"
    assert answers.asked == asked  # it is on record now: nothing to ask


def test_a_run_whose_job_has_gone_is_not_stopped_before_the_cluster_says_so(
    tmp_path, answers, catalog
):
    """A job killed for its memory leaves a status that says `running`, and for a moment no ending."""
    batch = submitted(tmp_path, catalog, seeds=(0,))
    run = batch.jobs[0][0]
    interrupted(catalog, run)
    attempt = Attempt(tmp_path, run.spec.run_id, 1)
    status = msgspec.structs.replace(
        attempt.status(), state="running", job="7_0", host="elsewhere", heartbeat=time.time() - 90
    )
    attempt.write_status(status)
    assert states(tmp_path, catalog)[0][0].state == "queued"
    answers.endings = {"7_0": Ending("OUT_OF_MEMORY", "0:125", "n1")}
    # the node has not let go of the process yet: still nobody's word for it
    attempt.write_status(msgspec.structs.replace(status, heartbeat=time.time()))
    assert reconcile(tmp_path).queued == {run.spec.run_id}
    assert states(tmp_path, catalog)[0][0].state == "running"
    attempt.write_status(status)
    found = states(tmp_path, catalog)[0][0]
    assert (found.state, found.status.failure.kind) == ("failed", "oom")


def test_a_root_that_may_only_be_read_shows_what_ended_jobs_left(
    tmp_path, answers, catalog, monkeypatch
):
    submitted(tmp_path, catalog, seeds=(0,))
    answers.endings = {"7_0": Ending("OUT_OF_MEMORY", "0:125", "n1")}

    def refuse(self, status):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "write_status", refuse)
        found = states(tmp_path, catalog)[0][0]
        assert (found.state, found.status.failure.kind) == ("failed", "oom")
        assert not list(tmp_path.glob("jobs/2*/ended/*"))  # where it may be written, it will be
    assert states(tmp_path, catalog)[0][0].state == "failed"
    assert list(tmp_path.glob("jobs/2*/ended/*"))


def test_a_run_that_failed_by_itself_keeps_its_failure(tmp_path, answers, catalog):
    batch = submitted(tmp_path, catalog, "steady.what=code", "steady.at=3", seeds=(0,))
    execute(batch.jobs[0][0], catalog)
    answers.endings = {"7_0": Ending("NODE_FAIL")}
    assert states(tmp_path, catalog)[0][0].status.failure.kind == "code"


def interrupted(catalog, assignment):
    """Carry out ten iterations here."""
    asked = iter([False] * 10 + [True] * 100)
    assert execute(assignment, catalog, stopping=lambda: next(asked)).state == "stopped"


def test_a_run_taken_up_here_since_is_not_the_jobs_any_more(tmp_path, answers, catalog):
    batch = submitted(tmp_path, catalog, seeds=(0,))
    interrupted(catalog, msgspec.structs.replace(batch.jobs[0][0], wanted=time.time()))
    answers.endings = {"7_0": Ending("NODE_FAIL")}
    assert states(tmp_path, catalog)[0][0].state == "stopped"


def test_a_run_interrupted_here_before_and_lost_by_its_job_is_the_jobs_failure(
    tmp_path, answers, catalog
):
    batch = submitted(tmp_path, catalog, seeds=(0,))
    interrupted(catalog, msgspec.structs.replace(batch.jobs[0][0], wanted=batch.created - 9))
    answers.queue = {"7_0": Queued("PENDING", "", "Priority")}
    assert states(tmp_path, catalog)[0][0].state == "queued"
    answers.queue, answers.endings = {}, {"7_0": Ending("NODE_FAIL")}
    found = states(tmp_path, catalog)[0][0]
    assert (found.state, found.status.failure.kind) == ("failed", "killed")
    assert "NODE_FAIL" in found.status.failure.message
    assert execute(batch.jobs[0][0], catalog).state == "done"  # from the checkpoint of before
    assert found.item.attempt.status().restarts == 1


def test_a_run_that_is_at_it_is_running_although_its_code_was_edited_since(
    tmp_path, answers, catalog
):
    batch = submitted(tmp_path, catalog, seeds=(0,))
    run = batch.jobs[0][0]
    attempt = Attempt(tmp_path, run.spec.run_id, 1)
    attempt.create(run.spec)
    now = time.time()
    attempt.write_status(
        Status(state="running", digest="of-then", started=now, heartbeat=now - 90, step=3,
               host="elsewhere", job="7_0", wanted=batch.created)
    )  # fmt: skip
    answers.queue = {"7_0": Queued("RUNNING", "node1", "")}
    found = states(tmp_path, catalog)[0][0]
    assert (found.state, found.as_dict()["step"]) == ("running", 3)


def test_cancelled_on_the_cluster_is_said_and_is_no_failure(tmp_path, answers, catalog):
    submitted(tmp_path, catalog, seeds=(0,))
    answers.endings = {"7_0": Ending("CANCELLED", "0:15", "n1", "1000")}
    found, _ = states(tmp_path, catalog)
    assert (found[0].state, found[0].note) == ("cancelled", "job 7_0 was cancelled by user id 1000")


def test_a_cluster_that_does_not_answer_changes_nothing(tmp_path, answers, catalog):
    submitted(tmp_path, catalog)
    answers.up = False
    answers.endings = {"7_0": Ending("NODE_FAIL")}
    found, problem = states(tmp_path, catalog)
    assert problem == "SLURM does not answer: gone"
    assert {state.state for state in found.values()} == {"planned"}


def test_jobs_of_another_cluster_are_not_judged_from_here(tmp_path, answers, catalog):
    submitted(tmp_path, catalog, cluster="far")
    answers.endings = {f"7_{n}": Ending("UNKNOWN") for n in range(3)}
    found, problem = states(tmp_path, catalog)
    assert problem == "not seen from here: jobs on cluster far"
    # they may be in its queue: nobody submits them from here meanwhile, unless they are cancelled
    assert {state.state for state in found.values()} == {"queued"}
    assert found[0].note == "on cluster far"
    cancel(tmp_path, found[0].spec.run_id)
    assert states(tmp_path, catalog)[0][0].state == "cancelled"


def test_a_colleagues_jobs_are_not_judged_by_a_queue_one_may_not_see(tmp_path, answers, catalog):
    batch = submitted(tmp_path, catalog)
    write_batch(tmp_path, msgspec.structs.replace(batch, uid=os.getuid() + 1))
    answers.endings = {f"7_{n}": Ending("UNKNOWN") for n in range(3)}
    found, problem = states(tmp_path, catalog)
    assert {state.state for state in found.values()} == {"queued"}
    assert "jobs of" in problem


def test_plans_do_not_settle(tmp_path, answers, catalog):
    batch = submitted(tmp_path, catalog, seeds=(0,))
    answers.endings = {"7_0": Ending("NODE_FAIL")}
    found, _ = survey(tmp_path, catalog, settle=False)
    assert (found[0].state, found[0].status.failure.kind) == ("failed", "killed")  # but they know
    assert not Attempt(tmp_path, batch.jobs[0][0].spec.run_id, 1).path.exists()


def test_cancel_ends_only_jobs_without_other_runs(tmp_path, answers, catalog, monkeypatch):
    batch = submitted(tmp_path, catalog)
    answers.queue = {f"7_{n}": Queued("PENDING", "", "Priority") for n in range(3)}
    some = []
    monkeypatch.setattr(slurm, "cancel", lambda ids: some.extend(ids))
    runs = [job[0].spec.run_id for job in batch.jobs]
    time.sleep(0.01)
    cancel(tmp_path, runs[1])
    assert cancel_jobs(tmp_path) == ["7_1"]
    assert (some, answers.cancelled) == (["7_1"], [])
    cancel(tmp_path, runs[0])
    cancel(tmp_path, runs[2])
    cancel_jobs(tmp_path)
    assert answers.cancelled == [batch.job_name]  # one call for the whole array


def test_a_queue_that_does_not_answer_is_not_an_empty_one(tmp_path, answers, catalog, monkeypatch):
    """The controller answers one question and not the next: nothing may be submitted twice."""
    submitted(tmp_path, catalog)
    launcher = Launcher(tmp_path, catalog, None)

    def silence(names):
        raise NoAnswer("SLURM does not answer: squeue timed out")

    monkeypatch.setattr(slurm, "queue", silence)
    monkeypatch.setattr(submission, "submit", lambda *_: pytest.fail("submitted twice"))
    task = catalog.task("fake")

    def make(queued):
        return make_plan(
            tmp_path, catalog, task, catalog.protocol(task, "quick"), methods=["steady"],
            settings=["steady.sleep=0.0"], queued=queued,
        )  # fmt: skip

    with pytest.raises(UserError, match="squeue timed out"):
        launcher.submit(make, Request(Site()))


@pytest.mark.slow
def test_follow_waits_for_a_cluster_that_does_not_answer(tmp_path, answers, catalog, monkeypatch):
    monkeypatch.setattr(following, "POLL_SECONDS", (0.05, 0.05))
    batch = submitted(tmp_path, catalog, seeds=(0,))
    run = batch.jobs[0][0]
    answers.queue = {"7_0": Queued("PENDING", "", "Priority")}
    attempt = Attempt(tmp_path, run.spec.run_id, 1)
    attempt.create(run.spec)
    attempt.write_status(
        Status(state="failed", digest=run.digest, started=1.0, heartbeat=1.0, wanted=1.0,
               failure=Failure(kind="oom", message="of an earlier submission"))
    )  # fmt: skip
    answers.up = False

    def come_back():
        time.sleep(0.4)
        answers.up = True
        time.sleep(0.2)
        execute(run, catalog)
        answers.queue = {}

    thread = threading.Thread(target=come_back)
    thread.start()
    no = lambda lost: pytest.fail("was not lost")  # noqa: E731
    (report,) = follow(tmp_path, {run.spec.run_id: run}, no, {run.spec.run_id}, backoff=0).values()
    thread.join()
    assert report.state == "done"


def test_a_refusal_that_cannot_be_taken_back_says_so_and_is_recovered(
    tmp_path, answers, catalog, monkeypatch
):
    batch = submitted(tmp_path, catalog)
    write_batch(tmp_path, msgspec.structs.replace(batch, state="submitting", ids=[]))

    def away(name):
        raise NoAnswer("gone")

    monkeypatch.setattr(slurm, "cancel_by_name", away)
    assert "may still be there" in sbatch._abandon(tmp_path, batch)
    assert batches(tmp_path)[0].state == "submitting"
    ended = []
    monkeypatch.setattr(slurm, "cancel_by_name", ended.append)
    sbatch.recover(tmp_path, "ci")
    assert ended == [batch.job_name]
    assert batches(tmp_path)[0].state == "abandoned"


def test_a_job_of_an_abandoned_submission_does_nothing(tmp_path, catalog, capsys):
    batch = submitted(tmp_path, catalog, seeds=(0,))
    write_batch(tmp_path, msgspec.structs.replace(batch, state="abandoned"))
    assert NodeJob(str(tmp_path), batch.id, 0).work() == slurm.REFUSED
    assert not Attempt(tmp_path, batch.jobs[0][0].spec.run_id, 1).path.exists()


def test_retry_runs_no_shell_line_out_of_the_results_folder(tmp_path, catalog, capsys):
    evil = Site(setup=["touch /tmp/evil"], python="/tmp/evil", sbatch={"wrap": "x"}, mem="7G")
    batch = submitted(tmp_path, catalog, seeds=(0,))
    before = SubmittedRun(msgspec.structs.replace(batch, site=evil), "7_0", batch.jobs[0][0])
    request = _request(None, {}, None, (), before)
    assert request.site == Site(mem="7G")
    assert "is not repeated: setup, python, sbatch" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"ids": ["7; rm -rf /"]},
        {"ids": ["7_0", "7_1"]},
        {"code": "../../elsewhere"},
        {"schema": 9},
        {"jobs": "many"},
    ],
)
def test_a_damaged_batch_is_left_out(tmp_path, catalog, change):
    batch = submitted(tmp_path, catalog, seeds=(0,))
    path = tmp_path / "jobs" / batch.id / "batch.json"
    edit(path, **change)
    assert batches(tmp_path) == []
    path.write_bytes(b"[" * 100_000)
    assert batches(tmp_path) == []


def test_follow_submits_again_what_the_cluster_lost_and_gives_up_in_the_end(
    tmp_path, answers, catalog, monkeypatch
):
    monkeypatch.setattr(following, "POLL_SECONDS", (0.01, 0.01))
    batch = submitted(tmp_path, catalog, seeds=(0, 1))
    answers.endings = {"7_0": Ending("NODE_FAIL"), "7_1": Ending("NODE_FAIL")}
    again = []

    def submit_again(lost):
        again.append([run.spec.seed for run in lost])
        sent = {}
        for run in lost:
            run = msgspec.structs.replace(run, wanted=time.time())
            sent[run.spec.run_id] = run
            attempt = Attempt(tmp_path, run.spec.run_id, 1)
            if run.spec.seed == 0 and len(again) > 1:
                execute(run, catalog)
            else:
                status = msgspec.structs.replace(attempt.status(), wanted=run.wanted)
                attempt.write_status(status)
                failure = Failure(kind="killed", message="lost once more")
                attempt.write_failure(run.spec, run.digest, failure)
        return sent

    work = {job[0].spec.run_id: job[0] for job in batch.jobs}
    reports = follow(tmp_path, work, submit_again, set(work), backoff=0.02)
    by_seed = {work[run].spec.seed: report for run, report in reports.items()}
    assert (by_seed[0].state, by_seed[1].state) == ("done", "failed")
    assert sum(seeds.count(1) for seeds in again) == following.MAX_TRIES


def test_follow_gives_up_where_the_cluster_refuses_and_waits_where_it_is_away(
    tmp_path, answers, catalog, monkeypatch
):
    monkeypatch.setattr(following, "POLL_SECONDS", (0.01, 0.01))
    batch = submitted(tmp_path, catalog, seeds=(0,))
    answers.endings = {"7_0": Ending("NODE_FAIL")}
    said = []

    def refuse(lost):
        said.append(len(said))
        raise NoAnswer("away") if len(said) < 5 else UserError("sbatch refused: limit")

    work = {job[0].spec.run_id: job[0] for job in batch.jobs}
    (report,) = follow(tmp_path, work, refuse, set(work), backoff=0.01).values()
    assert (report.state, report.failure.kind) == ("failed", "killed")
    assert len(said) == 4 + following.MAX_TRIES


def test_follow_ends_with_a_run_that_nobody_has_in_hand(tmp_path, answers, catalog, monkeypatch):
    monkeypatch.setattr(following, "POLL_SECONDS", (0.01, 0.01))
    batch = submitted(tmp_path, catalog, seeds=(0,))
    run = batch.jobs[0][0]
    # taken up and stopped here since; its job ended
    interrupted(catalog, msgspec.structs.replace(run, wanted=time.time()))
    answers.endings = {"7_0": Ending("COMPLETED", "0:0")}
    no = lambda lost: pytest.fail("was not lost")  # noqa: E731
    (report,) = follow(tmp_path, {run.spec.run_id: run}, no, (), backoff=0).values()
    assert report.state == "stopped"


def test_a_job_that_waits_keeps_its_run_whatever_was_done_here_meanwhile(
    tmp_path, answers, catalog
):
    batch = submitted(tmp_path, catalog, seeds=(0,))
    interrupted(catalog, msgspec.structs.replace(batch.jobs[0][0], wanted=time.time()))
    answers.queue = {"7_0": Queued("PENDING", "", "Priority")}
    found, _ = states(tmp_path, catalog)
    assert found[0].state == "queued"


def test_a_run_cancelled_out_of_a_live_job_may_be_submitted_anew(tmp_path, answers, catalog):
    submitted(tmp_path, catalog)
    answers.queue = {f"7_{n}": Queued("RUNNING", "n1", "") for n in range(3)}
    found, _ = states(tmp_path, catalog)
    cancel(tmp_path, found[1].spec.run_id)
    found, _ = states(tmp_path, catalog)
    assert [found[seed].state for seed in range(3)] == ["queued", "cancelled", "queued"]
    now = reconcile(tmp_path)
    assert now.queued == {found[0].spec.run_id, found[2].spec.run_id}


def test_a_finished_run_that_is_trained_afresh_in_a_job_is_not_done(tmp_path, answers, catalog):
    batch = submitted(tmp_path, catalog, seeds=(0,))
    execute(batch.jobs[0][0], catalog)
    again = msgspec.structs.replace(batch.jobs[0][0], attempt=2)
    now = time.time()
    write_batch(
        tmp_path,
        msgspec.structs.replace(batch, id=new_id(now), created=now, jobs=[[again]], ids=["8"]),
    )
    answers.queue = {"8": Queued("PENDING", "", "Priority")}
    assert states(tmp_path, catalog)[0][0].state == "queued"
    answers.queue = {}
    answers.endings = {"8": Ending("CANCELLED", "0:0")}
    assert states(tmp_path, catalog)[0][0].state == "done"  # as it was


def test_what_is_settled_or_through_is_not_asked_about_again(tmp_path, answers, catalog):
    batch = submitted(tmp_path, catalog, seeds=(0, 1))
    answers.endings = {"7_0": Ending("CANCELLED", "0:0")}
    (tmp_path / "jobs" / batch.id / "through").mkdir()
    (tmp_path / "jobs" / batch.id / "through" / "7_1").touch()
    assert states(tmp_path, catalog)[0][0].state == "cancelled"
    asked = answers.asked
    answers.up = False
    found, problem = states(tmp_path, catalog)
    assert (found[0].state, problem, answers.asked) == ("cancelled", None, asked)


def test_an_evaluation_that_cannot_be_made_stops_no_submission(
    tmp_path, answers, catalog, monkeypatch
):
    task = catalog.task("fake")

    def make(queued):
        return make_plan(
            tmp_path, catalog, task, catalog.protocol(task, "quick"), methods=["steady"],
            settings=["steady.sleep=0.0"], seeds=(0, 1), queued=queued,
        )  # fmt: skip

    done, new = assignments(make(()).items, tmp_path, None)
    execute(done, catalog)
    attempt = Attempt(tmp_path, done.spec.run_id, 1)
    (attempt.path / "predictions.npz").write_bytes(b"damaged")
    next((attempt.path / "evaluations").iterdir()).unlink()
    sent = []

    def take(root, batch):
        sent.extend(batch.jobs)
        return msgspec.structs.replace(batch, state="submitted", ids=["9"])

    monkeypatch.setattr(sbatch, "submit", take)
    launcher = Launcher(tmp_path, catalog, None)
    result = launcher.evaluate(launcher.submit(make, Request(Site())))
    assert [[run.spec.run_id for run in job] for job in sent] == [[new.spec.run_id]]
    assert result.reports[done.spec.run_id].failure.kind == "code"
    assert "damaged" in result.reports[done.spec.run_id].failure.message


def test_follow_releases_what_slurm_holds_and_gives_up_in_the_end(
    tmp_path, answers, catalog, monkeypatch
):
    monkeypatch.setattr(following, "POLL_SECONDS", (0.01, 0.01))
    batch = submitted(tmp_path, catalog, seeds=(0,))
    answers.queue = {"7_0": Queued("PENDING", "", "launch failed requeued held")}
    released = []

    def give_up(ids):
        answers.queue = {}
        answers.endings = {"7_0": Ending("CANCELLED", "0:0", "", "0")}

    monkeypatch.setattr(slurm, "release", released.extend)
    monkeypatch.setattr(slurm, "cancel", give_up)
    work = {job[0].spec.run_id: job[0] for job in batch.jobs}
    (report,) = follow(tmp_path, work, lambda lost: {}, set(work), backoff=0.0).values()
    assert report.state == "cancelled"
    assert released == ["7_0"] * following.MAX_TRIES


def test_a_users_own_hold_is_not_touched(tmp_path, answers, catalog):
    submitted(tmp_path, catalog, seeds=(0,))
    answers.queue = {"7_0": Queued("PENDING", "", "JobHeldUser")}
    found, _ = states(tmp_path, catalog)
    assert (found[0].note, found[0].job.stuck) == ("JobHeldUser", False)


def test_follow_ends_a_batch_that_cannot_work_anywhere(tmp_path, answers, catalog, monkeypatch):
    monkeypatch.setattr(following, "POLL_SECONDS", (0.01, 0.01))
    batch = submitted(tmp_path, catalog, seeds=(0, 1))
    answers.endings = {"7_0": Ending("FAILED", "0:53", "n1")}
    answers.queue = {"7_1": Queued("PENDING", "", "Priority")}

    def end(name, waiting=False):
        assert waiting  # what runs is left to run
        answers.queue = {}
        answers.endings = {"7_1": Ending("CANCELLED", "0:0", "", "0")}

    monkeypatch.setattr(slurm, "cancel_by_name", end)
    work = {job[0].spec.run_id: job[0] for job in batch.jobs}
    reports = follow(tmp_path, work, lambda lost: {}, set(work), backoff=0.0)
    assert sorted(report.state for report in reports.values()) == ["cancelled", "failed"]


def test_array_ranges_are_single_jobs(monkeypatch):
    shown = "5_[0-2,7%3]|PENDING||Priority\n5_3|RUNNING|node1|None\n6|RUNNING|node2|None\n"
    monkeypatch.setattr(slurm, "_call", lambda *command: shown)
    found = slurm.queue(["longtail-x"])
    assert sorted(found) == ["5_0", "5_1", "5_2", "5_3", "5_7", "6"]
    assert found["5_7"] == Queued("PENDING", "", "Priority")
    assert found["5_3"].node == "node1"


def test_no_slurm_here_is_one_clear_line(monkeypatch):
    slurm.cluster.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"no SLURM on this machine.*run here with --on local"):
        slurm.cluster()
