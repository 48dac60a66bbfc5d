"""Jobs: what real processes and shells make of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_slurm import (
    answers,  # noqa: F401
    catalog,  # noqa: F401
    states,
    submitted,
)

from suite.dispatch import sbatch, slurm
from suite.dispatch.batch import Batch
from suite.dispatch.reconcile import reconcile
from suite.dispatch.request import Site
from suite.dispatch.slurm import Ending
from suite.records.attempt import Attempt
from suite.runs.worker import execute

pytestmark = pytest.mark.usefixtures("fake")


def test_what_is_still_alive_or_finished_is_left_alone(tmp_path, answers, catalog):
    batch = submitted(tmp_path, catalog)
    done = execute(batch.jobs[0][0], catalog)
    assert done.state == "done"
    answers.endings = {"7_0": Ending("FAILED", "1:0")}  # whatever it says: the record stands
    found, _ = states(tmp_path, catalog)
    # the cluster lags behind its queue: no ending yet, so nothing is settled, and nobody is to submit them
    assert [found[seed].state for seed in range(3)] == ["done", "queued", "queued"]
    assert found[1].note == "its job has ended; the cluster does not say yet how"
    assert Attempt(tmp_path, batch.jobs[1][0].spec.run_id, 1).status() is None
    assert reconcile(tmp_path).queued == {job[0].spec.run_id for job in batch.jobs[1:]}


@pytest.mark.parametrize(
    ("accounts", "memory", "found"),
    [
        ("7|OUT_OF_MEMORY|0:125|n1", "not asked", Ending("OUT_OF_MEMORY", "0:125", "n1")),
        ("7|CANCELLED by 12|0:0|None assigned", "not asked", Ending("CANCELLED", "0:0", "", "12")),
        # accounts lag behind: slurmctld knows
        ("7|RUNNING|0:0|n1", "JobId=7 JobState=FAILED ExitCode=9:0 NodeList=n1", Ending("FAILED", "9:0", "n1")),
        ("", "JobId=7 JobState=FAILED ExitCode=9:0 NodeList=(null)", Ending("FAILED", "9:0")),
        # queued again meanwhile
        ("7|RUNNING|0:0|n1", "JobId=7 JobState=PENDING ExitCode=0:0 NodeList=", None),
        # an account that was never closed, of a job that slurmctld has forgotten
        ("7|RUNNING|0:0|n1", "forgotten", Ending("UNKNOWN")),
    ],
)  # fmt: skip
def test_how_a_job_ended_is_asked_of_accounts_and_of_slurmctld(
    tmp_path, monkeypatch, accounts, memory, found
):
    says = {
        "not asked": "exit 1",
        "forgotten": "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1",
    }
    commands = {
        "sacct": f"echo '{accounts}'",
        "scontrol": says.get(memory, f"echo '{memory}'"),
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert slurm.endings(["7"]) == ({"7": found} if found else {})


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_worker_that_hears_the_signal_first_does_not_end_the_job(tmp_path, catalog, number):
    """Every process of a job is signalled: the last run may stop before the job's own process knows."""
    batch = submitted(tmp_path, catalog, "steady.sleep=0.05", seeds=(0,))
    done = subprocess.Popen(
        [sys.executable, "-c", f"""
import signal, sys, threading, time
from pathlib import Path
from suite.dispatch.on_node import NodeJob
from suite.records.attempt import Attempt

def signal_the_worker():
    attempt = Attempt(Path({str(tmp_path)!r}), {batch.jobs[0][0].spec.run_id!r}, 1)
    while (status := attempt.status()) is None or status.step < 1:
        time.sleep(0.05)
    import os
    os.kill(status.pid, {int(number)})
    while attempt.status().state == "running":
        time.sleep(0.01)
    time.sleep(0.3)  # its report is read before this process hears of it
    os.kill(os.getpid(), {int(number)})

threading.Thread(target=signal_the_worker, daemon=True).start()
sys.exit(NodeJob({str(tmp_path)!r}, {batch.id!r}, 0).work())
"""],
    )  # fmt: skip
    assert done.wait(60) == (slurm.STOPPED_EXIT if number == signal.SIGUSR2 else 143)
    assert not list(tmp_path.glob("jobs/*/through/*"))


@pytest.mark.parametrize(
    ("code", "through", "before", "state", "again", "exit_code"),
    [
        (0, True, 0, "RUNNING", False, 0),
        (0, False, 0, "RUNNING", True, 1),  # srun says 0 for a node that failed
        (75, False, 0, "RUNNING", True, 75),
        (75, False, 5, "RUNNING", True, 75),
        (78, False, 0, "RUNNING", False, 78),
        (143, False, 0, "COMPLETING", False, 143),  # cancelled
        (143, False, 0, "RUNNING", True, 143),  # preempted
        (137, False, 0, "RUNNING", True, 137),
        (137, False, 1, "RUNNING", True, 137),
        (137, False, 2, "RUNNING", False, 137),
    ],
)
def test_whether_a_job_runs_again(tmp_path, code, through, before, state, again, exit_code):
    (tmp_path / "failures").mkdir()
    (tmp_path / "through").mkdir()
    if through:
        (tmp_path / "through" / "7_3").touch()
    (tmp_path / "failures" / "7_3").write_text("1\n" * before)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\necho {state}\n")
    squeue.chmod(0o755)
    teardown = (Path(slurm.__file__).parent / "teardown.sh").read_text()
    done = subprocess.run(
        ["bash", "-c", f"(exit {code})\n{teardown}"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "LONGTAIL_BATCH": str(tmp_path), "LONGTAIL_BACKOFF": "0",
            "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3",
        },
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == exit_code
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 7_3\n" if again else "")


def test_the_script_holds_what_was_asked_for(tmp_path):
    site = Site(
        partition="gpu", account="me", qos="long", constraint="a100", time="1-00", gpus_per_node=2,
        cpus_per_task=8, mem="64G", sbatch={"nice": 5, "hold": True}, setup=["module load x"],
        python="/opt/p",
    )  # fmt: skip
    batch = Batch(
        id="20260101-000000-abcdef", created=0.0, cluster="ci", site=site, slots=2, threads=4,
        uid=0, code="0" * 12, jobs=[],
    )  # fmt: skip
    text = sbatch.script(tmp_path / "with space", batch, 40)
    for line in (
        "#SBATCH --partition=gpu", "#SBATCH --account=me", "#SBATCH --qos=long",
        "#SBATCH --constraint=a100", "#SBATCH --time=1440", "#SBATCH --gpus-per-node=2",
        "#SBATCH --cpus-per-task=8", "#SBATCH --mem=64G", "#SBATCH --nice=5", "#SBATCH --hold",
        "#SBATCH --requeue", "#SBATCH --signal=USR2@120", "module load x",
    ):  # fmt: skip
        assert line in text.splitlines()
    assert "--array=0-39" in text
    assert "/opt/p -u -m submitit.core._submit" in text
    assert "wckey" not in text
    script = Path(tmp_path / "job.sh")
    script.write_text(text)
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).returncode == 0
