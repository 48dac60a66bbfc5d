"""The package in `tests/example`, installed as a user would: its task is trained and ranked, its runs are rows of our
task too, a cluster job is given a copy of it, and of a run with a validation set `val` is predicted."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from suite.define.catalog import Catalog
from suite.dispatch.code_copy import copy_code, job_environment

BOTH = ("--seeds", "0-2", "--method", "ce,halved")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where it lies. Nothing is fetched, and nothing is written beside its files."""
    top = tmp_path_factory.mktemp("example")
    shutil.copytree(ROOT / "tests/example", top / "source")
    options = (
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--quiet",
        "--target",
        top / "installed",
    )
    subprocess.run([sys.executable, "-m", "pip", "install", *options, top / "source"], check=True)
    return top / "installed"


@pytest.fixture
def example(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setenv("PYTHONPATH", f"{installed}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return installed


def rows(inside, task, **more):
    words = [word for key, value in more.items() for word in (f"--{key}", value)]
    shown = inside("leaderboard", "--task", task, "--format", "json", *words)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    # an envelope, or the rows alone
    return {row["method"]: row for row in (found["rows"] if isinstance(found, dict) else found)}


def test_its_task_is_trained_and_ranked_and_its_runs_are_rows_of_ours(example, suite, inside):
    done = suite("run", "--task", "worst-class", *BOTH)
    assert done.returncode == 0, done.stderr
    board = rows(inside, "worst-class")
    assert {name for name, row in board.items() if row["rank"]} == {"ce", "halved"}
    ours = rows(inside, "longtail-cls", protocol="digits:thin")
    assert {name for name, row in ours.items() if row["n"] == 3} == {"ce", "halved"}
    refused = inside("plan", "--task", "worst-class", "--method", "focal")
    assert refused.returncode == 2 and "is not for task 'worst-class'" in refused.stderr
    # without a validation set it is said what to type, which works as it stands
    told = inside("predict", run_of(inside, "digits:thin"), "--set", "val")
    assert told.returncode == 2
    words = shlex.split(told.stderr.partition(": type python -m suite ")[2])
    assert words[words.index("--protocol") + 1] == "digits:thin:carved"
    assert suite(*words).returncode == 0
    by_val = rows(inside, "longtail-cls", protocol="digits:thin:carved", by="top1[split=val]")
    assert by_val["halved"]["n"] == 1
    made = inside("predict", run_of(inside, "digits:thin:carved"), "--set", "val")
    assert made.returncode == 0 and "val stored and evaluated" in made.stdout


def run_of(inside, protocol):
    """Id of the run of `halved` with seed 0."""
    which = ("--task", "worst-class", "--protocol", protocol, "--method", "halved")
    return json.loads(inside("plan", *which, "--format", "json").stdout)["rows"][0]["run"]


def test_a_job_is_given_a_copy_of_it(example, tmp_path):
    catalog = Catalog.load()
    copy = copy_code(tmp_path / "code", catalog.packages, [], {"longtail-example"})
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    code = (
        "from suite.define.catalog import Catalog; import longtail_example; c = Catalog.load();"
        "print(longtail_example.__file__, *c.methods('worst-class'), *c.problems)"
    )
    # as on a cluster that hands over no variables of the shell
    said = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **job_environment(copy.path)},
        capture_output=True, text=True, check=True, cwd=tmp_path,
    ).stdout.split()  # fmt: skip
    assert said[0] == str(copy.path / "longtail_example/__init__.py")
    assert said[1:] == ["balanced-softmax", "ce", "halved"]
