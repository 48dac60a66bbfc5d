"""Rows of `robust-auc` from stored scores: means over conditions, what is missing or other, units of a bootstrap."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from suite.base.errors import RecordError, UserError
from suite.define.metrics import split_key
from suite.define.task import Trained
from suite.stats import bootstrap
from tasks.robust_auc.evaluation import (
    COLUMNS,
    METRICS,
    OFFERS,
    PRIMARY,
    clean_intervals,
    corrupted_sets,
    evaluate,
    set_name,
    settings,
    units,
)
from tasks.robust_auc.measures import delong
from tasks.robust_auc.stored import checked, store

GRID = {
    "classes": ["negative", "positive"],
    "corruptions": ["fog", "blur"],
    "severities": [1, 3, 5],
    "shifts": [],
}
FLAT = {**GRID, "corruptions": ["zigzag", "stripe"], "severities": []}
CLEAN = {**GRID, "corruptions": [], "severities": []}


def made(about=GRID, images=120, shift=0.0, seed=0):
    """Predictions of every set of `about`: noisier from set to set, its scores shifted by `shift` more each."""
    rng = np.random.default_rng(seed)
    label = (rng.random(images) < 0.5).astype(np.uint8)
    clean = rng.normal(2.0 * label)
    sets = {"test": store(clean, label)}
    for k, name in enumerate(corrupted_sets(about)):
        sets[name] = store(clean + rng.normal(shift * k, 0.2 + 0.2 * k, images), label)
    return sets


def found(predictions, about=GRID):
    rows = evaluate(predictions, about, Trained())
    assert len({row.key for row in rows}) == len(rows)
    assert all(row.class_ is None and row.source == "arrays" for row in rows)
    return {row.key: row.value for row in rows}


def reference(arrays):
    return roc_auc_score(arrays["label"], arrays["score"])


def protocol(*sets, classes=("negative", "positive")):
    return SimpleNamespace(
        name="p",
        dataset=SimpleNamespace(name="d", classes=classes),
        prediction_sets=dict.fromkeys(sets, "words"),
    )


# -- rows


def test_rows_are_the_conditions_and_their_means():
    predictions = made()
    value = found(predictions)
    single = {name: reference(arrays) for name, arrays in predictions.items()}
    for name in corrupted_sets(GRID):
        assert value[f"auc[{name}]"] == pytest.approx(single[name])
    for corruption in GRID["corruptions"]:
        own = [single[set_name(corruption, severity)] for severity in (1, 3, 5)]
        assert value[f"auc[corruption={corruption}]"] == pytest.approx(np.mean(own))
    for severity in (1, 3, 5):
        own = [single[set_name(corruption, severity)] for corruption in GRID["corruptions"]]
        assert value[f"auc[severity={severity}]"] == pytest.approx(np.mean(own))
    every = np.mean([single[name] for name in corrupted_sets(GRID)])
    assert value["auc"] == pytest.approx(single["test"])
    assert value["auc_corrupted"] == pytest.approx(every)
    assert value["auc_drop"] == pytest.approx(single["test"] - every) and value["auc_drop"] > 0
    # blur comes second, so it is the noisier one
    assert value["auc_worst_corruption"] == value["auc[corruption=blur]"]
    assert value["auc[corruption=blur]"] < value["auc[corruption=fog]"]
    label, score = predictions["test"]["label"], predictions["test"]["score"]
    assert value["partial_auc"] == pytest.approx(roc_auc_score(label, score, max_fpr=0.3))
    assert value["average_precision"] == pytest.approx(average_precision_score(label, score))
    interval = delong(label, score)
    assert (value["auc[bound=delong-low]"], value["auc[bound=delong-high]"]) == interval[1:3]
    assert len(value) == 3 + 2 + 6 + 2 + 3 + 4


def test_every_row_is_of_a_declared_metric_and_every_column_is_a_row():
    value = found(
        made({**GRID, "severities": [1, 2, 3, 4, 5]}), {**GRID, "severities": [1, 2, 3, 4, 5]}
    )
    names = [metric.name for metric in METRICS]
    assert {split_key(key)[0] for key in value} == set(names) and len(set(names)) == len(names)
    assert set(COLUMNS) <= set(value)
    assert PRIMARY == ("auc_corrupted", "auc")
    lower = [metric.name for metric in METRICS if not metric.higher_is_better]
    assert lower == ["auc_drop"]
    assert OFFERS["units"] is units


def test_the_pooled_auc_alone_sees_that_a_corruption_shifts_all_scores():
    still, moved = found(made()), found(made(shift=4))
    for key in ("auc", "auc_corrupted", "auc_worst_corruption", "auc[severity=3]"):
        assert moved[key] == pytest.approx(still[key], abs=1e-5)  # but for ties of rounding
    predictions = made(shift=4)
    label = np.tile(predictions["test"]["label"], 6)
    score = np.concatenate([predictions[name]["score"] for name in corrupted_sets(GRID)])
    assert moved["auc_pooled"] == pytest.approx(roc_auc_score(label, score))
    # a shift is no matter within a set, and most of the matter between sets
    assert moved["auc_pooled"] < moved["auc_corrupted"] - 0.2
    assert still["auc_pooled"] == pytest.approx(still["auc_corrupted"], abs=0.05)


def test_corruptions_without_severities():
    predictions = made(FLAT)
    value = found(predictions, FLAT)
    one, two = (reference(predictions[f"corruption={c}"]) for c in ("zigzag", "stripe"))
    assert value["auc[corruption=zigzag]"] == pytest.approx(one)
    assert value["auc_corrupted"] == pytest.approx((one + two) / 2)
    assert value["auc_worst_corruption"] == pytest.approx(min(one, two))
    assert not any("severity" in key for key in value)


def test_without_corruptions_there_are_no_rows_of_them():
    value = found(made(CLEAN), CLEAN)
    bounds = {"auc[bound=delong-low]", "auc[bound=delong-high]"}
    assert set(value) == {"auc", "partial_auc", "average_precision", *bounds}


def test_other_images_and_further_sets():
    predictions = made()
    rng = np.random.default_rng(9)
    other = store(rng.normal(size=70), rng.integers(0, 2, 70))
    # a promised set of other images, one that was added later, and a validation set
    about = {**GRID, "shifts": ["cifar10.1"]}
    more = {**predictions, "shift=b": other, "val": other, "shift=cifar10.1": other}
    value, plain = found(more, about), found(predictions)
    for key in ("auc[shift=cifar10.1]", "auc[shift=b]", "auc[split=val]"):
        assert value.pop(key) == pytest.approx(reference(other))
    assert value.pop("average_precision[split=val]") > 0
    assert value.pop("partial_auc[split=val]") > 0
    assert value == plain


def test_order_of_stored_sets_does_not_matter():
    predictions = made()
    assert found(dict(reversed(predictions.items()))) == found(predictions)


# -- undefined


def test_one_class_only_is_null_everywhere():
    predictions = {
        name: store(arrays["score"], np.ones(len(arrays["label"]), np.uint8))
        for name, arrays in made().items()
    }
    assert set(found(predictions).values()) == {None}


def test_a_condition_whose_scores_are_all_equal_makes_its_means_undefined():
    predictions = made()
    label = predictions["test"]["label"]
    predictions["corruption=fog,severity=3"] = store(np.full(len(label), 0.25), label)
    value = found(predictions)
    null = {key for key, one in value.items() if one is None}
    means = ("auc[severity=3]", "auc[corruption=fog]", "auc_corrupted", "auc_worst_corruption")
    assert null == {"auc[corruption=fog,severity=3]", *means, "auc_drop"}
    # all scores together are a ranking
    assert value["auc_pooled"] is not None and value["auc"] is not None


def test_a_perfect_order_has_no_interval():
    label = np.array([0, 0, 0, 1, 1])
    value = found({"test": store(np.arange(5.0), label)}, CLEAN)
    assert value["auc"] == 1
    assert value["auc[bound=delong-low]"] is value["auc[bound=delong-high]"] is None


# -- bad predictions


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        (["test"], r"no set 'test' of 7 "),
        (
            ["corruption=fog,severity=3"],
            r"no set 'corruption=fog,severity=3' of 7 .*mean over fewer",
        ),
        (
            ["corruption=fog,severity=3", "corruption=blur,severity=1"],
            r"no set 'corruption=fog,severity=3' and 1 more of 7",
        ),
    ],
)
def test_missing_sets(missing, problem):
    predictions = {name: arrays for name, arrays in made().items() if name not in missing}
    for use in (evaluate, units):
        with pytest.raises(RecordError, match=problem):
            use(predictions, GRID, Trained())


def test_a_promised_set_of_other_images_is_missing():
    with pytest.raises(RecordError, match=r"no set 'shift=cifar10.1'"):
        evaluate(made(), {**GRID, "shifts": ["cifar10.1"]}, Trained())


def test_a_corruption_holds_the_images_of_the_test_set():
    predictions = made()
    name = "corruption=blur,severity=5"
    label, score = predictions[name]["label"], predictions[name]["score"]
    swapped = label.copy()
    swapped[[0, 7]] = 1 - swapped[[0, 7]]
    for arrays, problem in (
        (
            store(score, swapped),
            f"{name}' holds other labels than the test set for 2 of 120 images",
        ),
        (store(score[1:], label[1:]), f"{name}' holds 119 images, the test set 120"),
    ):
        for use in (evaluate, units):
            with pytest.raises(RecordError, match=problem):
                use({**predictions, name: arrays}, GRID, Trained())


def test_a_corruption_that_was_not_promised():
    predictions = made()
    extra = {**predictions, "corruption=snow,severity=1": predictions["test"]}
    with pytest.raises(
        RecordError, match=r"'corruption=snow,severity=1', which is none .*fog, blur"
    ):
        evaluate(extra, GRID, Trained())


FORM = {"label": np.array([0, 1, 1], np.uint8), "score": np.array([0.5, 1, -1], np.float32)}


def test_the_stored_form():
    arrays = store(np.array([0.5, 1, -1]), np.array([False, True, True]))
    assert {key: (a.dtype, a.shape) for key, a in arrays.items()} == {
        "label": (np.uint8, (3,)),
        "score": (np.float32, (3,)),
    }
    label, score = checked({"test": FORM}, "test")
    np.testing.assert_array_equal(label, FORM["label"])
    np.testing.assert_array_equal(score, FORM["score"])
    assert label.dtype == np.uint8
    # float32 logits keep apart what float32 probabilities would not
    near = store(np.array([17.5, 18.5]), np.array([0, 1]))
    assert found({"test": near}, CLEAN)["auc"] == 1


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({}, "holds no 'label'; expected label, score"),
        ({"label": FORM["label"]}, "holds no 'score'"),
        ({**FORM, "label": FORM["label"].astype(float)}, "labels are float64 of shape"),
        ({**FORM, "label": FORM["label"][:, None]}, r"labels are uint8 of shape \(3, 1\)"),
        ({**FORM, "label": np.array(1)}, r"labels are int64 of shape \(\)"),
        ({**FORM, "label": np.array([0, 1, 2])}, r"labels hold 2 \(image 2\), expected 0"),
        ({**FORM, "label": np.array([0, -1, 1])}, r"labels hold -1 \(image 1\)"),
        ({**FORM, "label": np.array(["0", "1", "1"])}, "labels are <U1"),
        ({key: array[:0] for key, array in FORM.items()}, "of no image"),
        ({**FORM, "score": FORM["score"][:2]}, r"float32 of shape \(2,\), expected .*\(3,\)"),
        ({**FORM, "score": FORM["score"][:, None]}, r"scores are float32 of shape \(3, 1\)"),
        ({**FORM, "score": np.array([1, 2, 3])}, "scores are int64"),
        ({**FORM, "score": np.array([0.5, np.nan, np.nan])}, r"hold nan \(image 1; 2 of 3 are not"),
        ({**FORM, "score": np.array([0.5, 1, -np.inf])}, r"hold -inf \(image 2; 1 of 3"),
    ],
)
def test_what_is_no_stored_form(arrays, problem):
    for name in ("test", "corruption=zigzag"):
        predictions = {**made(FLAT, 3), name: arrays}
        for use in (evaluate, units):
            with pytest.raises(RecordError, match=f"stored set '{name}'.*{problem}"):
                use(predictions, FLAT, Trained())
    with pytest.raises(RecordError, match=f"stored set 'val'.*{problem}"):
        evaluate({**made(FLAT, 3), "val": arrays}, FLAT, Trained())


@pytest.mark.parametrize(
    ("score", "label", "problem"),
    [
        ([0.5, math.nan], [0, 1], r"scores hold nan \(image 1"),
        ([0.5, 1e300], [0, 1], r"scores hold inf \(image 1"),
        ([0.5], [0, 1], r"shape \(1,\), expected floats of shape \(2,\)"),
        ([0.5, 1], [0, 3], r"labels hold 3"),
        ([], np.zeros(0, int), "of no image"),
    ],
)
def test_what_is_not_stored(score, label, problem):
    with pytest.raises(RecordError, match=problem):
        store(np.array(score), np.array(label))


# -- units


@pytest.mark.parametrize("about", [GRID, FLAT, CLEAN])
def test_units_with_ones_are_the_rows(about):
    predictions = made(about)
    for number, arrays in enumerate(predictions.values()):
        if number % 2:  # ties within a set and between sets
            arrays["score"] = np.round(arrays["score"])
    rows = found(predictions, about)
    one = units(predictions, about, Trained())
    assert one.count == 120
    assert set(rows) - set(one.score(np.ones((1, 120)))) == {
        "auc[bound=delong-low]",
        "auc[bound=delong-high]",
    }
    for copies in (1, 3):
        for kind in (np.int32, np.float64):
            for key, values in one.score(np.ones((copies, 120), kind)).items():
                assert values.shape == (copies,)
                assert (values == rows[key]).all(), key


def test_a_resample_holds_the_same_images_in_every_condition():
    predictions = made()
    one = units(predictions, GRID, Trained())
    weights = bootstrap.unit_weights(120, 6)
    scores = one.score(weights)
    for row, weight in enumerate(weights):
        drawn = np.repeat(np.arange(120), weight)
        again = {
            name: {key: array[drawn] for key, array in arrays.items()}
            for name, arrays in predictions.items()
        }
        for key, value in found(again).items():
            if "bound" not in key:
                assert scores[key][row] == pytest.approx(value, abs=1e-14), key


def test_resamples_without_a_class_are_left_out_of_intervals():
    label = np.array([1, 0, 0, 0, 0])
    predictions = {"test": store(np.array([2.0, 3, 1, 0, 0]), label)}
    one = units(predictions, CLEAN, Trained())
    scores = bootstrap.unit_scores([one], bootstrap.unit_weights(5, 200))
    lost = np.isnan(scores.resampled["auc"])
    assert 0 < lost.sum() < 200
    interval = bootstrap.unit_interval(scores, "auc")
    assert interval.low < interval.mean == 0.75 < interval.high


def test_units_are_paired_by_their_labels():
    first, second = (units(made(seed=seed), GRID, Trained()).digest for seed in (0, 0))
    assert first == second != units(made(seed=1), GRID, Trained()).digest
    predictions = made()
    other = {name: store(-a["score"], a["label"]) for name, a in predictions.items()}
    assert units(other, GRID, Trained()).digest == first


def test_intervals_of_the_clean_auc_side_by_side():
    predictions = made(CLEAN, 400)
    both = clean_intervals(predictions)
    assert list(both) == ["delong", "bootstrap"]
    one, two = both.values()
    assert one.mean == two.mean == found(predictions, CLEAN)["auc"] and one.n == two.n == 400
    assert (one.low, one.high) == pytest.approx((two.low, two.high), abs=0.01)
    # what compare --over images prints
    run = units(predictions, CLEAN, Trained())
    scores = bootstrap.unit_scores([run], bootstrap.unit_weights(400))
    assert bootstrap.unit_interval(scores, "auc") == two
    nothing = clean_intervals({"test": store(np.zeros(4), np.array([0, 1, 0, 1]))})
    for interval in nothing.values():
        assert math.isnan(interval.mean) and interval[1:] == (None, None, 4)


# -- settings


def test_settings_are_what_the_protocol_promises():
    about = settings(
        protocol(
            "test",
            *(f"corruption={c},severity={s}" for c in ("fog", "blur") for s in (5, 1, 3)),
            "shift=cifar10.1",
            "val",
        )
    )
    assert about == {**GRID, "shifts": ["cifar10.1"]}
    assert settings(protocol("test", "corruption=zigzag", "corruption=stripe")) == FLAT
    assert settings(protocol("test")) == CLEAN
    assert corrupted_sets(FLAT) == ["corruption=zigzag", "corruption=stripe"]
    assert corrupted_sets(GRID)[:4] == [
        "corruption=fog,severity=1",
        "corruption=fog,severity=3",
        "corruption=fog,severity=5",
        "corruption=blur,severity=1",
    ]


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        (["corruption=fog,severity=0"], "promises the set 'corruption=fog,severity=0'"),
        (["severity=1,corruption=fog"], "promises the set 'severity=1,corruption=fog'"),
        (["corruption=a b"], "promises the set"),
        (["shift="], "promises the set 'shift='"),
        (["corruption=identity"], "corruption=identity, which is the clean set"),
        (
            [
                "corruption=fog,severity=1",
                "corruption=fog,severity=2",
                "corruption=blur,severity=1",
            ],
            "promises corruption=fog,severity=1, corruption=fog,severity=2 and corruption=blur,severity=1: ",
        ),
        (
            ["corruption=fog", "corruption=fog,severity=1"],
            "every corruption needs the same severities",
        ),
        (
            ["corruption=fog", "corruption=blur,severity=1"],
            "every corruption needs the same severities",
        ),
    ],
)
def test_other_promises(sets, problem):
    with pytest.raises(UserError, match=problem):
        settings(protocol("test", *sets))


@pytest.mark.parametrize("classes", [("a",), ("a", "b", "c")])
def test_other_numbers_of_classes(classes):
    with pytest.raises(UserError, match=r"'d' has \d classes, expected a negative and a positive"):
        settings(protocol("test", classes=classes))
