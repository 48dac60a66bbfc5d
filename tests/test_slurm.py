"""Runs on a real SLURM: whatever happens to a job, every run is once in the store and equals the one
made here."""

import itertools
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cluster import Lab, board, started, until
from conftest import FAKE

from suite.record import attempts

pytestmark = [
    pytest.mark.slurm_real,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.usefixtures("fake"),
]

RUN = ("run", "--task", "fake")
SLURM = ("--on", "slurm", "--site", "test")
SLOW = ("--set", "steady.sleep=0.08", "--set", "brisk.sleep=0.08", "--set", "calm.sleep=0.08")
SLOW_STEADY = ("--method", "steady", "--set", "steady.sleep=0.08")
CHECKPOINTS = ("--checkpoint-seconds", "0.2")


@pytest.fixture(scope="session")
def cluster():
    with started("dbd") as running:
        yield running


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
    lab = Lab(bare, tmp_path_factory.mktemp("limited"), {"PYTHONPATH": path})
    slow = ("--method", "steady", "--set", "steady.sleep=1.2")
    lab.suite(*RUN, *SLURM, *slow, "--time", "1")
    return lab


@pytest.fixture
def lab(cluster, tmp_path, monkeypatch):
    cluster.ready()
    yield Lab(cluster, tmp_path, {})
    cluster.call("scancel", "-u", "root", check=False)


@pytest.fixture(scope="session")
def local_boards():
    return {}


@pytest.fixture
def undisturbed(suite, local_boards):
    """`undisturbed(*arguments)`: the board of a run on this machine, made once for all tests."""

    def made(*arguments):
        if arguments not in local_boards:
            done = suite(*RUN, *arguments)
            assert done.returncode == 0, done.stderr
            local_boards[arguments] = board(suite)
        return local_boards[arguments]

    return made


def whole(lab, expected):
    """Every run is finished in one attempt, stands once in the store, and the board is as expected."""
    for folder in (lab.root / "runs").iterdir():
        known = attempts(lab.root, folder.name)
        assert [attempt.number for attempt in known] == [1]
        assert known[0].finished
        assert not known[0].checkpoint_dir.exists()
    assert board(lab.suite) == expected
    rows = json.loads(lab.suite("leaderboard", "--task", "fake", "--format", "json").stdout)
    runs = [run for row in rows for run in row["runs"]]
    assert len(runs) == len(set(runs)) == len(list((lab.root / "runs").iterdir()))


def test_a_packed_suite_equals_the_local_one(lab, undisturbed):
    seeds = ("--seeds", "0-2")
    done = lab.suite(*RUN, *SLURM, *seeds, "--pack", "4", "--wait")
    assert "9 run(s) submitted to ci in 3 job(s)" in done.stderr
    assert "brisk" in done.stdout  # the board follows
    whole(lab, undisturbed(*seeds))
    (batch,) = lab.root.glob("jobs/2*/batch.json")
    content = json.loads(batch.read_bytes())
    assert [len(job) for job in content["jobs"]] == [4, 4, 1]
    record = json.loads(next(lab.root.glob("runs/*/1/record.json")).read_bytes())
    assert record["environment"]["job"] in content["ids"]
    again = lab.suite(*RUN, *SLURM, *seeds)
    assert "nothing to do" in again.stderr
    assert len(list(lab.root.glob("jobs/2*"))) == 1


def test_the_smoke_suite_as_an_array(lab, tmp_path):
    smoke = (
        "run",
        "--task",
        "longtail-seg",
        "--protocol",
        "smoke",
        "--method",
        "ce",
        "--method",
        "la",
    )
    environment = {key: os.environ[key] for key in ("XDG_CACHE_HOME",)}
    lab.environment.update(environment)
    lab.suite(*smoke, *SLURM, "--mem", "3G", "--wait", timeout=300)
    lab.suite(*smoke, "--root", "here", timeout=300)

    def figures(*root):
        printed = lab.suite(
            "leaderboard", "--task", "longtail-seg", "--format", "json", *root
        ).stdout
        rows = json.loads(printed)
        return [(r["method"], r["metrics"]) for r in rows if r["state"] == "done"]

    assert figures() == figures("--root", "here")
    assert len(figures()) == 2


def test_gpus_of_a_job_are_slots_of_their_own(lab):
    lab.suite(
        *RUN, *SLURM, *SLOW_STEADY, "--seeds", "0-5", "--pack", "6",
        "--gpus-per-node", "2", "--wait",
    )  # fmt: skip
    records = [json.loads(path.read_bytes()) for path in lab.root.glob("runs/*/1/record.json")]
    seen = [record["environment"]["visible"] for record in records]
    assert sorted(seen) == ["0"] * 3 + ["1"] * 3
    # two at a time, three after each other
    spans = sorted(
        (record["finished"] - record["cost"]["wall_seconds"], record["finished"], visible)
        for record, visible in zip(records, seen, strict=True)
    )
    for visible in "01":
        mine = [span for span in spans if span[2] == visible]
        assert all(a[1] <= b[0] + 0.1 for a, b in itertools.pairwise(mine))


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
    """slurmd is killed, its step goes on, and the node is set down: two copies are alive."""
    lab.suite(*RUN, *SLURM, *SLOW_STEADY, *CHECKPOINTS, "--sbatch", "nodelist=node1")
    (run,) = lab.started(step=5)
    os.kill(lab.cluster.pid("slurmd-node1"), signal.SIGKILL)
    try:
        lab.cluster.call("scontrol", "update", "nodename=node1", "state=down", "reason=test")
        # the job may run on another node only, where the first copy still trains
        until(lambda: lab.runs()[run["run"]]["job"] == run["job"])
        lab.cluster.call("scontrol", "update", f"jobid={run['job']}", "reqnodelist=", check=False)
    finally:
        lab.cluster.script("slurmd", "node1")
        lab.cluster.call("scontrol", "update", "nodename=node1", "state=resume", check=False)
    assert lab.settled() == ["done"]
    whole(lab, undisturbed(*SLOW_STEADY))


def test_out_of_memory_is_tried_again_and_then_a_row(lab, undisturbed):
    hungry = ("--set", "steady.what=memory", "--set", "steady.at=10")
    lab.suite(*RUN, *SLURM, *hungry, *CHECKPOINTS, "--mem", "400M")
    assert lab.settled(180) == ["done", "done", "failed"]
    (failed,) = (run for run in lab.runs().values() if run["state"] == "failed")
    assert failed["failure"]["kind"] == "oom"
    assert failed["method"] == "steady"
    (failures,) = lab.root.glob("jobs/2*/failures/*")
    assert len(failures.read_text().splitlines()) == 3
    rows = json.loads(lab.suite("leaderboard", "--task", "fake", "--format", "json").stdout)
    (row,) = (row for row in rows if row["state"] == "failed")
    assert row["failures"][0]["kind"] == "oom"
    lab.suite("retry", "--kind", "oom", "--mem", "1500M", "--wait")
    whole(lab, undisturbed(*hungry))


def test_scancel_is_seen_and_retried(lab, undisturbed):
    lab.suite(*RUN, *SLURM, *SLOW, *CHECKPOINTS, "--seeds", "0,1", "--array-parallelism", "2")
    (run, _) = lab.started(step=5, count=2)
    lab.cluster.call("scancel", run["job"].partition("_")[0])
    states = lab.settled()
    assert states == ["cancelled"] * 6
    assert "was cancelled" in next(iter(lab.runs().values()))["note"]
    assert "6 run(s)" in lab.suite("retry", "--wait").stderr
    whole(lab, undisturbed(*SLOW, "--seeds", "0,1"))


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
    assert re.search(r"12 run\(s\) cancelled, \d+ job\(s\) ended", said)
    states = lab.settled()
    assert set(states) <= {"cancelled", "done"}
    assert lab.cluster.call("squeue", "-h", "-t", "PENDING,RUNNING") == ""


def test_one_failure_cancels_nothing_and_is_not_retried(lab):
    broken = (
        "--set",
        "brisk.what=code",
        "--set",
        "brisk.at=5",
        "--set",
        "calm.what=nan",
        "--set",
        "calm.at=5",
    )
    done = lab.suite(*RUN, *SLURM, *broken, "--pack", "3", "--wait", code=1)
    assert "failed(code)" in done.stderr
    assert "failed(nan)" in done.stderr
    assert lab.states() == ["done", "failed", "failed"]
    assert "nothing to try again" in lab.suite("retry").stdout
    assert len(list(lab.root.glob("runs/*/2"))) == 0
    lab.suite("retry", "--kind", "nan", "--wait", code=1)
    assert len(list(lab.root.glob("runs/*/2"))) == 1


def test_slurmctld_restarted_in_the_middle(lab, undisturbed):
    seeds = ("--seeds", "0,1")
    lab.suite(*RUN, *SLURM, *SLOW, *seeds, *CHECKPOINTS)
    lab.started(step=3)
    os.kill(lab.cluster.pid("slurmctld"), signal.SIGKILL)
    try:
        printed = json.loads(lab.suite("status", "--format", "json").stdout)
        assert "SLURM does not answer" in printed["problem"]
        assert "failed" not in {run["state"] for run in printed["runs"]}
        refused = lab.suite(*RUN, *SLURM, "--seeds", "7", code=2)
        assert refused.stderr.startswith("Error: SLURM does not answer")
    finally:
        lab.cluster.script("slurmctld")
    assert lab.settled() == ["done"] * 6
    whole(lab, undisturbed(*SLOW, *seeds))


def test_two_shells_submit_at_once(lab, undisturbed):
    seeds = ("--seeds", "0-3")
    shells = [lab.start(*RUN, *SLURM, *seeds, "--wait") for _ in range(2)]
    said = []
    for shell in shells:
        _, errors = shell.communicate(timeout=120)
        assert shell.returncode == 0, errors
        said.append(errors)
    assert sum("12 run(s) submitted" in errors for errors in said) == 1
    assert len(list(lab.root.glob("jobs/2*"))) == 1
    whole(lab, undisturbed(*seeds))


def test_a_submission_killed_halfway_leaves_nothing_lost(lab, undisturbed):
    seeds = ("--seeds", "0-3")
    shell = lab.start(*RUN, *SLURM, *seeds, "--sbatch", "hold")
    until(lambda: lab.cluster.call("squeue", "-h"), 30)
    shell.kill()
    shell.wait()
    lab.suite(*RUN, *SLURM, *seeds, "--wait")
    assert lab.cluster.call("squeue", "-h", "-t", "PENDING,RUNNING") == ""
    whole(lab, undisturbed(*seeds))


def test_the_code_at_submission_is_the_code_that_runs(lab, tmp_path):
    text = (
        'CARD = {{\n    "title": "Mine",\n    "tasks": ["fake"],\n    "names": {{"mine": {{"summary": "mine"}}}},\n}}\n\n\n'
        'def configure(cfg, facts):\n    return {{"start": {start}, "sleep": 0.0, "at": 0, "what": "none"}}\n'
    )
    plugin = tmp_path / "mine.py"
    plugin.write_text(text.format(start=1.0))
    mine = ("--method", "mine", "--plugin", str(plugin))
    lab.suite(*RUN, *SLURM, *mine, "--sbatch", "begin=now+4")
    plugin.write_text(text.format(start=50.0))
    before = lab.settled()
    assert before == ["done"]
    (record,) = lab.root.glob("runs/*/1/record.json")
    score = attempts(lab.root, record.parts[-3])[0].predictions()["test"]["score"][0]
    assert score < 1.1
    assert json.loads(record.read_bytes())["environment"]["git"]  # of the checkout, not of the copy
    assert "1 run(s) are stale" in lab.suite(*RUN, *SLURM, *mine).stderr


def test_arrays_are_chunked_below_the_limit_one_after_the_other(lab, undisturbed):
    sites = Path(lab.environment["LONGTAIL_SITES"])
    sites.write_text(sites.read_text() + "max_array = 4\narray_parallelism = 2\n")
    seeds = ("--seeds", "0-2")
    lab.suite(*RUN, *SLURM, *seeds)
    ids = json.loads(next(lab.root.glob("jobs/2*/batch.json")).read_bytes())["ids"]
    assert [job.partition("_")[2] for job in ids] == ["0", "1", "2", "3", "0", "1", "2", "3", ""]
    peak = 0
    while {"running", "queued"} & set(lab.states()):
        running = lab.cluster.call("squeue", "-h", "-t", "RUNNING", "-o", "%i").split()
        peak = max(peak, len(running))
    assert peak <= 2
    whole(lab, undisturbed(*seeds))


def one_line(result, *parts):
    assert result.returncode == 2
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def test_what_sbatch_refuses_is_one_line_and_nothing_is_submitted(lab):
    one_line(
        lab.suite(*RUN, *SLURM, "--partition", "nope", code=2),
        "sbatch refused: ", "invalid partition specified: nope", "nothing was submitted",
    )  # fmt: skip
    one_line(
        lab.suite(*RUN, *SLURM, "--mem", "900G", code=2),
        "Memory specification can not be satisfied",
    )
    one_line(lab.suite(*RUN, *SLURM, "--sbatch", "nonsense=1", code=2), "unrecognized option")
    assert lab.cluster.call("squeue", "-h", "-t", "PENDING,RUNNING") == ""
    assert set(lab.states()) <= {"planned"}
    assert [json.loads(p.read_bytes())["state"] for p in lab.root.glob("jobs/2*/batch.json")] == [
        "abandoned"
    ] * 3


def test_a_python_that_lacks_the_package(lab, tmp_path):
    sites = Path(lab.environment["LONGTAIL_SITES"])
    bare = tmp_path / "bare"
    subprocess.run(["python3", "-m", "venv", "--without-pip", str(bare)], check=True)
    sites.write_text(sites.read_text() + f'python = "{bare}/bin/python"\n')
    done = lab.suite(*RUN, *SLURM, "--wait", code=1)
    assert "failed(environment)" in done.stderr
    assert "No module named 'submitit'" in done.stderr
    assert "failed" in lab.states()
    log = lab.suite("logs", next(r["run"] for r in lab.runs().values() if r["state"] == "failed"))
    assert "No module named 'submitit'" in log.stdout


def test_a_results_root_that_the_node_does_not_see(lab, tmp_path):
    os.kill(lab.cluster.pid("slurmd-node4"), signal.SIGTERM)
    time.sleep(1)
    hidden = f"mount -t tmpfs none {lab.folder} && exec slurmd -N node4"
    blind = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden],
        env=lab.cluster.environment, capture_output=True, text=True,
    )  # fmt: skip
    try:
        if blind.returncode:
            pytest.skip(f"no mount namespaces here: {blind.stderr.strip()}")
        done = lab.suite(*RUN, *SLURM, "--sbatch", "nodelist=node4", "--wait", code=1)
        assert "failed(environment)" in done.stderr
        assert "node4 does not see" in done.stderr
        assert "file system that the nodes share" in done.stderr
    finally:
        if not blind.returncode:
            os.kill(lab.cluster.pid("slurmd-node4"), signal.SIGTERM)
            time.sleep(1)
        lab.cluster.script("slurmd", "node4")
        lab.cluster.call("scontrol", "update", "nodename=node4", "state=resume", check=False)
    assert lab.suite("retry", "--sbatch", "nodelist=node3", "--wait").returncode == 0
    assert lab.states() == ["done"] * 3


def test_watch_follows_to_the_end(lab):
    lab.suite(*RUN, *SLURM, *SLOW)
    shown = lab.suite("status", "--watch", "--interval", "0.5").stdout
    assert "running" in shown
    assert "3 done" in shown


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
