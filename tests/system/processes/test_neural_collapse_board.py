"""`neural-collapse` end to end, on embedded data, through the command line."""

import json

import pytest
from whole_boards import assert_all_differ, every_method, means

from suite.records.attempt import attempts

METHODS = (
    "code-2", "code-3", "code-5", "cos-learned", "etf", "etf-cos", "etf-dr", "guided-etf", "nc-ce", "nc-focal", "nc-ls",
    "nc-mse",
)  # fmt: skip
DISTANCES = ("nc1", "nc1_trace", "cdnv", "nc2_means", "nc2_weights", "nc3", "duality")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Every method, run once: (folder, board rows)."""
    folder = tmp_path_factory.mktemp("smoke")
    return folder, every_method(folder, "neural-collapse")


def test_every_method_is_a_row(smoke):
    rows = smoke[1]
    assert tuple(sorted(rows)) == METHODS
    for name, row in rows.items():
        assert row["state"] == "done", name
        values = means(row)
        for split in ("train", "test"):
            for metric in DISTANCES:
                assert values[f"{metric}[split={split}]"] >= 0, (name, metric)
            for metric in ("nc4", "ncc_top1"):
                assert 0 <= values[f"{metric}[split={split}]"] <= 1, (name, metric)
        # two epochs fit nothing
        assert values["top1[split=train]"] < 1 and values["tpt_gain"] is None, name


def test_methods_do_what_sets_them_apart(smoke):
    assert_all_differ(smoke[1])


def test_frozen_frames_are_what_they_are_called(smoke):
    for name in ("etf", "etf-cos", "etf-dr"):
        assert means(smoke[1][name])["nc2_weights[split=train]"] < 1e-6, name
    for name, cosine in (("code-2", 0.809017), ("code-3", 0.404395), ("code-5", 0.0)):
        values = means(smoke[1][name])
        assert values["max_cos[of=weights,split=train]"] == pytest.approx(cosine, abs=1e-4), name
        assert values["frame_gap[of=weights,split=train]"] == pytest.approx(0, abs=1e-4), name


def test_what_is_stored_gives_the_scores_again(smoke, inside):
    (run,) = smoke[1]["etf-dr"]["runs"]
    (attempt,) = attempts(smoke[0] / "results", run)
    stored = attempt.predictions()
    assert set(stored) == {"test", "collapse", "collapse=test"}
    assert stored["collapse"]["counts"].sum() == 300
    done = inside("verify", run, "--root", str(smoke[0] / "results"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_arms_and_what_goes_with_accuracy(smoke, inside):
    task = ("--task", "neural-collapse", "--protocol", "smoke")
    where = (*task, "--root", str(smoke[0] / "results"))
    for number in ("1", "2"):
        arm = ("--method", "etf", "--set", f"etf.permutation={number}", "--seeds", "0,1")
        made = inside("run", *where, *arm, "--workers", "1")
        assert made.returncode == 0, made.stderr
    arms = inside(
        "compare", "--arms", "etf.permutation", *where, "--without", "none", "--format", "json"
    )
    assert arms.returncode == 0, arms.stderr
    told = json.loads(arms.stdout)
    assert [row["label"] for row in told["rows"]] == ["none", "1", "2"]
    assert told["tests"][0]["crossed"]["arms"] == told["tests"][0]["crossed"]["seeds"] == 2
    assert set(told["findings"][0]["association"]["values"]) == {"1", "2"}
    everything = inside("compare", "--all", *where)
    assert everything.returncode == 0, everything.stderr
    assert "nc1[split=train]" in everything.stdout


def test_wrong_use_is_one_line(inside, tmp_path):
    for arguments, said in [
        (("--method", "etf", "--set", "etf.permutation=1000"), "999"),
        (("--method", "etf", "--set", "etf.rotation=1.5"), "whole"),
        (("--method", "code-3", "--set", "code-3.permutation=-1"), "0"),
        (("--method", "ce"), "not for task"),
        (("--protocol", "cpu-cifar:constant", "--method", "nc-ce"), "cpu-cifar:constant-lr"),
    ]:
        done = inside("run", "--task", "neural-collapse", *arguments, "--root", str(tmp_path))
        assert done.returncode == 2, (arguments, done.stdout)
        assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
