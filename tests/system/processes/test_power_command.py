"""`suite power` and the runs that it asks for."""

import json

from suite.define.spec import spelled


def test_run_trains_exactly_what_is_missing(fake, suite, inside, tmp_path):
    call = ("--task", "fake", "--method", "steady", "--method", "brisk")
    assert suite("run", *call, "--seeds", "0,1").returncode == 0
    done = suite("power", "steady", "brisk", "--task", "fake", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["rows"][0]
    assert found["seeds"] == list(range(2, found["estimate"]["total"] or 2)) != []
    assert found["next"].endswith(f"--seeds {spelled(found['seeds'])}")
    planned = inside("power", "steady", "brisk", "--task", "fake", "--run", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert f"{2 * len(found['seeds'])} new" in planned.stdout
    run = suite("power", "steady", "brisk", "--task", "fake", "--run")
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "results" / "runs").iterdir())) == 2 * (2 + len(found["seeds"]))
