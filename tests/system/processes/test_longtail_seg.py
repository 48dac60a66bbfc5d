"""The main job end to end, on embedded data, through the command line."""

import contextlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from camvid_files import DATA, real
from conftest import ROOT
from PIL import Image
from whole_boards import board

from suite.base import settings
from suite.define.catalog import Catalog
from suite.engine.run import predict
from suite.records.attempt import attempts
from suite.records.files import Status, read
from suite.runs.predict import prediction_job
from tasks.vision.data import digit_scenes

SMOKE = ("run", "--task", "longtail-seg", "--protocol", "smoke")
METHODS = ("aucseg", "aucseg-exp", "aucseg-hinge", "aucseg-nobank", "cdt-seg", "ce", "copy-paste", "dice", "focal", "la", "ldam-drw-seg", "ldam-seg", "lovasz", "ohem", "rcs", "rfs", "seesaw-seg", "seql-seg", "tmb", "tversky", "vs-seg", "wce-en", "wce-inv")  # fmt: skip


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A smoke suite of every method, run once: (results root, board rows)."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "suite", *SMOKE, "--workers", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return folder / "results", board(folder)


def by_method(rows):
    return {row["method"]: row for row in rows if row["protocol"] == "smoke"}


def test_every_method_is_a_row_with_group_columns(smoke):
    rows = by_method(smoke[1])
    assert tuple(sorted(rows)) == METHODS
    for row in rows.values():
        assert row["state"] == "done"
        assert (row["n"], row["rank"], row["failures"]) == (1, None, [])
        assert row["cost"]["parameters"] > 1000
        assert row["dataset"] == "digit-scenes"
        for key in ("mIoU", "mAcc", "aAcc", "pixel_auc", "worst_IoU"):
            assert 0 <= row["metrics"][key]["mean"] <= 1
        for group in ("head", "medium", "tail"):
            assert 0 <= row["metrics"][f"mIoU[group={group}]"]["mean"] <= 1
        assert row["metrics"]["pixel_auc_error"]["mean"] < 1e-2


def test_methods_differ(smoke):
    values = {row["metrics"]["pixel_auc"]["mean"] for row in by_method(smoke[1]).values()}
    assert len(values) == len(METHODS)


def test_running_a_finished_suite_does_nothing(smoke, suite):
    root = smoke[0]
    before = {path: path.stat().st_mtime_ns for path in root.glob("runs/*/*/*")}
    again = suite(*SMOKE, "--root", str(root))
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in root.glob("runs/*/*/*")} == before


def test_a_run_keeps_its_provenance_and_samples(smoke, inside):
    (run,) = by_method(smoke[1])["aucseg"]["runs"]
    shown = inside("show", run[:8], "--root", str(smoke[0]), "--format", "json")
    facts = json.loads(shown.stdout)["rows"][0]
    record = facts["record"]
    assert record["environment"]["packages"]["torch"]
    assert record["environment"]["threads"] == 1
    assert set(record["files"]) == {
        "baselines/segmentation/aucseg.py",
        "baselines/segmentation/tmb.py",
    }
    assert len(record["class_counts"]) == 11
    assert record["cost"]["iterations"] == 20
    assert record["cost"]["peak_memory_bytes"] > 2**20
    steps = [step for step, _ in record["curves"]["loss"]]
    assert steps == list(range(1, 21))
    assert [f for f in facts["files"] if f.endswith(".png")] == [
        f"samples/{i}.png" for i in range(3)
    ]
    assert inside("show", run, "--root", str(smoke[0])).returncode == 0


def test_stored_confusion_gives_the_published_score(smoke):
    (run,) = by_method(smoke[1])["ce"]["runs"]
    (attempt,) = attempts(smoke[0], run)
    confusion = attempt.predictions()["test"]["confusion"].astype(np.int64).sum(0)
    hit = np.diag(confusion)
    iou = hit / (confusion.sum(0) + confusion.sum(1) - hit)
    row = by_method(smoke[1])["ce"]
    assert row["metrics"]["mIoU"]["mean"] == pytest.approx(iou.mean())
    assert row["metrics"]["aAcc"]["mean"] == pytest.approx(hit.sum() / confusion.sum())


def test_evaluate_again_gives_the_same_rows(smoke, suite):
    (run,) = by_method(smoke[1])["ce"]["runs"]
    (attempt,) = attempts(smoke[0], run)
    (path,) = (attempt.path / "evaluations").iterdir()
    before = json.loads(path.read_bytes())["metrics"]
    done = suite("evaluate", run, "--again", "--root", str(smoke[0]))
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_bytes())["metrics"] == before


def test_predict_adds_a_set_and_its_scores(smoke, suite, inside):
    (run,) = by_method(smoke[1])["la"]["runs"]
    root = str(smoke[0])
    before = inside("show", run, "--root", root, "--format", "json")
    done = suite("predict", run, "--set", "train", "--root", root)
    assert done.returncode == 0, done.stderr
    after = inside("show", run, "--root", root, "--format", "json")

    def rows(shown):
        metrics = json.loads(shown.stdout)["rows"][0]["evaluations"][0]["metrics"]
        return {(m["metric"], m["subset"], m["class"]): m["value"] for m in metrics}

    new = {key for key in rows(after) if key not in rows(before)}
    assert ("mIoU", "group=tail,split=train", None) in new
    assert {key: rows(after)[key] for key in rows(before)} == rows(before)
    unknown = inside("predict", run, "--set", "trian", "--root", root)
    assert unknown.returncode == 2
    assert "did you mean train" in unknown.stderr


def test_kept_weights_predict_what_was_stored(smoke, inside):
    (run,) = by_method(smoke[1])["tmb"]["runs"]
    (attempt,) = attempts(smoke[0], run)
    stored = attempt.predictions()["test"]["confusion"]
    job = prediction_job(attempt, Catalog.load(), None)
    assert np.array_equal(predict(job, "test")["confusion"], stored)
    refused = inside("predict", run, "--set", "test", "--root", str(smoke[0]))
    assert refused.returncode == 2
    assert "stored by every run itself" in refused.stderr


def test_mmseg_infers_with_a_runs_config_and_weights(smoke, inside, tmp_path):
    """What `init_model` and `inference_model` say of a picture is what the run's test said."""
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmseg.apis import inference_model, init_model

    (run,) = by_method(smoke[1])["tmb"]["runs"]
    (attempt,) = attempts(smoke[0], run)
    made = inside(
        "config", "--task", "longtail-seg", "--protocol", "smoke", "--method", "tmb", "-o", "c.py"
    )
    assert made.returncode == 0, made.stderr
    model = init_model("c.py", str(attempt.weights), device="cpu")
    assert list(model.dataset_meta["classes"]) == attempt.record().classes
    assert model.dataset_meta["palette"] == [list(colour) for colour in digit_scenes.PALETTE]
    stored = attempt.predictions()["test"]["confusion"]
    scenes = digit_scenes.load(settings.cache_dir())
    for index in (0, 5):
        file = tmp_path / f"{index}.png"
        Image.fromarray(scenes["test_images"][index]).save(file)
        found = inference_model(model, str(file)).pred_sem_seg.data[0].numpy()
        label = scenes["test_labels"][index]
        known = label != 255
        counts = np.bincount(label[known].astype(int) * 11 + found[known], minlength=121)
        assert np.array_equal(counts.reshape(11, 11), stored[index])
    # mmengine's own tools take the weights too
    cfg = Config.fromfile("c.py")
    cfg.load_from, cfg.work_dir, cfg.log_level = str(attempt.weights), str(tmp_path / "w"), "ERROR"
    with contextlib.redirect_stdout(io.StringIO()):
        found = Runner.from_cfg(cfg).test()
    published = by_method(smoke[1])["tmb"]["metrics"]["mIoU"]["mean"]
    assert found["seg/mIoU"] == pytest.approx(published, abs=1e-6)


def test_config_runs_under_mmengine_itself(tmp_path, inside):
    made = inside(
        "config", "--task", "longtail-seg", "--protocol", "smoke", "--method", "aucseg",
        "-o", "c.py",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    script = (
        "from mmengine.config import Config; from mmengine.runner import Runner\n"
        "cfg = Config.fromfile('c.py'); cfg.train_cfg.max_iters = 2\n"
        "runner = Runner.from_cfg(cfg); runner.train(); print(runner.test())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "seg/mIoU" in ran.stdout


MINE = '''
"""Cross entropy, louder."""

CARD = {
    "title": "Loud cross entropy",
    "tasks": ["longtail-seg"],
    "names": {
        "loud": {"summary": "cross entropy times a factor"},
        # beyond float32
        "deafening": {"summary": "cross entropy times too much", "params": {"factor": 1e39}},
    },
    "params": {"factor": {"default": 2.0, "low": 0.0, "help": "loss weight"}},
}


def configure(cfg, facts, factor):
    import logging
    import warnings

    for _ in range(3):
        warnings.warn("it may be too loud")
        logging.getLogger("mine").warning("the volume is %s", factor)
    cfg.model.decode_head.loss_decode[0].loss_weight = factor
    return cfg
'''


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Methods of one's own beside another, run once by one worker: (folder, what the run printed)."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(MINE)
    chosen = [word for name in ("ce", "deafening", "loud") for word in ("--method", name)]
    command = [sys.executable, "-m", "suite", *SMOKE, *chosen, "--plugin", "mine.py"]
    return folder, subprocess.run(
        [*command, "--workers", "1"], cwd=folder, capture_output=True, text=True, timeout=400
    )


def test_a_method_of_ones_own_is_one_file(mine):
    rows = by_method(board(mine[0], "--plugin", "mine.py"))
    assert rows["loud"]["state"] == rows["ce"]["state"] == "done"
    assert rows["loud"]["params"] == {"factor": 2.0}
    # without the plug-in its row is still there
    assert by_method(board(mine[0]))["loud"]["metrics"] == rows["loud"]["metrics"]


def test_a_runs_log_says_how_it_went_and_what_was_warned_of(mine, inside):
    rows = by_method(board(mine[0], "--plugin", "mine.py"))
    (run,) = rows["loud"]["runs"]
    printed = inside("logs", run, "--lines", "0", "--root", str(mine[0] / "results"))
    lines = [line.partition("  ")[2] for line in printed.stdout.splitlines()]
    assert lines.count("warning: the volume is 2.0 (mine, mine.py:22)") == 1
    assert sum("it may be too loud (UserWarning, mine.py:" in line for line in lines) == 1
    assert "loud under smoke, seed 0, on cpu: 20 iterations of 8 samples" in lines
    steps = [line for line in lines if line.startswith("step ")]
    assert len(steps) == 20
    said = r"step {}/20  loss \S+  decode\.loss_ce \S+  decode.acc_seg \S+  lr \S+  \S+ s/step"
    assert re.fullmatch(said.format(1), steps[0]) and re.fullmatch(said.format(20), steps[-1])
    assert lines[-1].startswith("trained in ")


def test_the_method_in_the_readme_works(tmp_path):
    import torch
    from mmseg.registry import MODELS

    from suite.define.data import find_data
    from suite.engine.run import resolve_config

    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "smooth.py").write_text(block.group(1))
    catalog = Catalog.load([tmp_path / "smooth.py"])
    smoke = catalog.protocol(catalog.task("longtail-seg"), "smoke")
    module, params = catalog.source("smooth").load(), catalog.resolve("smooth", smoke, {})
    cfg, _ = resolve_config(smoke.build, find_data(smoke, None), module.configure, params, 0)
    loss = MODELS.build(cfg.model.decode_head.loss_decode)
    scores, label = torch.randn(2, 11, 4, 4), torch.randint(11, (2, 4, 4))
    expected = torch.nn.functional.cross_entropy(scores, label, label_smoothing=0.1)
    assert torch.equal(loss(scores, label), expected)


def test_a_diverging_run_is_a_row_with_its_step(mine):
    folder, done = mine
    assert done.returncode == 1, done.stderr
    assert re.search(r"deafening.* failed\(nan\).*not finite at iteration \d+", done.stderr)
    rows = by_method(board(folder))
    # the worker goes on with the next
    assert rows["ce"]["state"] == rows["loud"]["state"] == "done"
    assert rows["deafening"]["state"] == "failed"
    (failure,) = rows["deafening"]["failures"]
    assert failure["kind"] == "nan"
    assert failure["step"] >= 1


def _comparable(rows):
    return [
        {key: row[key] for key in ("method", "digest", "n", "state", "rank", "runs", "metrics")}
        for row in rows
    ]


@pytest.mark.fault
def test_ten_kills_of_a_smoke_suite_change_nothing(tmp_path, suite, smoke):
    """Ten SIGKILLs at random moments, three of them at the parent too."""
    methods = ("ce", "aucseg", "tmb")
    chosen = [word for name in methods for word in ("--method", name)]
    command = [sys.executable, "-m", "suite", *SMOKE, *chosen, "--workers", "1"]
    generator = random.Random(3)
    kills = 0
    deadline = time.monotonic() + 300
    while kills < 10 and time.monotonic() < deadline:
        parent = subprocess.Popen(
            [*command, "--checkpoint-seconds", "0"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while parent.poll() is None and kills < 10:
            time.sleep(generator.uniform(0.05, 0.5))
            if _kill_a_worker(tmp_path / "results"):
                kills += 1
                if kills % 3 == 0:
                    parent.kill()
        if parent.wait() == 0:
            _forget_one(tmp_path / "results")
    done = suite(*SMOKE, *chosen, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert kills == 10
    rough = [row for row in board(tmp_path) if row["method"] in methods]
    calm = [row for row in smoke[1] if row["method"] in methods]
    assert _comparable(rough) == _comparable(calm)
    assert [path for path in tmp_path.rglob("*.tmp") if path.is_file()] == []


def _kill_a_worker(root: Path) -> bool:
    for path in root.glob("runs/*/*/status.json"):
        status = read(Status, path)
        if status.state == "running":
            try:
                os.kill(status.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            return True
    return False


def _forget_one(root: Path) -> None:
    """All runs finished before ten kills came together: remove one to go on."""
    import shutil

    shutil.rmtree(next(root.glob("runs/*")), ignore_errors=True)


@real
def test_a_damaged_label_is_a_failed_run_that_names_the_file(tmp_path, suite, inside):
    """And once the file is mended, the same command goes on."""
    data = tmp_path / "data/camvid"
    for folder in (DATA / "camvid").iterdir():
        (data / folder.name).mkdir(parents=True)
        for file in folder.iterdir():
            (data / folder.name / file.name).symlink_to(file)
    victim = data / "trainannot" / sorted(os.listdir(data / "trainannot"))[0]
    whole = victim.readlink()
    victim.unlink()
    victim.write_bytes(whole.read_bytes()[:200])
    run = ("run", "--task", "longtail-seg", "--protocol", "camvid:half", "--method", "ce")
    done = suite(*run, "--data-root", str(data.parent))
    assert done.returncode == 1
    assert "failed(bad-data)" in done.stderr
    assert victim.name in done.stderr
    planned = inside("plan", *run[1:], "--format", "json")
    assert json.loads(planned.stdout)["counts"] == {"retry": 1}
    checked = suite("data", "check", "camvid", "--data-root", str(data.parent))
    assert checked.returncode == 2
    assert victim.name in checked.stdout
