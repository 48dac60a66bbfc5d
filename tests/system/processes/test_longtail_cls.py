"""`longtail-cls` end to end, on embedded data, through the command line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_longtail_seg import by_method
from whole_boards import board

from suite.define.catalog import Catalog
from suite.records.attempt import attempts
from suite.records.files import Status, read

SMOKE = ("run", "--task", "longtail-cls", "--protocol", "smoke")
METHODS = (
    "balanced-softmax", "balpoe", "cb-ce", "cb-focal", "cdt", "ce", "crt", "dirmixe", "drw-resume",
    "etf", "etf-cos", "etf-dr", "focal", "focal-sam", "ib", "imb-sam", "la", "la-posthoc", "lade",
    "las", "ldam", "ldam-drw", "lws", "mixup", "remix", "ride", "rs", "rs-sqrt", "rw", "sade",
    "sam", "sam-ldam-drw", "sam-vs", "sam-vs-adrw-tla", "seesaw", "seql", "sse-sam", "tau-norm", "vs", "vs-adrw", "vs-adrw-tla",
    "vs-drw", "vs-tla", "wb",
)  # fmt: skip
FRAMES = {"etf": 0, "etf-cos": 16 * 16, "etf-dr": 16 * 16}
"""Method whose classifier is fixed -> weights of the projection before it."""
EXPERTS = {"balpoe", "dirmixe", "ride", "sade"}
GROUPS = ("head", "medium", "tail")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A smoke suite of every method, run once: (results root, board rows)."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "suite", *SMOKE, "--workers", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return folder / "results", board(folder, task="longtail-cls")


def predictions(smoke, method, name="test"):
    (run,) = by_method(smoke[1])[method]["runs"]
    (attempt,) = attempts(smoke[0], run)
    return attempt.predictions()[name]


def values(row):
    return {key: metric["mean"] for key, metric in row["metrics"].items()}


def test_every_method_is_a_row_with_group_columns(smoke):
    rows = by_method(smoke[1])
    assert tuple(sorted(rows)) == METHODS
    for name, row in rows.items():
        assert row["state"] == "done", name
        assert (row["n"], row["rank"], row["failures"]) == (1, None, [])
        parameters = row["cost"]["parameters"]
        if name in EXPERTS:
            assert parameters > 1.2 * rows["ce"]["cost"]["parameters"]
        elif name in FRAMES:
            # neither 10 rows of 16 nor a bias are learnt
            assert parameters == rows["ce"]["cost"]["parameters"] - 170 + FRAMES[name]
        elif name == "lws":
            # a factor for each class, beside weights and bias
            assert parameters == rows["ce"]["cost"]["parameters"] + 10
        else:
            assert parameters == rows["ce"]["cost"]["parameters"] or "ldam" in name
        metrics = values(row)
        for key in (
            "balanced_accuracy",
            "top1",
            "worst_class",
            "g_mean",
            "h_mean",
            "ece",
            "auc_ovo",
        ):
            assert 0 <= metrics[key] <= 1
        for group in GROUPS:
            assert 0 <= metrics[f"top1[group={group}]"] <= 1


def test_passes_and_second_stages_are_told(smoke):
    rows = by_method(smoke[1])
    passes = {name: row["cost"]["passes_per_step"] for name, row in rows.items()}
    assert {passes[name] for name in rows if name.startswith("sam")} == {2.0}
    assert passes["focal-sam"] == 2.5
    # a batch of 32 may be without a tail class of ten images at most
    assert 1 < passes["imb-sam"] <= 2.5
    # stage 1 until 0.7 of 22 iterations
    assert passes["sse-sam"] == pytest.approx((16 * 3.5 + 6 * 2.5) / 22, abs=1e-3)
    assert passes["crt"] == passes["ce"] == 1
    flags = {name: row["flags"] for name, row in rows.items() if row["flags"]}
    staged = {"crt", "lws", "tau-norm", "drw-resume"}
    assert flags == {
        **{name: ["extra-budget"] for name in staged},
        "dirmixe": ["transductive"],
        "sade": ["transductive"],
        "lade": ["test-prior"],
    }
    (run,) = rows["ce"]["runs"]
    for name in staged:
        (attempt,) = attempts(smoke[0], rows[name]["runs"][0])
        record = attempt.record()
        assert record.inputs["stage1"].run_id == run
        # the cost of both stages
        assert rows[name]["cost"]["wall_seconds"] > record.cost.wall_seconds
        seen = attempts(smoke[0], run)[0].record().cost.samples_seen
        assert record.cost.samples_seen == seen + 32 * record.cost.iterations


def test_every_runs_log_says_how_it_went_and_nothing_of_the_machinery(smoke):
    for method, row in by_method(smoke[1]).items():
        (run,) = row["runs"]
        (attempt,) = attempts(smoke[0], run)
        lines = [
            line.partition("  ")[2] for line in (attempt.path / "log.txt").read_text().splitlines()
        ]
        assert lines[0].startswith(f"{method} under smoke, seed 0, on cpu: "), method
        steps = [line for line in lines if line.startswith("step ")]
        total = attempt.record().cost.iterations
        if total:  # tau-norm trains nothing
            assert steps[0].startswith(f"step 1/{total}  loss "), method
            assert steps[-1].startswith(f"step {total}/{total}  loss "), method
        assert len(steps) <= 52 and lines[-1].startswith("trained in "), method
        assert len(lines) == len(steps) + 2, (method, lines)


def test_methods_differ(smoke):
    scores = {row: predictions(smoke, row)["logits"].tobytes() for row in by_method(smoke[1])}
    # stage 2 begins late in this short training, but everybody has one
    same = {}
    for name, raw in scores.items():
        same.setdefault(raw, set()).add(name)
    assert sorted(map(sorted, (names for names in same.values() if len(names) > 1))) == [
        ["balanced-softmax", "la"],  # whose default tau is 1
        ["ce", "la-posthoc"],  # which adapts stored logits
    ]


def test_stored_logits_give_the_published_scores(smoke):
    stored = predictions(smoke, "ce")
    logits, label = stored["logits"], stored["label"]
    hit = logits.argmax(1) == label
    recall = np.array([hit[label == c].mean() for c in range(10)])
    metrics = values(by_method(smoke[1])["ce"])
    assert metrics["top1"] == pytest.approx(hit.mean())
    assert metrics["balanced_accuracy"] == pytest.approx(recall.mean())
    groups = Catalog.load().task("longtail-cls").protocols[0].dataset.groups
    for group in GROUPS:
        assert metrics[f"top1[group={group}]"] == pytest.approx(recall[list(groups[group])].mean())


def test_posthoc_adjustment_is_evaluated_beside_the_plain_scores(smoke):
    rows = by_method(smoke[1])
    adjusted, plain = values(rows["la-posthoc"]), values(rows["ce"])
    for key in ("balanced_accuracy", "top1", "ece"):
        assert adjusted[f"{key}[scores=unadapted]"] == plain[key]
    assert adjusted["ece"] != plain["ece"]
    (run,) = rows["la-posthoc"]["runs"]
    (attempt,) = attempts(smoke[0], run)
    record = attempt.record()
    assert record.infers
    counts = np.array(record.class_counts)
    stored = predictions(smoke, "la-posthoc")
    moved = stored["logits"] - np.log(counts / counts.sum())
    hit = moved.argmax(1) == stored["label"]
    assert adjusted["top1"] == pytest.approx(hit.mean())


def test_evaluate_again_gives_the_same_rows_and_wants_the_methods_code(smoke, suite, inside):
    (run,) = by_method(smoke[1])["la-posthoc"]["runs"]
    (attempt,) = attempts(smoke[0], run)
    (path,) = (attempt.path / "evaluations").glob("longtail-cls-*")
    before = json.loads(path.read_bytes())["metrics"]
    again = ("evaluate", run, "--again", "--root", str(smoke[0]))
    done = suite(*again)
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_bytes())["metrics"] == before
    record = attempt.path / "record.json"
    kept = record.read_bytes()
    try:
        record.write_bytes(kept.replace(attempt.record().digest.encode(), b"0123456789ab"))
        refused = inside(*again)
    finally:
        record.write_bytes(kept)
    assert refused.returncode == 1
    assert "other code of 'la-posthoc'" in refused.stderr


def test_every_run_is_a_row_of_test_agnostic_without_training_again(smoke, suite, inside):
    root = ("--root", str(smoke[0]))
    ask = ("--task", "test-agnostic", "--protocol", "smoke")
    planned = inside("plan", *ask, *root)
    assert planned.returncode == 0
    assert "7 done" in planned.stdout and "new" not in planned.stdout
    done = suite("leaderboard", *ask, *root, "--format", "json")
    rows = by_method(json.loads(done.stdout)["rows"])
    assert set(rows) == set(METHODS)
    cls = by_method(smoke[1])
    for name, row in rows.items():
        assert row["runs"] == cls[name]["runs"]
        found = values(row)
        # all test images, and for these the known prior is uniform
        assert found["top1[prior=uniform]"] == pytest.approx(values(cls[name])["top1"])
        assert found["top1[prior=forward-50]"] >= 0
        assert ("top1[prior=uniform,scores=unadapted]" in found) == (
            name in {"dirmixe", "la-posthoc", "lade", "sade"}
        )


def test_experts_are_stored_with_the_views_they_adapt_to(smoke):
    (run,) = by_method(smoke[1])["dirmixe"]["runs"]
    (attempt,) = attempts(smoke[0], run)
    stored = attempt.predictions()
    views = [f"view={k}" for k in range(1, 11)]
    assert set(stored) == {"test", *views}
    samples = len(stored["test"]["label"])
    assert all(one["logits"].shape == (samples, 3, 10) for one in stored.values())
    assert not np.array_equal(stored["view=1"]["logits"], stored["view=2"]["logits"])
    # other methods' runs see the same views of the same images
    (other,) = attempts(smoke[0], by_method(smoke[1])["sade"]["runs"][0])
    label = other.predictions()["view=3"]["label"]
    assert np.array_equal(label, stored["test"]["label"])
    assert set(predictions(smoke, "ride")) == {"label", "logits"}


def test_lost_predictions_are_made_again_with_the_views(smoke, inside, tmp_path):
    (run,) = by_method(smoke[1])["sade"]["runs"]
    shutil.copytree(smoke[0] / "runs" / run, tmp_path / "results" / "runs" / run)
    (attempt,) = attempts(tmp_path / "results", run)
    before, evaluations = attempt.predictions(), attempt.path / "evaluations"
    rows = {path.name: json.loads(path.read_bytes())["metrics"] for path in evaluations.iterdir()}
    attempt.write_predictions({"test": before["test"]})
    refused = inside("evaluate", run, "--again")
    assert refused.returncode == 1
    assert f"python -m suite predict {run} --set view=1" in refused.stderr
    (attempt.path / "predictions.npz").unlink()
    done = inside("predict", run, "--set", "test")
    assert done.returncode == 0, done.stderr
    after = attempt.predictions()
    assert set(after) == set(before)
    for name, arrays in before.items():
        assert np.array_equal(after[name]["logits"], arrays["logits"]), name
    assert rows == {
        path.name: json.loads(path.read_bytes())["metrics"] for path in evaluations.iterdir()
    }


def test_predict_adds_the_training_set(smoke, suite, inside):
    (run,) = by_method(smoke[1])["ce"]["runs"]
    done = suite("predict", run, "--set", "train", "--root", str(smoke[0]))
    assert done.returncode == 0, done.stderr
    (attempt,) = attempts(smoke[0], run)
    counts = np.bincount(attempt.predictions()["train"]["label"], minlength=10)
    assert counts.tolist() == attempt.record().class_counts
    shown = json.loads(inside("show", run, "--root", str(smoke[0]), "--format", "json").stdout)[
        "rows"
    ][0]
    (made,) = (one for one in shown["evaluations"] if one["task"] == "longtail-cls")
    rows = {(m["metric"], m["subset"]) for m in made["metrics"]}
    assert ("balanced_accuracy", "split=train") in rows


def test_further_sets_at_the_end_of_a_run_equal_those_made_later(smoke, suite, inside, tmp_path):
    sets = ("train", "sharpness", "collapse", "collapse=test")
    wanted = [word for name in sets for word in ("--predict", name)]
    done = suite(*SMOKE, "--method", "sse-sam", *wanted)
    assert done.returncode == 0, done.stderr
    (run,) = by_method(board(tmp_path, task="longtail-cls"))["sse-sam"]["runs"]
    (attempt,) = attempts(tmp_path / "results", run)
    made = attempt.predictions()
    for name in sets:
        later = inside("predict", run, "--set", name, "--root", str(smoke[0]))
        assert later.returncode == 0, later.stderr
    (other,) = attempts(smoke[0], run)
    found = other.predictions()
    assert set(made) == set(found) == {"test", *sets}
    for name in made:
        for key, array in made[name].items():
            same = np.array_equal(array, found[name][key], equal_nan=array.dtype.kind == "f")
            assert same, (name, key)
    cost = attempt.record().cost
    # measuring takes longer than this training, and is no cost of it
    assert cost.wall_seconds < read(Status, attempt.path / "status.json").elapsed
    again = suite(*SMOKE, "--method", "ce", "--root", str(smoke[0]), "--predict", "sharpness")
    assert "finished without prediction set sharpness" in again.stderr


def test_configs_run_under_mmengine_itself(tmp_path, inside):
    """Where they end in stage 1, as by our own runner: {method: expression for its stage}."""
    stages = {
        "ldam-drw": "runner.model.head.loss_module.stage",
        "sse-sam": "runner.model.parts[0].radius(runner.model.done) == 0",
    }
    script = "from mmengine.config import Config; from mmengine.runner import Runner\n"
    for method, stage in stages.items():
        made = inside(
            "config", "--task", "longtail-cls", "--protocol", "smoke", "--method", method,
            "-o", f"{method}.py",
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        script += (
            f"runner = Runner.from_cfg(Config.fromfile('{method}.py'))\n"
            f"runner.train(); print('{method}', runner.test()); print('{method} stage', int({stage}))\n"
        )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    for method in stages:
        assert re.search(rf"^{method} {{.*cls/balanced_accuracy", ran.stdout, re.MULTILINE)
        assert f"{method} stage 1\n" in ran.stdout


@pytest.mark.fault
def test_killed_runs_end_with_the_same_logits(smoke, suite, tmp_path):
    """One SIGKILL each, once there is a checkpoint: stages, counts and mixing go on exactly."""
    methods = ("remix", "wb")
    chosen = [word for method in methods for word in ("--method", method)]
    command = [sys.executable, "-m", "suite", *SMOKE, *chosen, "--workers", "1"]
    parent = subprocess.Popen(
        [*command, "--checkpoint-seconds", "0"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    killed = set()
    while parent.poll() is None:
        time.sleep(0.01)
        for path in tmp_path.glob("results/runs/*/*/checkpoint/*.pth"):
            attempt = path.parent.parent
            status = read(Status, attempt / "status.json")
            if status.state == "running" and attempt not in killed:
                os.kill(status.pid, signal.SIGKILL)
                killed.add(attempt)
    assert parent.returncode == 0
    restarts = 0
    for method in methods:
        (run,) = by_method(smoke[1])[method]["runs"]
        (attempt,) = attempts(tmp_path / "results", run)
        restarts += attempt.status().restarts
        stored = attempt.predictions()["test"]["logits"]
        assert np.array_equal(stored, predictions(smoke, method)["logits"]), method
    # the last checkpoint goes when the run is done: a fast run may get away
    assert restarts >= 1
