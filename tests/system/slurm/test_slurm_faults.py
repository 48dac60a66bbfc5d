"""What can happen to a job on a real SLURM: no result is lost, and none is another than the one made
here."""

import json
import os
import re
import signal

import pytest
from cluster import CHECKPOINTS, RUN, SLOW, SLOW_STEADY, SLURM, Lab, board, started, until, whole
from conftest import FAKE

from suite.records.attempt import attempts

pytestmark = [pytest.mark.slurm_real, pytest.mark.usefixtures("fake")]


@pytest.fixture(scope="session")
def bare():
    """A cluster that keeps no accounts."""
    with started("none") as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def limited(bare, tmp_path_factory):
    """A run that is longer than its job's time limit, begun before the other tests.

    A whole minute is the least that SLURM takes for a limit, and it looks every half minute.
    """
    path = f"{FAKE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    folder = tmp_path_factory.mktemp("limited")
    lab = Lab(bare, folder, {"PYTHONPATH": path, "XDG_CONFIG_HOME": str(folder)})
    slow = ("--method", "steady", "--set", "steady.sleep=1.2")
    lab.suite(*RUN, *SLURM, *slow, "--time", "1")
    return lab


def test_usr2_checkpoints_and_requeues(lab, undisturbed):
    lab.suite(*RUN, *SLURM, *SLOW, "--checkpoint-seconds", "1000", "--pack", "3")
    (run,) = lab.started(step=10)
    lab.cluster.call("scancel", "--signal=USR2", run["job"])
    until(lambda: lab.runs()[run["run"]]["state"] == "queued")
    stopped_at = lab.runs()[run["run"]]["step"]
    assert stopped_at >= 10
    assert lab.settled() == ["done"] * 3
    first = attempts(lab.root, run["run"])[0]
    assert first.status().restarts == 1
    whole(lab, undisturbed(*SLOW))


def test_requeued_by_an_administrator(lab, undisturbed):
    lab.suite(*RUN, *SLURM, *SLOW, *CHECKPOINTS)
    for run in lab.started(step=8, count=2):
        lab.cluster.call("scontrol", "requeue", run["job"])
    assert lab.settled() == ["done"] * 3
    whole(lab, undisturbed(*SLOW))


def test_killed_without_a_word_resumes_from_the_last_checkpoint(lab, undisturbed):
    lab.suite(*RUN, *SLURM, *SLOW, *CHECKPOINTS, "--pack", "3")
    (run,) = lab.started(step=10)
    lab.cluster.call("scancel", f"{run['job']}.0")  # SIGKILL for the whole step
    assert lab.settled() == ["done"] * 3
    assert attempts(lab.root, run["run"])[0].status().restarts >= 1
    log = next(lab.root.glob("jobs/2*/slurm/*_log.out")).read_text()
    assert "ended with code 137, to be queued again: yes" in log
    whole(lab, undisturbed(*SLOW))


def test_a_node_that_fails(lab, undisturbed):
    """slurmd is killed, its step goes on, and the node is set down: two copies of the run are alive."""
    long = ("--method", "steady", "--set", "steady.sleep=0.3")
    lab.suite(*RUN, *SLURM, *long, *CHECKPOINTS)
    (run,) = lab.started(step=5)
    (attempt,) = attempts(lab.root, run["run"])
    first = attempt.status()
    os.kill(lab.cluster.pid(f"slurmd-{run['node']}"), signal.SIGKILL)
    try:
        down = (f"nodename={run['node']}", "state=down", "reason=test")
        lab.cluster.call("scontrol", "update", *down)

        def second_copy():
            line = lab.cluster.call("squeue", "-h", "-t", "RUNNING", "-o", "%N", "-j", run["job"])
            log = next(lab.root.glob("jobs/2*/slurm/*_log.out")).read_text()
            return line.strip() not in ("", run["node"]) and log.count("Starting with") == 2

        until(second_copy, 30, "the job is not started elsewhere")
        assert os.path.exists(f"/proc/{first.pid}")  # the first copy is still at it
        assert attempt.status().owner == first.owner  # and the second one leaves it alone
    finally:
        lab.cluster.script("slurmd", run["node"])
        lab.cluster.call("scontrol", "update", down[0], "state=resume", check=False)
    assert lab.settled() == ["done"]
    whole(lab, undisturbed(*long))


def test_out_of_memory_is_tried_again_and_then_a_row(lab, undisturbed):
    hungry = ("--set", "steady.what=memory", "--set", "steady.at=10")
    lab.suite(*RUN, *SLURM, *hungry, *CHECKPOINTS, "--mem", "400M")
    assert lab.settled(180) == ["done", "done", "failed"]
    (failed,) = (run for run in lab.runs().values() if run["state"] == "failed")
    assert failed["failure"]["kind"] == "oom"
    assert failed["method"] == "steady"
    (failures,) = lab.root.glob("jobs/2*/failures/*")
    assert len(failures.read_text().splitlines()) == 3
    rows = json.loads(lab.suite("leaderboard", "--task", "fake", "--format", "json").stdout)["rows"]
    (row,) = (row for row in rows if row["state"] == "failed")
    assert row["failures"][0]["kind"] == "oom"
    lab.suite("retry", "--kind", "oom", "--mem", "1500M", "--wait")
    whole(lab, undisturbed(*hungry))


def test_scancel_is_seen_and_retried(lab, undisturbed):
    lab.suite(*RUN, *SLURM, *SLOW, *CHECKPOINTS, "--array-parallelism", "2")
    (run, _) = lab.started(step=5, count=2)
    lab.cluster.call("scancel", run["job"].partition("_")[0])
    states = lab.settled()
    assert states == ["cancelled"] * 3
    assert "was cancelled" in next(iter(lab.runs().values()))["note"]
    assert "3 run(s)" in lab.suite("retry", "--wait").stderr
    whole(lab, undisturbed(*SLOW))


def occupy(lab):
    """A job that takes all of node1, ahead of everything there; its id."""
    wide = ("--partition=high", "--nodelist=node1", "--exclusive", "--output=/dev/null")
    return lab.cluster.call("sbatch", "--parsable", *wide, "--wrap", "sleep 100").strip()


def test_preempted_and_requeued(lab, undisturbed):
    low = ("--partition", "low", "--sbatch", "nodelist=node1", "--checkpoint-seconds", "1000")
    lab.suite(*RUN, *SLURM, *SLOW_STEADY, *low)
    (run,) = lab.started(step=10)
    high = occupy(lab)
    # it is told, checkpoints, and goes back to the queue by SLURM's own doing
    until(lambda: lab.runs()[run["run"]]["state"] == "queued")
    assert lab.runs()[run["run"]]["step"] >= 10
    lab.cluster.call("scancel", high)
    assert lab.settled() == ["done"]
    (attempt,) = attempts(lab.root, run["run"])
    assert attempt.status().restarts == 1
    whole(lab, undisturbed(*SLOW_STEADY))


def test_preempted_and_cancelled_is_seen_and_retried(lab, undisturbed):
    spare = ("--partition", "spare", "--sbatch", "nodelist=node1", *CHECKPOINTS)
    lab.suite(*RUN, *SLURM, *SLOW_STEADY, *spare)
    (run,) = lab.started(step=10)
    high = occupy(lab)
    assert lab.settled() == ["failed"]
    failure = lab.runs()[run["run"]]["failure"]
    assert failure["kind"] == "killed"
    assert "PREEMPTED" in failure["message"]
    lab.cluster.call("scancel", high)
    lab.suite("retry", "--partition", "debug", "--sbatch", "nodelist=node2", "--wait")
    whole(lab, undisturbed(*SLOW_STEADY))


def test_our_cancel_of_one_run_in_a_pack(lab, undisturbed):
    lab.suite(*RUN, *SLURM, *SLOW, "--pack", "3")
    (run,) = lab.started()
    waiting = [r for r in lab.runs().values() if r["state"] == "queued"]
    assert [r["note"] for r in waiting] == ["its job runs; other runs come first"] * 2
    chosen = waiting[0]["run"]
    assert "1 run(s) cancelled" in lab.suite("cancel", chosen[:8]).stdout
    assert lab.settled() == ["cancelled", "done", "done"]
    assert "nothing to try again" in lab.suite("retry").stdout  # we wanted it so
    lab.suite("retry", "--kind", "cancelled", "--wait")
    whole(lab, undisturbed(*SLOW))
    assert run["run"] != chosen


def test_cancel_all_ends_the_jobs(lab):
    lab.suite(*RUN, *SLURM, *SLOW, "--seeds", "0-3", "--array-parallelism", "3")
    lab.started(count=2)
    said = lab.suite("cancel", "--all").stdout
    told = re.search(r"(\d+) run\(s\) cancelled, \d+ job\(s\) ended", said)
    states = lab.settled()
    assert len(states) == 12 and set(states) <= {"cancelled", "done"}
    # on a busy machine some are through before the command looks, others while it works
    assert told is not None and 1 <= states.count("cancelled") <= int(told[1])
    assert lab.cluster.call("squeue", "-h", "-t", "PENDING,RUNNING") == ""


def test_slurmctld_restarted_in_the_middle(lab, undisturbed):
    lab.suite(*RUN, *SLURM, *SLOW, *CHECKPOINTS)
    lab.started(step=3)
    # however slow the commands are: what is through is not asked about
    found = [attempts(lab.root, run)[0].status() for run in os.listdir(lab.root / "runs")]
    running = [status.pid for status in found if status and status.state == "running"]
    for pid in running:
        os.kill(pid, signal.SIGSTOP)
    os.kill(lab.cluster.pid("slurmctld"), signal.SIGKILL)
    try:
        printed = json.loads(lab.suite("status", "--format", "json").stdout)
        assert "SLURM does not answer" in printed["problem"]
        assert "failed" not in {run["state"] for run in printed["rows"]}
        refused = lab.suite(*RUN, *SLURM, "--seeds", "7", code=2)
        assert refused.stderr.startswith("Error: SLURM does not answer")
    finally:
        lab.cluster.script("slurmctld")
        for pid in running:
            os.kill(pid, signal.SIGCONT)
    assert lab.settled() == ["done"] * 3
    whole(lab, undisturbed(*SLOW))


def test_a_cluster_without_accounts(bare, tmp_path, undisturbed):
    lab = Lab(bare, tmp_path, {})
    lab.suite(*RUN, *SLURM, *SLOW, *CHECKPOINTS, "--pack", "2")
    runs = lab.started(step=3, count=2)
    lab.cluster.call("scancel", runs[0]["job"])
    states = lab.settled()
    assert "cancelled" in states
    assert lab.suite("retry", "--wait").returncode == 0
    whole(lab, undisturbed(*SLOW))


def test_a_run_ended_by_its_time_limit_goes_on(limited, undisturbed):
    assert limited.settled(200) == ["done"]
    (attempt,) = (attempts(limited.root, run)[0] for run in os.listdir(limited.root / "runs"))
    assert attempt.status().restarts >= 1
    log = next(limited.root.glob("jobs/2*/slurm/*_log.out")).read_text()
    assert "ended with code 75, to be queued again: yes" in log
    expected = undisturbed("--method", "steady", "--set", "steady.sleep=0.0")
    assert [row[5] for row in board(limited.suite)] == [row[5] for row in expected]
