"""`suite verify` in a process of its own."""

import json
from pathlib import Path

import pytest
from strangers import edit, finished

from suite.records.attempt import Attempt


@pytest.fixture
def run(tmp_path: Path) -> Attempt:
    return finished(tmp_path, 3)


def evaluations(run: Attempt) -> list[Path]:
    return sorted((run.path / "evaluations").glob("*.json"))


def test_command_line(suite, inside, tmp_path):
    root = tmp_path / "results"
    run, other = finished(root, 3), finished(root, 4)
    done = suite("verify")
    assert done.returncode == 0 and "2 of 2 finished run(s)" in done.stdout, done.stderr
    edit(evaluations(other)[0], lambda c: c["metrics"][0].update(value=0.123))
    done = suite("verify")
    assert done.returncode == 1 and "stored 0.123, recomputed" in done.stdout
    assert inside("verify", run.run_id[:6]).returncode == 0
    done = inside("verify", str(other.path), "--format", "json")
    (found,) = json.loads(done.stdout)["rows"]
    assert (done.returncode, found["holds"], found["run"]) == (1, False, other.run_id)
    done = inside("verify", str(root / "runs" / run.run_id), "--root", "elsewhere")
    assert done.returncode == 0
    for wrong in (["nothing"], ["--root", "elsewhere"], [str(tmp_path)]):
        done = inside("verify", *wrong)
        assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_names_from_records_do_not_reach_the_terminal(suite, tmp_path):
    run = finished(tmp_path / "results", 3)

    def hostile(content):
        content["metrics"][0]["metric"] = "\x1b[2J[bold]x"

    edit(evaluations(run)[0], hostile)
    edit(run.path / "record.json", lambda c: c.update(dataset="\x1b]0;owned\x07"))
    done = suite("verify")
    assert done.returncode == 1 and "\x1b" not in done.stdout + done.stderr
