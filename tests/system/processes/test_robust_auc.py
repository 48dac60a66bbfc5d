"""`robust-auc` end to end, on embedded data, through the command line."""

import json

import pytest
from whole_boards import assert_all_differ, every_method, means

from suite.records.attempt import attempts

METHODS = (
    "advshift", "aucm", "aucm-at", "bce", "bce-at", "drauc-da", "drauc-df", "drolt", "focal-bce", "pairwise-hinge2",
    "pairwise-square", "pauc-kl", "wdro",
)  # fmt: skip
CORRUPTIONS, SEVERITIES = ("contrast", "gaussian_noise"), (1, 5)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Every method, run once: (folder, board rows)."""
    folder = tmp_path_factory.mktemp("smoke")
    return folder, every_method(folder, "robust-auc")


def test_every_method_is_a_row(smoke):
    rows = smoke[1]
    assert tuple(sorted(rows)) == METHODS
    for name, row in rows.items():
        assert row["state"] == "done", name
        values = means(row)
        cells = {
            (c, s): values[f"auc[corruption={c},severity={s}]"]
            for c in CORRUPTIONS
            for s in SEVERITIES
        }
        assert all(0 <= value <= 1 for value in cells.values()), name
        assert values["auc_corrupted"] == pytest.approx(sum(cells.values()) / 4)
        assert values["auc_drop"] == pytest.approx(values["auc"] - values["auc_corrupted"])
        for c in CORRUPTIONS:
            mean = sum(cells[c, s] for s in SEVERITIES) / 2
            assert values[f"auc[corruption={c}]"] == pytest.approx(mean)


def test_methods_do_what_sets_them_apart(smoke):
    assert_all_differ(smoke[1])


def test_passes_are_counted_for_the_steps_that_are_made(smoke):
    passes = {name: row["cost"]["passes_per_step"] for name, row in smoke[1].items()}
    # T = 1: one pass to move the images, one to learn; nothing to choose from
    attacked = ("bce-at", "aucm-at", "drauc-df", "drauc-da")
    assert {name: passes[name] for name in attacked} == dict.fromkeys(attacked, 2.0)
    assert passes["bce"] == passes["aucm"] == 1.0


def test_what_is_stored_gives_the_scores_again(smoke, inside):
    (run,) = smoke[1]["drauc-da"]["runs"]
    (attempt,) = attempts(smoke[0] / "results", run)
    stored = attempt.predictions()
    names = {f"corruption={c},severity={s}" for c in CORRUPTIONS for s in SEVERITIES}
    assert set(stored) == {"test"} | names
    for arrays in stored.values():
        assert arrays["score"].shape == arrays["label"].shape == (100,)
        assert (arrays["label"] == stored["test"]["label"]).all()
    done = inside("verify", run, "--root", str(smoke[0] / "results"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_resampled_test_images_give_intervals(smoke, inside):
    both = ("compare", "bce", "drauc-df", "--task", "robust-auc", "--over", "images")
    for key in ("auc_corrupted", "auc", "auc_pooled", "auc_drop"):
        where = ("--metric", key, "--format", "json", "--root", str(smoke[0] / "results"))
        done = inside(*both, *where)
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)["rows"]
        assert row["low"] < row["difference"] < row["high"], row


def test_wrong_use_is_one_line(inside, tmp_path):
    for arguments, said in [
        (("--protocol", "cifar10:r20,p01"), "cifar10:r20,p1"),
        (("--protocol", "smoke", "--method", "ce"), "not for task"),
        (("--protocol", "smoke", "--method", "drauc-df", "--set", "drauc-df.eps=-1"), "below 0"),
        (("--protocol", "smoke", "--method", "drauc-df", "--set", "drauc-df.best=first"), "last"),
        (("--protocol", "elpv", "--data-root", str(tmp_path)), "elpv"),
    ]:
        done = inside("run", "--task", "robust-auc", *arguments)
        assert done.returncode == 2, (arguments, done.stdout)
        assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_budget_below_zero_names_the_largest(inside, tmp_path):
    done = inside(
        "run", "--task", "robust-auc", "--protocol", "smoke", "--method", "drauc-da", "--set", "drauc-da.k=20", "--root",
        str(tmp_path / "results"),
    )  # fmt: skip
    assert done.returncode == 1
    assert "the largest k is 10.0416" in done.stdout + done.stderr
