"""A site's commands print words of their own: what counts is found among them."""

import pytest
from fake_commands import commands

from suite.dispatch import sbatch, slurm
from suite.dispatch.slurm import Ending, Queued

BANNER = (
    "Welcome. Your job 7 of yesterday used 3 h.\n*** maintenance | on Monday | 8:00 | all ***\n"
)


@pytest.mark.parametrize(
    ("said", "job"),
    [
        ("Submitted batch job 4242\n", "4242"),
        (f"{BANNER}Submitted batch job 4242\n", "4242"),
        (f"Submitted batch job 4242 on cluster two\n{BANNER}", "4242"),
        ("  Submitted batch job 4242\r\n", "4242"),
        ("Job 3 estimated: 7 h\nSubmitted batch job 4242\nYou have 12 jobs", "4242"),
        (BANNER, None),
        ("", None),
    ],
)
def test_the_id_is_the_one_that_sbatch_names(said, job):
    assert sbatch.job_id(said) == job


def test_submitit_asks_for_it_so(tmp_path, monkeypatch):
    commands(tmp_path / "bin", monkeypatch, srun="exit 1")
    executor = sbatch._executor(tmp_path, "python3")
    said = f"{BANNER}Submitted batch job 4242".encode() + b" \xe9"
    assert executor._get_job_id_from_submission_command(said) == "4242"
    with pytest.raises(Exception, match="names no job"):
        executor._get_job_id_from_submission_command(BANNER)


@pytest.fixture
def answer(monkeypatch):
    def says(text):
        monkeypatch.setattr(slurm, "_call", lambda *command: text)

    return says


def test_the_queue_is_read_among_them(answer):
    answer(f"{BANNER}12_[0-1,4%2]|PENDING||Priority\n\n7|RUNNING|n1|None\n")
    waiting = Queued("PENDING", "", "Priority")
    assert slurm.queue(["x"]) == {
        **dict.fromkeys(["12_0", "12_1", "12_4"], waiting),
        "7": Queued("RUNNING", "n1", ""),
    }


def test_accounts_are_read_among_them(answer):
    answer(f"{BANNER}12_3|CANCELLED by 1000|0:0|None assigned\n7|TIMEOUT|0:1|n1\n")
    assert slurm._accounts(["12", "7"]) == {
        "12_3": Ending("CANCELLED", "0:0", "", "1000"),
        "7": Ending("TIMEOUT", "0:1", "n1", ""),
    }


def test_slurmctlds_memory_is_read_among_them(answer):
    answer(f"{BANNER}load=3\nJobId=7 JobState=FAILED ExitCode=1:0 NodeList=n1\n")
    assert slurm._memory(["7"]) == {"7": Ending("FAILED", "1:0", "n1")}
