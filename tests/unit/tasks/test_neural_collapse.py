"""Protocols and scores of `neural-collapse`."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.base.errors import RecordError
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.define.task import Trained, direction
from tasks.neural_collapse.recipes import CollapseRecipe, collapse_images
from tasks.vision.data.sources import Source
from tasks.vision.geometry import frames, stored
from tasks.vision.groups import BALANCED
from tasks.vision.stored import store

CATALOG = Catalog.load()
TASK = CATALOG.task("neural-collapse")
QUICK = TASK.protocols["quick"]
ANYWHERE = Path("unused")
"""Of embedded data."""
DIGITS = Source("digits", BALANCED, 1)
SETTINGS = {"classes": ["a", "b", "c"], "groups": {}}
CONSTANT = [name for name in TASK.protocols.names if name.endswith("constant-lr")]


# -- protocols


def test_names():
    names = TASK.protocols.names
    assert names[0] == TASK.default_protocol == "quick"
    for name in ("smoke", "cpu-cifar", "fashion", "fashion:full", "gnc:cifar100,d10"):
        assert name in names
    for recipe in ("r18-200", "r18-350"):
        for data in ("cifar10", "cifar100", "fashion-mnist"):
            assert f"{recipe}:{data}" in names
    assert set(CONSTANT) == {f"{n}:constant-lr" for n in ("quick", "cpu-cifar", "fashion")}
    assert len({one.hash for one in TASK.protocols}) == len(names)


def test_quick():
    config, facts = QUICK.build(ANYWHERE)
    assert facts.class_counts == (30,) * 10 and facts.groups == {}
    assert (facts.iterations, facts.batch) == (720, 50)
    warm, cosine = config["param_scheduler"]
    assert (warm["type"], warm["end"]) == ("LinearLR", 14)
    assert (cosine["begin"], cosine["end"], cosine["eta_min"]) == (14, 720, 0)
    assert config["optim_wrapper"]["optimizer"] == {
        "type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-3,
    }  # fmt: skip
    assert config["train_dataloader"]["dataset"]["transforms"] == []
    assert config["custom_hooks"] == [{"type": "TrackHook", "points": 24}]
    assert QUICK.augmentation == "none"


@pytest.mark.parametrize(
    ("name", "iterations", "lr", "decay", "milestones"),
    [
        ("cpu-cifar", 2000, 0.1, 2e-3, None),
        ("fashion", 2350, 0.1, 2e-3, None),
        ("r18-200:cifar10", 78_200, 0.05, 5e-4, [15640, 31280, 46920, 62560]),
        ("r18-350:cifar100", 136_850, 0.05, 5e-4, [45617, 91233]),
        ("gnc:cifar100,d10", 40_000, 0.1, 5e-4, None),
    ],
)
def test_recipes_of_the_papers(name, iterations, lr, decay, milestones):
    protocol = TASK.protocols[name]
    assert protocol.budget.iterations == iterations
    blank = protocol.blank
    optimiser = blank["optim_wrapper"]["optimizer"]
    assert (optimiser["lr"], optimiser["weight_decay"]) == (lr, decay)
    (schedule,) = blank["param_scheduler"]
    if milestones is None:
        assert schedule["type"] == "CosineAnnealingLR" and schedule["T_max"] == iterations
    else:
        assert schedule["milestones"] == milestones and schedule["gamma"] == 0.1
    assert protocol.augmentation == ("crop 4, flip" if name.startswith("gnc") else "none")
    backbone = blank["model"]["backbone"]
    deep = name.startswith(("r18", "gnc"))
    assert backbone["depth"] == (18 if deep else 8)
    assert backbone["type"] == ("WideStemResNet" if deep else "SmallResNet")


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_rate_differs_in_nothing_else(name):
    one, other = (TASK.protocols[n].blank for n in (name, name.removesuffix(":constant-lr")))
    assert {key for key in one if one[key] != other[key]} == {"param_scheduler", "optim_wrapper"}
    assert all(phase["type"] == "LinearLR" for phase in one["param_scheduler"])
    assert one["optim_wrapper"]["optimizer"]["lr"] < other["optim_wrapper"]["optimizer"]["lr"]


def test_what_is_tracked_is_hashed_and_what_is_stored_at_the_end_is_not():
    recipe = CollapseRecipe(depth=8, width=8, epochs=1, cosine=True)
    first = collapse_images(recipe, DIGITS, "")
    assert first["custom_hooks"][0]["points"] == 24
    assert "prediction_hooks" not in QUICK.blank and "TrackHook" in str(QUICK.blank)
    config, _ = QUICK.build(ANYWHERE)
    assert config["prediction_hooks"] == {
        "collapse": {"type": "CollapseHook", "split": "train"},
        "collapse=test": {"type": "CollapseHook", "split": "test"},
    }
    assert QUICK.required(False) == ("collapse", "collapse=test")
    # tracked on 2,000 of 10,000 test images
    hook = TASK.protocols["cpu-cifar"].blank["custom_hooks"][0]
    assert hook == {"type": "TrackHook", "points": 20, "images": {"test": 2000}}


def test_a_cosine_with_milestones_is_refused():
    with pytest.raises(ValueError, match="no milestones"):
        CollapseRecipe(depth=8, width=8, epochs=1, cosine=True, milestones=(0.5,))


def test_carved_protocols_track_what_trains():
    carved = QUICK.carved
    config, facts = carved.build(ANYWHERE)
    assert facts.class_counts == (24,) * 10 and carved.hash != QUICK.hash
    part = {"part": "train", "fraction": 0.2, "seed": 0}
    # the hooks look at the prediction set `train`
    assert config["prediction_dataloaders"]["train"]["dataset"]["carved"] == part
    assert config["train_dataloader"]["dataset"]["carved"] == part
    assert set(carved.extra_sets) == {"val"}
    assert TASK.settings(carved)["groups"] == {} and carved.dataset.group_rule == ""


# -- scores


def collapsed(spread=0.0, samples=40, classes=3, dims=5, seed=0, scale=5.0):
    """Features around a simplex, and the logits of that simplex: (features, label, logits, W)."""
    draw = np.random.default_rng(seed)
    frame = frames.simplex(classes, dims)
    label = np.arange(samples) % classes
    features = frame[label] + spread * draw.normal(size=(samples, dims))
    weight = scale * frame
    return features, label, features @ weight.T, weight


def predictions(spread=0.1, seed=0):
    features, label, logits, weight = collapsed(spread, seed=seed)
    test = collapsed(2 * spread, 30, seed=seed + 1)
    centres = np.stack([features[label == c].mean(axis=0) for c in range(3)])
    return {
        "test": store(test[2], test[1]),
        "collapse": stored.accumulate(features, label, logits, weight),
        "collapse=test": stored.accumulate(test[0], test[1], test[2], weight, centres=centres),
    }


def rows_of(found, hook=()):
    rows = TASK.evaluate(found, SETTINGS, Trained(class_counts=(14, 13, 13), rows=tuple(hook)))
    return {(row.key, row.class_): row for row in rows}


def test_rows_have_their_metrics_and_their_keys_once():
    found = predictions()
    rows = TASK.evaluate(found, SETTINGS, Trained(class_counts=(14, 13, 13)))
    assert len({(row.key, row.class_) for row in rows}) == len(rows)
    assert {row.metric for row in rows} <= {metric.name for metric in TASK.metrics}
    assert not [row for row in rows if "group=" in row.subset]
    keys = {row.key for row in rows}
    arms = TASK.offers["arms"]
    further = (*TASK.offers["correlates"].by, *arms.also, arms.fitted)
    for key in (*TASK.primary, *TASK.columns, *further):
        assert key in keys and direction(TASK, key) is not None
    assert all(row.source == "hook" for row in rows if row.metric.startswith("tpt"))


def test_top1_is_of_the_stored_logits():
    found = predictions(0.5)
    made = rows_of(found)
    hit = found["test"]["logits"].argmax(axis=1) == found["test"]["label"]
    assert 0.5 < made["top1", None].value == hit.mean() < 1
    recall = [made["recall", name].value for name in "abc"]
    assert made["worst_class", None].value == min(recall)
    assert "top1[split=val]" in {key for key, _ in rows_of({**found, "val": found["test"]})}


def test_collapse_is_measured_at_its_values():
    made = rows_of(predictions(0.0))
    value = {key: row.value for (key, class_), row in made.items() if class_ is None}
    assert value["nc1[split=train]"] == pytest.approx(0, abs=1e-12)
    assert value["nc2_means[split=train]"] == pytest.approx(0, abs=1e-9)
    assert value["margin_norm[split=train]"] == pytest.approx(math.sqrt(3 / 4), abs=1e-6)
    assert value["top1[split=train]"] == value["top1"] == 1


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 1.5), st.integers(0, 999))
def test_margins_are_above_0_just_where_all_training_images_are_right(spread, seed):
    made = rows_of(predictions(spread, seed))
    right = made["top1[split=train]", None].value == 1
    assert (made["margin_min[split=train]", None].value > 0) == right


def test_the_terminal_phase_comes_from_the_run_s_hook():
    hook = [
        MetricRow(metric=metric, subset=where, step=step, value=value, source="hook")
        for step, train, test in ((10, 0.9, 0.5), (20, 1.0, 0.6), (40, 1.0, 0.8))
        for metric, where, value in (("top1", "split=train", train), ("top1", "", test))
    ]
    made = rows_of(predictions(), hook)
    assert made["tpt_start", None].value == 0.5
    assert made["tpt_gain", None].value == pytest.approx(0.2)
    assert made["tpt_rho", None].value is None
    assert rows_of(predictions())["tpt_gain", None].value is None


def test_arrays_in_no_stored_form_are_refused():
    found = predictions()
    broken = {key: array for key, array in found["collapse"].items() if key != "mean"}
    with pytest.raises(RecordError, match="holds no class means"):
        rows_of({**found, "collapse": broken})
    with pytest.raises(RecordError, match="no 'logits'"):
        rows_of({"test": {"label": found["test"]["label"]}})


def test_units_of_ones_are_the_rows():
    found = predictions(0.6)
    units = TASK.offers["units"](found, SETTINGS, Trained())
    made = rows_of(found)
    scores = units.score(np.ones((1, units.count)))
    assert set(scores) == {"top1", "worst_class"}
    for key, values in scores.items():
        assert values[0] == made[key, None].value
    # a class that is not drawn is left out
    weights = (found["test"]["label"] != 0).astype(float)[None]
    assert np.isfinite(units.score(weights)["worst_class"]).all()
    assert TASK.offers["confusion"](found, SETTINGS, Trained()).sum() == 30
