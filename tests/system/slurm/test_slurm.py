"""Runs on a real SLURM: packs, arrays, GPUs, two shells, bad input. Each run is once in the store and
equals the one made here."""

import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cluster import RUN, SLOW, SLOW_STEADY, SLURM, until, whole

from suite.records.attempt import attempts

pytestmark = [pytest.mark.slurm_real, pytest.mark.usefixtures("fake")]


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


SECOND = """
CARD = {
    "title": "Second stage",
    "tasks": ["fake"],
    "names": {"second": {"summary": "goes on where another run ended"}},
    "needs": {"inputs": {"stage1": "steady"}},
}


def configure(cfg, facts, *, inputs):
    with open(inputs["stage1"]) as file:
        return {"start": float(file.read()), "sleep": 0.0, "at": 0, "what": "none"}
"""


def test_a_run_goes_into_the_job_of_the_run_it_needs(lab):
    plugin = lab.root.parent / "second.py"
    plugin.write_text(SECOND)
    second = ("run", "--task", "fake", "--method", "second", "--plugin", str(plugin))
    done = lab.suite(*second, *SLURM, "--seeds", "0,1", "--pack", "1", "--wait")
    assert "4 run(s) submitted to ci in 2 job(s)" in done.stderr
    (batch,) = lab.root.glob("jobs/2*/batch.json")
    for job in json.loads(batch.read_bytes())["jobs"]:
        stage1, after = (assignment["spec"] for assignment in job)
        assert (stage1["method"], after["method"]) == ("steady", "second")
        record = json.loads(
            next(lab.root.glob(f"runs/{run_of(lab, after)}/1/record.json")).read_bytes()
        )
        assert record["inputs"]["stage1"]["run_id"] == after["inputs"]["stage1"]
        assert record["spec"]["seed"] == stage1["seed"]


def run_of(lab, spec):
    """Id of the run with that spec."""
    (found,) = (
        path.parent.parent.name
        for path in lab.root.glob("runs/*/1/spec.json")
        if json.loads(path.read_bytes()) == spec
    )
    return found


def test_the_smoke_suite_as_an_array(lab):
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
    lab.suite(*smoke, *SLURM, "--mem", "3G", "--wait", timeout=300)
    lab.suite(*smoke, "--root", "here", "--workers", "1", timeout=300)

    def figures(*root):
        printed = lab.suite(
            "leaderboard", "--task", "longtail-seg", "--format", "json", *root
        ).stdout
        rows = json.loads(printed)["rows"]
        return [(r["method"], r["metrics"]) for r in rows if r["state"] == "done"]

    assert figures() == figures("--root", "here")
    assert len(figures()) == 2


UNHURRIED = """
CARD = {
    "title": "Unhurried",
    "tasks": ["longtail-seg"],
    "names": {"unhurried": {"summary": "cross entropy, with a rest after each step"}},
}


def configure(cfg, facts):
    # here, for commands that load this file without training
    import time

    from mmengine.hooks import Hook
    from mmengine.registry import HOOKS

    @HOOKS.register_module(force=True)
    class Rest(Hook):
        def after_train_iter(self, *args, **kwargs):
            time.sleep(0.2)

    cfg.custom_hooks = [dict(type="Rest")]
    return cfg
"""


def test_a_run_on_two_ranks_goes_on_bit_for_bit_after_usr2(lab, tmp_path):
    """The ranks are processes of one job, which has the cores of both; all stop and all come back."""
    (tmp_path / "unhurried.py").write_text(UNHURRIED)
    plugin = ("--method", "unhurried", "--plugin", "unhurried.py", "--ranks", "2")
    smoke = ("run", "--task", "longtail-seg", "--protocol", "smoke", *plugin)
    lab.suite(*smoke, *SLURM, "--mem", "3G", timeout=60)
    (run,) = lab.started(step=3)
    asked = lab.cluster.call("squeue", "-h", "-j", run["job"], "-o", "%C %D").split()
    assert asked == ["2", "1"]
    lab.cluster.call("scancel", "--signal=USR2", run["job"])
    assert lab.settled() == ["done"]
    (attempt,) = attempts(lab.root, run["run"])
    assert attempt.status().restarts == 1
    assert attempt.record().environment["ranks"] == 2
    assert not attempt.record().warnings
    lab.suite(*smoke, "--root", "here", timeout=120)
    weights = [
        (root / "runs" / run["run"] / "1" / "weights.safetensors").read_bytes()
        for root in (lab.root, lab.folder / "here")
    ]
    assert weights[0] == weights[1]


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


def test_two_shells_submit_at_once(lab, undisturbed):
    seeds = ("--seeds", "0,1")
    shells = [lab.start(*RUN, *SLURM, *seeds, "--wait") for _ in range(2)]
    said = []
    for shell in shells:
        _, errors = shell.communicate(timeout=120)
        assert shell.returncode == 0, errors
        said.append(errors)
    assert sum("6 run(s) submitted" in errors for errors in said) == 1
    assert len(list(lab.root.glob("jobs/2*"))) == 1
    whole(lab, undisturbed(*seeds))


def test_a_submission_killed_halfway_leaves_nothing_lost(lab, undisturbed, tmp_path):
    """SLURM has taken the jobs, and the command is killed before it could note their ids."""
    real = shutil.which("sbatch", path=lab.environment["PATH"])
    slow = tmp_path / "bin" / "sbatch"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\n{real} "$@"\nsleep 20\n')
    slow.chmod(0o755)
    path = lab.environment["PATH"]
    lab.environment["PATH"] = f"{slow.parent}:{path}"
    shell = lab.start(*RUN, *SLURM, "--sbatch", "hold")
    until(lambda: lab.cluster.call("squeue", "-h"), 30)
    shell.kill()
    shell.wait()
    lab.environment["PATH"] = path
    assert set(lab.states()) <= {"planned"}
    lab.suite(*RUN, *SLURM, "--wait")
    assert lab.cluster.call("squeue", "-h", "-t", "PENDING,RUNNING") == ""
    whole(lab, undisturbed())
    found = [json.loads(path.read_bytes())["state"] for path in lab.root.glob("jobs/2*/batch.json")]
    assert sorted(found) == ["abandoned", "submitted"]


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
    sites.write_text(sites.read_text() + "max_array = 2\narray_parallelism = 1\n")
    five = ("--method", "steady", "--seeds", "0-4")
    lab.suite(*RUN, *SLURM, *five)
    ids = json.loads(next(lab.root.glob("jobs/2*/batch.json")).read_bytes())["ids"]
    assert [job.partition("_")[2] for job in ids] == ["0", "1", "0", "1", ""]
    peak = 0
    while {"running", "queued"} & set(lab.states()):
        running = lab.cluster.call("squeue", "-h", "-t", "RUNNING", "-o", "%i").split()
        peak = max(peak, len(running))
        time.sleep(0.1)
    assert peak <= 1
    whole(lab, undisturbed(*five))


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
    lab.cluster.end("slurmd-node4")
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
            lab.cluster.end("slurmd-node4")
        lab.cluster.script("slurmd", "node4")
        lab.cluster.call("scontrol", "update", "nodename=node4", "state=resume", check=False)
    assert lab.suite("retry", "--sbatch", "nodelist=node3", "--wait").returncode == 0
    assert lab.states() == ["done"] * 3


def test_watch_follows_to_the_end(lab):
    lab.suite(*RUN, *SLURM, *SLOW)
    shown = lab.suite("status", "--watch", "--interval", "0.5").stdout
    # on a busy machine all may run and end between two looks
    assert "queued" in shown or "running" in shown
    assert "3 done" in shown
