"""The stored form of a last layer's geometry: what is computed, refused and checked."""

from __future__ import annotations

import numpy as np
import pytest

from suite.base.errors import RecordError
from tasks.vision.geometry import stored
from tasks.vision.geometry.stored import accumulate, checked, join, row_distances, split


def drawn(seed=0, samples=40, classes=4, width=6, dtype=np.float64):
    draw = np.random.default_rng(seed)
    label = np.concatenate([np.arange(classes), draw.integers(0, classes, samples - classes)])
    features = (draw.standard_normal((samples, width)) + label[:, None]).astype(dtype)
    weight, bias = draw.standard_normal((classes, width)), draw.standard_normal(classes)
    return features, label, (features @ weight.T + bias).astype(dtype), weight, bias


def by_hand(features, label, logits, weight):
    """The definitions, sample by sample."""
    features = features.astype(np.float64)
    classes, (samples, width) = logits.shape[1], features.shape
    counts = np.bincount(label, minlength=classes)
    mean = np.stack([features[label == c].mean(axis=0) for c in range(classes)])
    within, sample = np.zeros((width, width)), np.zeros((width, width))
    margin, norm, near = [], [], []
    for h, y, z in zip(features, label, logits, strict=True):
        one = np.outer(h - mean[y], h - mean[y])
        within += one / counts[y] / classes
        sample += one / samples
        others = [c for c in range(classes) if c != y]
        margin.append(min(z[y] - z[c] for c in others))
        far = [(z[y] - z[c]) / np.linalg.norm(weight[y] - weight[c]) for c in others]
        norm.append(min(far) / np.linalg.norm(h))
        near.append(np.linalg.norm(h - mean, axis=1).argmin())
    about = mean - features.mean(axis=0)
    return {
        "counts": counts,
        "mean": mean,
        "within": within,
        "within_sample": about @ sample @ about.T,
        "within_trace": [
            ((features[label == c] - mean[c]) ** 2).sum(axis=1).mean() for c in range(classes)
        ],
        "margin": margin,
        "margin_norm": norm,
        "ncc_correct": np.bincount(label[np.array(near) == label], minlength=classes),
        "agree": np.bincount(label[logits.argmax(1) == near], minlength=classes),
        "correct": np.bincount(label[logits.argmax(1) == label], minlength=classes),
        "nll": [
            (np.log(np.exp(logits).sum(1)) - logits[np.arange(samples), label])[label == c].mean()
            for c in range(classes)
        ],
    }


@pytest.mark.parametrize("rows", [7, 4096], ids=["several blocks", "one block"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_are_those_of_the_definitions(rows, dtype, monkeypatch):
    monkeypatch.setattr(stored, "_ROWS", rows)
    features, label, logits, weight, bias = drawn(dtype=dtype)
    before = features.copy()
    made = accumulate(features, label, logits, weight, bias)
    for name, expected in by_hand(features, label, logits.astype(np.float64), weight).items():
        assert made[name] == pytest.approx(np.array(expected), rel=1e-5, abs=1e-8), name
    assert made["margin"].dtype == made["margin_norm"].dtype == np.float32
    assert made["correct"].dtype == made["label"].dtype == np.int64
    assert np.array_equal(features, before)
    found = checked(made, 4)
    assert found.classes == 4 and found.dimensions == 6
    assert found.mean.dtype == found.margin.dtype == np.float64


def test_order_of_the_samples_is_kept_and_changes_nothing_else():
    features, label, logits, weight, bias = drawn(1)
    order = np.random.default_rng(2).permutation(len(label))
    a = accumulate(features, label, logits, weight, bias)
    b = accumulate(features[order], label[order], logits[order], weight, bias)
    for name in a:
        per_sample = name in ("label", "margin", "margin_norm")
        assert b[name] == pytest.approx(a[name][order] if per_sample else a[name], rel=1e-9), name


def test_a_far_offset_loses_no_scatter():
    features, label, logits, weight, bias = drawn(3)
    here = accumulate(features, label, logits, weight, bias)
    there = accumulate(features + 1e6, label, logits, weight, bias)
    assert there["within"] == pytest.approx(here["within"], rel=1e-6, abs=1e-8)
    assert there["ncc_correct"].tolist() == here["ncc_correct"].tolist()


def test_nearest_means_of_test_images_are_those_of_the_training_images():
    features = np.array([[0.0, 0], [1, 0], [0.9, 0], [1, 0.1]])
    label, logits = np.array([0, 1, 0, 1]), np.zeros((4, 2))
    own = accumulate(features, label, logits)
    train = accumulate(features, label, logits, centres=np.array([[0, 0], [9.0, 9]]))
    assert own["ncc_correct"].tolist() == [1, 2]
    assert train["ncc_correct"].tolist() == [2, 0]
    missing = accumulate(features, label, logits, centres=np.array([[np.nan, 0], [1, 0]]))
    assert missing["ncc_correct"].tolist() == [0, 2]


def test_above_the_widest_the_scatter_is_stored_along_the_means(monkeypatch):
    features, label, logits, weight, bias = drawn(4)
    whole = accumulate(features, label, logits, weight, bias)
    monkeypatch.setattr(stored, "WIDEST", 5)
    along = accumulate(features, label, logits, weight, bias)
    assert "within" not in along
    means = whole["mean"] - whole["mean"].mean(axis=0)
    assert along["within_means"] == pytest.approx(means @ whole["within"] @ means.T)
    assert checked(along, 4).within is None


def test_a_feature_of_zeros_and_equal_rows_have_no_normalised_margin():
    features = np.array([[0.0, 0], [1, 1], [1, 0]])
    label = np.arange(3)
    weight = np.array([[1.0, 0], [1, 0], [0, 1]])
    made = accumulate(features, label, features @ weight.T, weight)
    assert np.isnan(made["margin_norm"]).tolist() == [True, False, False]
    # class 1's row is class 0's: its distance is from class 2 alone
    assert made["margin_norm"][1] == pytest.approx(0)
    equal = np.ones((3, 2))
    made = accumulate(features, label, features @ equal.T, equal)
    assert np.isnan(made["margin_norm"]).all()
    assert made["margin"].tolist() == [0, 0, 0] and made["correct"].tolist() == [0, 0, 0]


@pytest.mark.filterwarnings("error")
def test_margins_beyond_float32_are_stored_at_its_end():
    features, label, logits, weight, bias = drawn(5)
    made = accumulate(features, label, 1e60 * logits, 1e60 * weight, 1e60 * bias)
    assert np.abs(made["margin"]).max() == pytest.approx(np.finfo(np.float32).max, rel=1e-6)
    assert np.isfinite(checked(made, 4).margin).all()


def test_a_head_without_a_linear_layer():
    features, label, logits, _, _ = drawn(5)
    made = accumulate(features, label, logits)
    assert "weight" not in made and "bias" not in made
    assert np.isnan(made["margin_norm"]).all()
    assert checked(made, 4).weight is None


def test_no_bias_is_0():
    features, label, logits, weight, _ = drawn(5)
    assert accumulate(features, label, logits, weight)["bias"].tolist() == [0] * 4


def test_a_class_without_samples():
    features, label, logits, weight, bias = drawn(6)
    label = np.where(label == 2, 0, label)
    made = accumulate(features, label, logits, weight, bias)
    assert np.isnan(made["mean"][2]).all() and np.isnan(made["within_trace"][2])
    assert np.isfinite(made["within"]).all() and not made["within_sample"][2].any()
    rest = accumulate(features, np.where(label == 3, 2, label), logits[:, [0, 1, 3]])
    assert made["within"] == pytest.approx(rest["within"])
    assert checked(made, 4).present.tolist() == [0, 1, 3]


def test_distances_of_near_rows_are_exact():
    rows = np.array([[1e4, 1.0], [1e4, 1 + 1e-7], [0, 0], [0, 0]])
    found = row_distances(rows)
    assert found[0, 1] == pytest.approx(1e-7, rel=1e-6) and found[1, 0] == found[0, 1]
    assert np.isnan(found[2, 3]) and np.isnan(np.diag(found)).all()


# -- bad input


def spoiled(**changes):
    features, label, logits, weight, bias = drawn()
    given = {"features": features, "label": label, "logits": logits, "weight": weight, "bias": bias}
    return given | {name: change(given[name]) for name, change in changes.items()}


def nan_at(place):
    def change(array):
        array = array.copy()
        array[place] = np.nan
        return array

    return change


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"features": lambda x: x.astype(np.float16)},
            "features are float16.*run the network in float32",
        ),
        ({"features": lambda x: x.astype(int)}, "features are int64"),
        (
            {"features": nan_at((17, 2))},
            "features of sample 17 are NaN or infinite: the model has diverged",
        ),
        ({"logits": nan_at((39, 0))}, "logits of sample 39 are NaN"),
        ({"logits": lambda x: x.astype(int)}, "logits are int64, expected floats"),
        ({"logits": lambda x: x[:-1]}, "40 features, but 39 rows of logits"),
        ({"features": lambda x: x[:, :1]}, "one dimension have no angles; at least two"),
        ({"features": lambda x: x[0]}, r"expected \(N, D\), \(N,\) and \(N, K\)"),
        ({"label": lambda x: x[:-1]}, r"expected \(N, D\), \(N,\) and \(N, K\)"),
        ({"label": lambda x: x + 1}, r"labels lie in 1\.\.4, of 4 classes"),
        ({"label": lambda x: x * 1.0}, "labels are float64, expected integers"),
        ({"label": lambda x: 0 * x + 3}, "all 40 samples are of class 3; at least two classes"),
        ({"logits": lambda x: x[:, :1], "label": lambda x: 0 * x}, "one class has no geometry"),
        (
            {"weight": lambda x: x[:, :-1]},
            r"the head's weight has shape \(4, 5\), expected \(4, 6\)",
        ),
        ({"bias": lambda x: x[:-1]}, r"the head's bias has shape \(3,\), expected \(4,\)"),
        ({"weight": nan_at((0, 0))}, "the head's weight is NaN or infinite"),
    ],
)
def test_bad_input_of_accumulate(changes, said):
    with pytest.raises(RecordError, match=said):
        accumulate(**spoiled(**changes))


def test_fewer_samples_than_classes():
    features, label, logits, weight, bias = drawn()
    with pytest.raises(RecordError, match="3 samples of 4 classes: some have no mean"):
        accumulate(features[:3], label[:3], logits[:3], weight, bias)


@pytest.mark.parametrize("centres", [np.zeros((4, 5)), np.full((4, 6), np.nan)])
def test_bad_centres(centres):
    with pytest.raises(RecordError, match="centres"):
        accumulate(*drawn(), centres=centres)


def one_more(place):
    def change(array):
        array = array.copy()
        array[place] += 1
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("counts", one_more(0), "counts are not those of its labels"),
        ("correct", one_more(0), "correct is not the number of margins above 0"),
        ("agree", lambda x: x + 1000, "agree exceeds the number of samples"),
        ("ncc_correct", lambda x: -x - 1, "ncc_correct exceeds"),
        ("label", lambda x: x + 9, "labels lie in"),
        ("label", lambda x: x.astype(float), "label is float64 .*expected integers"),
        ("label", lambda x: x[:0], "no list of labels"),
        ("mean", lambda x: x[:-1], r"mean is float64 of shape \(3, 6\)"),
        ("mean", lambda x: x[0], "no class means"),
        ("mean", lambda x: x.astype(np.float16), "mean is float16"),
        ("mean", lambda x: x.astype(str), "mean is <U"),
        ("mean", nan_at((1, 1)), "mean of a class with samples is not finite"),
        ("nll", nan_at(1), "nll of a class with samples is not finite"),
        ("within", lambda x: 2 * x, "the trace of within is"),
        ("within", nan_at((0, 1)), "within is not finite"),
        ("weight", nan_at((0, 1)), "weight is not finite"),
        ("margin", lambda x: x[:-1], "margin is float32 of shape"),
        ("margin_norm", lambda x: x / 0, "margin_norm is infinite"),
        ("bias", None, "holds no bias; found: counts"),
        ("within_sample", None, "holds no within_sample"),
        ("within", None, "holds no within_means"),
        ("label", None, "no list of labels"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_stored_arrays_that_do_not_agree(name, change, said):
    arrays = accumulate(*drawn())
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays[name])
    with pytest.raises(RecordError, match=said):
        checked(arrays, 4)


def test_stored_for_another_number_of_classes():
    with pytest.raises(
        RecordError, match=r"counts is int64 of shape \(4,\), expected integers of shape \(5,\)"
    ):
        checked(accumulate(*drawn()), 5)


def test_a_set_without_losses_is_read():
    arrays = accumulate(*drawn())
    del arrays["nll"]
    assert checked(arrays, 4).nll is None


def test_several_heads_in_one_set():
    parts = {"": {"a": np.ones(1)}, "expert0": {"a": np.zeros(2), "b": np.ones(3)}}
    joined = join(parts)
    assert sorted(joined) == ["a", "expert0.a", "expert0.b"]
    assert split(joined) == parts
