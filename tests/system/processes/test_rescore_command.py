"""`suite rescore` in a process of its own, and after runs."""

import json
import subprocess
import sys

import numpy as np
import pytest
from rescored import (
    SCORES,
    call,  # noqa: F401
    catalog,  # noqa: F401
    fill,
    finished,
    prior,  # noqa: F401
    refused,
    root,  # noqa: F401
    rows_of,
    task,  # noqa: F401
)

from suite.stats import tests as stats

pytestmark = pytest.mark.usefixtures("fake")


def tree(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


def test_numbers_against_a_direct_computation_and_nothing_is_written(suite, root, catalog, prior):
    runs = fill(root, catalog)
    before = tree(root)
    done = suite("rescore", "--task", "fake", "--prior", str(prior), "--format", "json")
    rows = rows_of(done)
    assert done.stderr == ""
    assert tree(root) == before
    assert list(rows) == ["brisk", "steady"]
    for method, scores in SCORES.items():
        values = [0.8 * score + 0.2 * score / 2 for score in scores]
        mean, low, high, _ = stats.mean_interval(values)
        cell = {"mean": mean, "low": low, "high": high}
        assert rows[method]["metrics"] == {"score[prior=mine]": pytest.approx(cell)}
        assert rows[method]["runs"] == [run.run_id for run in runs[method]]
        assert (rows[method]["n"], rows[method]["state"]) == (3, "done")
        assert rows[method]["cost"]["wall_seconds"] == 66
    assert [row["rank"] for row in rows.values()] == [1, 2]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("lost", ["missing", "damaged", "other"])
def test_lost_predictions_leave_a_partial_row_and_say_what_to_type(
    suite, call, root, catalog, prior, kept, lost
):
    runs = fill(root, catalog)
    hurt = runs["brisk"][1]
    path = hurt.path / "predictions.npz"
    if lost == "missing":
        path.unlink()
    elif lost == "damaged":
        path.write_bytes(path.read_bytes()[:40])
    else:
        hurt.write_predictions({"train": {"score": np.array([1.0])}})
    if kept:
        hurt.weights.write_text("0.81")
    done = call("--prior", str(prior), "--format", "json")
    rows = rows_of(done, code=1)
    assert (rows["brisk"]["n"], rows["brisk"]["state"], rows["brisk"]["rank"]) == (
        2,
        "partial",
        None,
    )
    assert (rows["steady"]["n"], rows["steady"]["rank"]) == (3, 1)
    (line,) = done.stderr.splitlines()
    again = (
        f"python -m suite predict {hurt.run_id} --set test"
        if kept
        else "python -m suite run --task fake --protocol quick --method brisk --set brisk.start=0.0 "
        "--seeds 1 --fresh"
    )
    assert line.startswith(f"run {hurt.run_id} (brisk, seed 1) cannot be scored: ")
    assert line.endswith(f"`{again}`")
    refused(call(hurt.run_id, "--prior", str(prior)), hurt.run_id, again)
    if kept:
        # what it says mends it
        assert suite(*again.split()[3:]).returncode == 0
        assert rows_of(call("--prior", str(prior), "--format", "json"))["brisk"]["n"] == 3


def test_nothing_heavy_is_imported(root, catalog, prior):
    fill(root, catalog)
    code = (
        "import sys; from suite.cli import application\n"
        "application('rescore')(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'torch', 'duckdb', 'pyarrow', 'mmengine'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    asked = ("rescore", "--task", "fake", "--prior", str(prior), "--root", str(root))
    done = subprocess.run(
        [sys.executable, "-c", code, *asked], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_predict_makes_a_stored_set_again_only_where_it_is_lost(suite, inside, root, catalog, task):
    run = finished(root, catalog, score=0.25)
    ask = ("predict", run.run_id, "--set", "test")
    run.weights.write_text("0.75")
    refused(inside(*ask), "set 'test' is stored by every run itself and is not made again")
    assert run.predictions()["test"]["score"][0] == 0.25
    path = run.path / "predictions.npz"
    path.write_bytes(b"PK")
    evaluate = run.evaluation_path("fake", task.evaluation_hash(task.protocols[0]))
    done = suite(*ask)
    assert done.returncode == 0, done.stderr
    assert run.predictions()["test"]["score"][0] == 0.75
    values = [row["value"] for row in json.loads(evaluate.read_bytes())["metrics"]]
    assert values == [0.75, 0.375]
    refused(inside(*ask), "stored by every run itself")
    path.unlink()
    run.weights.unlink()
    refused(inside(*ask), "no kept weights")
    assert not path.exists()
    refused(inside("predict", run.run_id, "--set", "tset"), "no further prediction set 'tset'")
