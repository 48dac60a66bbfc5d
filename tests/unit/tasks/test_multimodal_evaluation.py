"""Rows of `multimodal` from stored arrays: which there are, what they are, units of a bootstrap, bad sets."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, recall_score

from suite.base.errors import RecordError, UserError
from suite.define.metrics import split_key
from suite.define.task import Trained
from suite.exchange.consistency import row_problems
from suite.stats import bootstrap
from tasks.multimodal.evaluation import (
    COLUMNS,
    METRICS,
    OFFERS,
    PRIMARY,
    evaluate,
    modality_names,
    settings,
    shown_columns,
    units,
)
from tasks.multimodal.measures import fit_probe
from tasks.multimodal.stored import store, subsets

NAMES = ["audio", "image", "text"]
GROUPS = {"head": [0, 1], "medium": [2], "tail": [3]}
ABOUT = {
    "classes": ["a", "b", "c", "d"],
    "groups": GROUPS,
    "modalities": NAMES,
    "missing": "zero",
}


def one_hot(*predicted, classes=2):
    return np.eye(classes, dtype=np.float32)[list(predicted)]


def tiny():
    """Four samples, two classes, two modalities: who predicts what by hand."""
    label = np.array([0, 0, 0, 1])
    spread = np.array([[0.0], [0.0], [1.0], [1.0]], np.float32)
    test = store(
        label,
        {"left": spread, "right": 1 - spread},
        2,
        logits=one_hot(0, 0, 1, 1),
        modality_logits=np.stack([one_hot(0, 0, 0, 1), one_hot(0, 1, 1, 0)], axis=1),
        subset_logits=np.stack([one_hot(0, 0, 1, 0), one_hot(1, 1, 1, 1)], axis=1),
    )
    train = store(np.array([0, 1]), {"left": spread[1:3], "right": spread[1:3]}, 2)
    about = {
        "classes": ["x", "y"],
        "groups": {},
        "modalities": ["left", "right"],
        "missing": "zero",
    }
    return {"test": test, "train": train}, about


def made(samples=80, names=NAMES, classes=4, seed=0, own=True, missing=True, label=None, more=()):
    """Sets `test` and `train` (and `more`) of modalities that tell something of the class, the first most."""
    rng = np.random.default_rng(seed)
    centres = {name: rng.normal(size=(classes, 5)) for name in names}
    chosen = label

    def one(bare=False):
        label = rng.integers(0, classes, samples) if chosen is None or bare else np.array(chosen)
        features = {
            name: centres[name][label] / (k + 1) + rng.normal(size=(len(label), 5))
            for k, name in enumerate(names)
        }
        if bare:
            return store(label, features, classes)
        z = rng.normal(size=(len(label), len(names), classes))
        for k in range(len(names)):
            z[np.arange(len(label)), k, label] += 2 / (k + 1)
        places = [[names.index(name) for name in subset] for subset in subsets(names)]
        parts = [z[:, at].sum(axis=1) + rng.normal(0, 0.5, z[:, 0].shape) for at in places]
        return store(
            label,
            features,
            classes,
            logits=z.sum(axis=1),
            modality_logits=z if own else None,
            subset_logits=np.stack(parts, axis=1) if missing and parts else None,
        )

    return {"test": one(), "train": one(bare=True), **{name: one() for name in more}}


def found(predictions, about=ABOUT, counts=()):
    rows = evaluate(predictions, about, Trained(class_counts=counts))
    keys = [(row.key, row.class_) for row in rows]
    assert len(set(keys)) == len(keys)
    assert all(row.source == "arrays" and row.step is None for row in rows)
    return {row.key: row.value for row in rows if row.class_ is None}


def by_class(predictions, key, about=ABOUT):
    rows = evaluate(predictions, about, Trained())
    return {row.class_: row.value for row in rows if row.key == key and row.class_ is not None}


def test_every_row_by_hand():
    """Fused: right on samples 0, 1, 3. Own: left right on all, right on sample 0 alone. Left alone: 0, 1; right
    alone: 3. Probe: left reads the classes but for sample 2, right (whose test features are turned) sample 2 alone."""
    predictions, about = tiny()
    assert found(predictions, about) == pytest.approx(
        {
            "top1": 3 / 4,
            "top1[modality=left]": 1,
            "top1[modality=right]": 1 / 4,
            "worst_modality": 1 / 4,
            "modality_gap": 3 / 4,
            "top1[missing=zero,modality=left]": 2 / 4,
            "top1[missing=zero,modality=right]": 1 / 4,
            "worst_modality[missing=zero]": 1 / 4,
            "modality_gap[missing=zero]": 1 / 4,
            "probe[modality=left]": 3 / 4,
            "probe[modality=right]": 1 / 4,
            "worst_probe": 1 / 4,
            "fusion_gain": 0,
            # of 1/2, 1/2, 1/4, 3/4: (0 + 1/2) / 2 and (-1/4 + 1/4) / 2
            "shapley[modality=left]": 1 / 4,
            "shapley[modality=right]": 0,
            "balanced_accuracy": (2 / 3 + 1) / 2,
            "balanced_accuracy[modality=left]": 1,
            "balanced_accuracy[modality=right]": 1 / 6,
            "balanced_accuracy[missing=zero,modality=left]": 1 / 3,
            "balanced_accuracy[missing=zero,modality=right]": 1 / 2,
            # 2 * 2 / (3 + 2), 2 * 1 / (1 + 2)
            "macro_f1": (4 / 5 + 2 / 3) / 2,
            "agreement": 1 / 4,
            "all_right": 1 / 4,
            "some_right": 3 / 4,
            "none_right": 0,
            # left alone 0, 0, 1, 0 beside right alone 1, 1, 1, 1
            "agreement[missing=zero]": 1 / 4,
            "all_right[missing=zero]": 0,
            "some_right[missing=zero]": 3 / 4,
            "none_right[missing=zero]": 1 / 4,
        },
        abs=1e-15,
    )
    assert by_class(predictions, "recall", about) == {"x": 2 / 3, "y": 1}
    assert by_class(predictions, "recall[modality=right]", about) == {"x": 1 / 3, "y": 0}


def expected(test, train, names):
    """Rows of the whole set by scikit-learn and loops."""
    label = test["label"]
    fused = test["logits"].argmax(1)
    out = {
        "top1": (fused == label).mean(),
        "balanced_accuracy": balanced_accuracy_score(label, fused),
        "macro_f1": f1_score(label, fused, labels=np.unique(label), average="macro"),
    }
    recalls = {"": recall_score(label, fused, labels=range(4), average=None)}
    for k, name in enumerate(names):
        own = test["modality_logits"][:, k].argmax(1)
        alone = test["subset_logits"][:, subsets(names).index((name,))].argmax(1)
        probe = fit_probe(train[f"features_{name}"], train["label"], 4)
        read = probe.predict(test[f"features_{name}"])
        for where, predicted in {"": own, "missing=zero,": alone}.items():
            out[f"top1[{where}modality={name}]"] = (predicted == label).mean()
            out[f"balanced_accuracy[{where}modality={name}]"] = balanced_accuracy_score(
                label, predicted
            )
        out[f"probe[modality={name}]"] = (read == label).mean()
        recalls[f",modality={name}"] = recall_score(label, own, labels=range(4), average=None)
        recalls[f",missing=zero,modality={name}"] = recall_score(
            label, alone, labels=range(4), average=None
        )
    for where, recall in recalls.items():
        for group, ids in GROUPS.items():
            out[f"top1[group={group}{where}]"] = recall[ids].mean()
    return out


def test_rows_beside_other_implementations():
    predictions = made()
    rows = found(predictions)
    for key, value in expected(predictions["test"], predictions["train"], NAMES).items():
        assert rows[key] == pytest.approx(value, abs=1e-14), key
    assert rows["fusion_gain"] == pytest.approx(
        rows["top1"] - max(rows[f"probe[modality={name}]"] for name in NAMES), abs=1e-15
    )
    for group in ("", *GROUPS):
        inside = f"group={group}," if group else ""
        end = f"[group={group}]" if group else ""
        own = [rows[f"top1[{inside}modality={name}]"] for name in NAMES]
        assert rows[f"modality_gap{end}"] == pytest.approx(max(own) - min(own), abs=1e-15)
        assert rows[f"worst_modality{end}"] == min(own)
        parts = [rows[f"shapley[{inside}modality={name}]"] for name in NAMES]
        assert sum(parts) == pytest.approx(rows[f"top1{end}"] - 1 / 4, abs=1e-14)
    assert rows["all_right"] + rows["some_right"] + rows["none_right"] == pytest.approx(1)
    assert rows["agreement"] == pytest.approx(
        np.mean(
            [
                (a == b).mean()
                for i, a in enumerate(predictions["test"]["modality_logits"].argmax(2).T)
                for b in predictions["test"]["modality_logits"].argmax(2).T[:i]
            ]
        )
    )


def test_the_order_of_modalities_is_the_protocols():
    """Whatever that of the arrays, as from a file, or of the names."""
    predictions = made()
    turned = {name: dict(reversed(arrays.items())) for name, arrays in predictions.items()}
    assert found(turned) == found(predictions)


def test_a_fusion_without_own_logits_is_seen_with_the_others_left_out():
    rows = found(made(own=False))
    assert not [key for key in rows if "modality=" in key and key.startswith("top1[modality")]
    assert "modality_gap" not in rows and "agreement" not in rows
    assert {"top1[missing=zero,modality=text]", "modality_gap[missing=zero]"} <= set(rows)
    assert {"agreement[missing=zero]", "shapley[modality=text]", "fusion_gain"} <= set(rows)


def test_a_fusion_that_takes_no_missing_modality_has_no_shapley_values():
    rows = found(made(missing=False))
    assert not [key for key in rows if "missing" in key or "shapley" in key]
    assert {"modality_gap", "probe[modality=audio]", "agreement"} <= set(rows)


@pytest.mark.parametrize("own", [True, False])
def test_a_run_on_one_modality(own):
    rows = found(made(names=["image"], own=own))
    assert rows["top1[modality=image]"] == rows["top1"]
    assert rows["balanced_accuracy[modality=image]"] == rows["balanced_accuracy"]
    assert rows["top1[group=tail,modality=image]"] == rows["top1[group=tail]"]
    assert {split_key(key)[0] for key in rows} == {
        "top1",
        "balanced_accuracy",
        "macro_f1",
        "probe",
    }
    assert not [key for key in rows if "audio" in key or "missing" in key]


def test_further_sets_carry_their_name_and_training_samples_have_no_rows():
    predictions = made(more=["val"])
    rows = found(predictions)
    assert rows["top1[modality=audio,split=val]"] != rows["top1[modality=audio]"]
    assert "probe[modality=text,split=val]" in rows and "shapley[modality=text,split=val]" in rows
    assert not [key for key in rows if "train" in key]
    # the probe of a set is that of the training samples
    train = predictions["train"]
    probe = fit_probe(train["features_text"], train["label"], 4)
    val = predictions["val"]
    assert rows["probe[modality=text,split=val]"] == pytest.approx(
        (probe.predict(val["features_text"]) == val["label"]).mean(), abs=1e-15
    )


def test_what_no_test_sample_defines_is_null():
    label = [0, 0, 1, 2, 2, 1]
    predictions = made(label=label)
    rows = found(predictions)
    undefined = {key for key, value in rows.items() if value is None}
    assert undefined == {key for key in rows if "group=tail" in key}
    assert by_class(predictions, "recall")["d"] is None
    fused = predictions["test"]["logits"].argmax(1)
    assert rows["balanced_accuracy"] == pytest.approx(
        recall_score(label, fused, labels=[0, 1, 2], average="macro", zero_division=0)
    )
    assert rows["macro_f1"] == pytest.approx(
        f1_score(label, fused, labels=[0, 1, 2], average="macro")
    )


def test_a_test_class_without_training_samples():
    predictions = made()
    train = predictions["train"]
    kept = train["label"] != 3
    predictions["train"] = {key: array[kept] for key, array in train.items()}
    rows = found(predictions)
    assert rows["probe[group=tail,modality=audio]"] == 0
    assert rows["top1[group=tail]"] > 0


def test_groups_by_training_counts():
    about = {**ABOUT, "groups": {}, "group_thresholds": [50, 10]}
    predictions = made()
    rows = found(predictions, about, counts=(100, 60, 20, 5))
    assert rows == found(predictions)
    with pytest.raises(RecordError, match="training counts of 2 classes"):
        found(predictions, about, counts=(1, 2))


@pytest.mark.parametrize("options", [{}, {"own": False}, {"missing": False}, {"names": ["text"]}])
def test_units_give_the_rows_of_the_evaluation_exactly(options):
    predictions = made(samples=37, **options)
    rows = found(predictions)
    made_of = units(predictions, ABOUT, Trained())
    scores = made_of.score(np.ones((1, made_of.count), np.int32))
    assert {key: float(values[0]) for key, values in scores.items()} == rows
    # and whatever else is resampled beside it
    drawn = bootstrap.unit_weights(made_of.count, 5)
    drawn[3] = 1
    assert {key: float(values[3]) for key, values in made_of.score(drawn).items()} == rows


def test_a_weight_is_a_sample_that_often(monkeypatch):
    predictions = made(samples=30, seed=3)
    made_of = units(predictions, ABOUT, Trained())
    weights = bootstrap.unit_weights(made_of.count, 7)
    weights[2, predictions["test"]["label"] == 3] = 0  # a resample without a class
    scores = made_of.score(weights)
    # in blocks of two resamples
    monkeypatch.setattr("tasks.multimodal.evaluation._AT_ONCE", 60)
    for key, values in made_of.score(weights).items():
        np.testing.assert_array_equal(values, scores[key])
    for r, weight in enumerate(weights):
        repeated = {
            key: np.repeat(array, weight, axis=0) for key, array in predictions["test"].items()
        }
        for key, value in found({**predictions, "test": repeated}).items():
            np.testing.assert_allclose(
                scores[key][r], np.nan if value is None else value, atol=1e-14, err_msg=key
            )


def test_an_interval_over_test_samples():
    made_of = units(made(), ABOUT, Trained())
    drawn = bootstrap.unit_scores([made_of], bootstrap.unit_weights(made_of.count, 200))
    for key in ("top1", "balanced_accuracy", "shapley[modality=audio]", "modality_gap"):
        interval = bootstrap.unit_interval(drawn, key)
        assert interval.low < interval.mean < interval.high and interval.n == 80


def test_what_else_is_offered():
    predictions = made()
    counts = OFFERS["confusion"](predictions, ABOUT, Trained())
    test = predictions["test"]
    assert (counts == confusion_matrix(test["label"], test["logits"].argmax(1))).all()
    assert OFFERS["groups"](ABOUT, ()) == GROUPS
    assert OFFERS["counted"] == "samples"


def test_every_row_is_of_a_declared_metric_and_every_column_has_rows():
    predictions = made()
    rows = evaluate(predictions, ABOUT, Trained())
    declared = [metric.name for metric in METRICS]
    assert {row.metric for row in rows} == set(declared) and len(set(declared)) == len(declared)
    keys = {row.key for row in rows}
    assert set(PRIMARY) | set(COLUMNS) <= keys
    assert PRIMARY == ("top1", "balanced_accuracy")


def test_columns_of_a_board():
    keys = found(made(more=["val"]))
    modalities = [f"{metric}[modality={name}]" for metric in ("top1", "probe") for name in NAMES]
    groups = [f"top1[group={group}]" for group in GROUPS]
    assert shown_columns(keys) == ["top1", *modalities, *groups, *COLUMNS[1:]]
    # a board of FiLM alone
    rows = found(made(own=False), {**ABOUT, "groups": {}})
    assert shown_columns(rows) == ["top1", *modalities[3:], *COLUMNS[1:]]
    # nothing has run yet
    assert shown_columns([]) == list(COLUMNS)


def test_losses_by_fusion_are_no_impossible_values():
    predictions = made(seed=2)
    # a fusion that gets everything wrong
    test = predictions["test"]
    test["logits"] = np.eye(4, dtype=np.float32)[(test["label"] + 1) % 4]
    rows = evaluate(predictions, ABOUT, Trained())
    values = {row.key: row.value for row in rows}
    assert values["fusion_gain"] < 0 and values["shapley[modality=text]"] < 0
    assert not row_problems(rows, SimpleNamespace(name="multimodal", metrics=METRICS))


def test_both_sets_are_needed_and_of_the_same_modalities():
    for lost in ("test", "train"):
        predictions = made()
        del predictions[lost]
        with pytest.raises(RecordError, match=f"no set '{lost}'"):
            evaluate(predictions, ABOUT, Trained())
        with pytest.raises(RecordError, match=f"no set '{lost}'"):
            units(predictions, ABOUT, Trained())
    predictions = made()
    del predictions["train"]["features_text"]
    with pytest.raises(RecordError, match="'train' holds features of audio, image, set 'test' of"):
        evaluate(predictions, ABOUT, Trained())


# -- settings


def protocol(**changes):
    data = SimpleNamespace(
        name="pairs",
        classes=("a", "b"),
        groups={},
        group_rule="",
        group_thresholds=None,
    )
    for key, value in changes.pop("data", {}).items():
        setattr(data, key, value)
    blank = {"model": {"encoders": {"sound": {"type": "X"}, "image": {"type": "Y"}}}}
    return SimpleNamespace(**{"name": "quick", "dataset": data, "blank": blank, **changes})


def test_settings_of_a_balanced_protocol():
    assert settings(protocol()) == {
        "classes": ["a", "b"],
        "groups": {},
        "modalities": ["sound", "image"],
        "missing": "zero",
    }


def test_settings_of_a_long_tailed_protocol():
    one = settings(protocol(data={"groups": {"head": (0,), "tail": (1,)}, "group_rule": "so"}))
    assert one["groups"] == {"head": [0], "tail": [1]} and one["group_rule"] == "so"
    counted = settings(protocol(data={"group_thresholds": (20, 5)}))
    assert counted["group_thresholds"] == [20, 5] and counted["modalities"] == ["sound", "image"]


@pytest.mark.parametrize("blank", [None, {}, {"model": {}}, {"model": {"encoders": {}}}])
def test_a_protocol_that_does_not_tell_its_modalities(blank):
    with pytest.raises(UserError, match="'quick' does not tell its modalities"):
        modality_names(protocol(blank=blank))
