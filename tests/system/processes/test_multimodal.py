"""`multimodal` end to end, on embedded data, through the command line."""

import json

import numpy as np
import pytest
from whole_boards import every_method, means

from suite.records.attempt import attempts

METHODS = (
    "agm", "concat", "film", "gated", "gblend", "mla", "mmpareto", "mses", "mslr", "ogm-ge", "pmr", "recon-boost",
    "recon-boost-kl0", "recon-boost-long", "recon-boost-masked", "recon-boost-warm", "sum", "ume", "umt", "unimodal-1", "unimodal-2",
)  # fmt: skip
MODALITIES = ("clean", "noisy")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Every method, run once: (folder, board rows)."""
    folder = tmp_path_factory.mktemp("smoke")
    return folder, every_method(folder, "multimodal")


def only_attempt(smoke, method):
    (run,) = smoke[1][method]["runs"]
    (attempt,) = attempts(smoke[0] / "results", run)
    return attempt


def test_every_method_is_a_row(smoke):
    rows = smoke[1]
    assert tuple(sorted(rows)) == METHODS
    for name, row in rows.items():
        assert row["state"] == "done", name
        values = means(row)
        own = MODALITIES if not name.startswith("unimodal") else (MODALITIES[int(name[-1]) - 1],)
        assert {key for key in values if key.startswith("probe[modality=")} == {
            f"probe[modality={one}]" for one in own
        }
        if len(own) == 2:
            shares = sum(values[f"shapley[modality={one}]"] for one in own)
            assert shares == pytest.approx(values["top1"] - 0.1)
            best = max(values[f"probe[modality={one}]"] for one in own)
            assert values["fusion_gain"] == pytest.approx(values["top1"] - best)


def test_methods_do_what_sets_them_apart(smoke):
    same: dict[bytes, set[str]] = {}
    for name in METHODS:
        logits = only_attempt(smoke, name).predictions()["test"]["logits"]
        same.setdefault(logits.tobytes(), set()).add(name)
    assert all(len(names) == 1 for names in same.values()), same


def test_each_modality_of_ume_is_trained_as_if_alone(smoke):
    together = only_attempt(smoke, "ume").predictions()
    for place, name in enumerate(MODALITIES):
        alone = only_attempt(smoke, f"unimodal-{place + 1}").predictions()
        own = alone["test"]["modality_logits"][:, 0]
        assert np.array_equal(together["test"]["modality_logits"][:, place], own)
        for part in ("test", "train"):
            feature = f"features_{name}"
            assert np.array_equal(together[part][feature], alone[part][feature])


def test_costs_and_flags(smoke):
    rows = smoke[1]
    passes = {name: row["cost"]["passes_per_step"] for name, row in rows.items()}
    assert passes["concat"] == passes["mla"] == 1.0 and passes["unimodal-1"] == 0.5
    assert 0.75 <= passes["recon-boost"] < 1.0
    assert {name for name, row in rows.items() if "extra-budget" in row["flags"]} == {
        "recon-boost-long",
        "recon-boost-warm",
        "umt",
    }
    seen = {name: only_attempt(smoke, name).record().cost.iterations for name in METHODS}
    assert seen.pop("recon-boost-long") == 4 * 20 and set(seen.values()) == {20}


def test_what_is_stored_gives_the_scores_again(smoke, inside):
    for name in ("recon-boost", "film"):
        run = only_attempt(smoke, name).run_id
        done = inside("verify", run, "--root", str(smoke[0] / "results"))
        assert done.returncode == 0, done.stdout + done.stderr


def test_resampled_test_samples_give_intervals(smoke, inside):
    both = ("compare", "concat", "ume", "--task", "multimodal", "--over", "images")
    for key in ("top1", "probe[modality=noisy]", "modality_gap", "shapley[modality=clean]"):
        where = ("--metric", key, "--format", "json", "--root", str(smoke[0] / "results"))
        done = inside(*both, *where)
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)["rows"]
        assert row["low"] <= row["difference"] <= row["high"], row


def test_wrong_use_is_one_line(inside, tmp_path):
    for arguments, said in [
        (("--protocol", "scene15:mpl"), "scene15:mlp"),
        (("--protocol", "smoke", "--method", "ce"), "not for task"),
        (
            ("--protocol", "smoke", "--method", "recon-boost", "--set", "recon-boost.kl=half"),
            "full",
        ),
        (("--protocol", "smoke", "--method", "ogm-ge", "--set", "ogm-ge.alpha=-1"), "below 0"),
        (("--protocol", "scene15:mlp", "--data-root", str(tmp_path)), "scene15"),
        (("--protocol", "crema-d:r18", "--data-root", str(tmp_path)), "crema"),
    ]:
        done = inside("run", "--task", "multimodal", *arguments)
        assert done.returncode == 2, (arguments, done.stdout)
        assert said in done.stderr.lower(), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
