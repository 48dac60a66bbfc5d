"""Bootstrap intervals against scipy and by simulation; the tasks' test units against their evaluations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from suite.base.errors import RecordError
from suite.define.task import Trained
from suite.stats import bootstrap
from suite.stats import tests as stats
from suite.stats.bootstrap import Units
from tasks.longtail_cls.evaluation import evaluate as evaluate_cls
from tasks.longtail_seg import resampling as seg
from tasks.longtail_seg.evaluation import _confusion, _confusion_rows
from tasks.vision import stored
from tasks.vision.per_class import units as units_cls

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.lists(finite, min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_interval_lies_within_the_values_and_around_the_mean(values):
    mean, low, high, n = bootstrap.bootstrap_interval(values)
    assert n == len(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-6)
    if n == 1:
        assert low is high is None
        return
    slack = 1e-9 * max(map(abs, values), default=0)
    assert min(values) - slack <= low <= high <= max(values) + slack


def test_interval_of_many_values_is_scipys_percentile_interval():
    values = np.random.default_rng(0).exponential(size=400)
    found = bootstrap.bootstrap_interval(values, 5000)
    expected = reference.bootstrap(
        (values,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)


def test_tail_is_hesterbergs():
    # t(9) = 2.262; Phi(-sqrt(10 / 9) 2.262) = 0.0086, his table 5 has 0.0086 for n = 10
    assert bootstrap.tail(10) == pytest.approx(0.0086, abs=5e-5)
    assert bootstrap.tail(100_000) == pytest.approx(0.025, abs=1e-5)


def test_no_global_state_and_the_same_numbers_every_time():
    before = np.random.get_state()[1].copy()
    first = bootstrap.bootstrap_interval([0.1, 0.4, 0.2, 0.7])
    assert first == bootstrap.bootstrap_interval([0.1, 0.4, 0.2, 0.7])
    assert first != bootstrap.bootstrap_interval([0.1, 0.4, 0.2, 0.7], rng=bootstrap.generator(7))
    assert (np.random.get_state()[1] == before).all()


def test_values_that_are_none():
    for values in ([], [np.nan, 1.0], [np.inf]):
        with pytest.raises(ValueError):
            bootstrap.bootstrap_interval(values)
    with pytest.raises(ValueError):
        bootstrap.bootstrap_p([0.3])


def test_p_is_near_that_of_t_and_three_values_never_conclude():
    values = np.random.default_rng(3).normal(0.4, 1, 30)
    expected = reference.ttest_1samp(values, 0).pvalue
    assert bootstrap.bootstrap_p(values) == pytest.approx(expected, abs=0.015)
    assert bootstrap.bootstrap_p([5.0, 5.1, 5.2]) > stats.ALPHA
    assert bootstrap.bootstrap_p([0.2] * 4) == 0.0
    assert bootstrap.bootstrap_p([0.0] * 4) == 1.0


def test_p_is_that_at_which_the_interval_meets_zero():
    values = list(np.random.default_rng(4).normal(0.5, 1, 15))
    p = bootstrap.bootstrap_p(values, 4000)
    found = bootstrap.bootstrap_interval(values, 4000, level=1 - p)
    assert min(abs(found.low), abs(found.high)) < 0.02


@pytest.mark.parametrize(
    ("n", "least", "most"), [(3, 0.70, 0.79), (5, 0.89, 0.96), (10, 0.92, 0.97)]
)
def test_coverage_over_seeds(n, least, most):
    rng = np.random.default_rng(5)
    samples = rng.standard_normal((800, n))
    found = [bootstrap.bootstrap_interval(sample, 2000, rng) for sample in samples]
    assert least < np.mean([one.low <= 0 <= one.high for one in found]) < most


def test_coverage_of_t_over_seeds():
    samples = np.random.default_rng(6).standard_normal((1500, 3))
    found = [stats.mean_interval(sample) for sample in samples]
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(0.95, abs=0.02)


# -- test units


def accuracy_of(right):
    right = np.asarray(right, dtype=float)
    return Units(
        count=len(right),
        score=lambda w: {"top1": w @ right / w.sum(axis=1)},
        digest=f"{len(right)}",
    )


def test_weights_are_resamples():
    weights = bootstrap.unit_weights(50, 2000)
    assert weights.shape == (2000, 50)
    assert (weights.sum(axis=1) == 50).all() and weights.min() >= 0
    # a multinomial count has mean 1 and variance 1 - 1 / N
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.12)
    assert weights.var() == pytest.approx(1 - 1 / 50, abs=0.03)


def test_interval_over_images_is_binomial():
    right = np.arange(2000) < 1400
    scores = bootstrap.unit_scores([accuracy_of(right)], bootstrap.unit_weights(2000))
    mean, low, high, n = bootstrap.unit_interval(scores, "top1")
    half = 1.96 * (0.7 * 0.3 / 2000) ** 0.5
    assert (mean, n) == (0.7, 2000)
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.1 * half)


def test_paired_resamples_see_a_small_difference():
    right = np.arange(1000) < 700
    better = right.copy()
    better[700:712] = True
    weights = bootstrap.unit_weights(1000)
    x, y = (bootstrap.unit_scores([accuracy_of(r)], weights) for r in (better, right))
    found, p = bootstrap.unit_difference(x, y, "top1")
    assert found.mean == pytest.approx(0.012)
    assert found.low > 0 and p < 0.01
    # apart, the two intervals overlap widely
    assert bootstrap.unit_interval(x, "top1").low < bootstrap.unit_interval(y, "top1").high
    same, p = bootstrap.unit_difference(x, x, "top1")
    assert (same.mean, same.low, same.high, p) == (0, 0, 0, 1)


def test_other_images_are_never_paired():
    weights = bootstrap.unit_weights(10, 20)
    x = bootstrap.unit_scores([accuracy_of(np.ones(10))], weights)
    other = Units(count=10, score=accuracy_of(np.ones(10)).score, digest="others")
    y = bootstrap.unit_scores([other], weights)
    with pytest.raises(ValueError):
        bootstrap.unit_difference(x, y, "top1")
    with pytest.raises(ValueError):
        bootstrap.unit_scores([accuracy_of(np.ones(10)), other], weights)
    with pytest.raises(ValueError):
        bootstrap.unit_scores([accuracy_of(np.ones(9))], weights)


# -- longtail-cls

CLS = {
    "classes": list("abcdefghij"),
    "groups": {"head": [0, 1, 2], "medium": [3, 4, 5, 6, 9], "tail": [7, 8]},
    "group_rule": "",
}


def cls_set(rng, count=300, experts=0, absent=()):
    allowed = [c for c in range(10) if c not in absent]
    label = rng.choice(allowed, count)
    logits = rng.normal(size=(count, experts, 10) if experts else (count, 10)).astype(np.float32)
    # whole numbers tie
    return stored.store(np.round(logits * 2), label)


def assert_ones_are_the_rows(units, rows, keys):
    found = units.score(np.ones((1, units.count), np.int32))
    by_key = {row.key: row.value for row in rows if row.class_ is None}
    for key in keys:
        value = float(found[key][0])
        assert by_key[key] == (None if np.isnan(value) else value), key
    # in a block of resamples, too
    both = units.score(np.ones((3, units.count)))
    for key in keys:
        assert np.array_equal(both[key], np.repeat(found[key], 3), equal_nan=True)


CLS_KEYS = (
    "balanced_accuracy",
    "top1",
    "worst_class",
    *(f"top1[group={g}]" for g in CLS["groups"]),
)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("absent", [(), (8,), (7, 8)])
@pytest.mark.parametrize("experts", [0, 3])
def test_cls_ones_are_the_evaluation(seed, absent, experts):
    predictions = {"test": cls_set(np.random.default_rng(seed), absent=absent, experts=experts)}
    rows = evaluate_cls(predictions, CLS, Trained())
    assert_ones_are_the_rows(units_cls(predictions, CLS, Trained()), rows, CLS_KEYS)


@pytest.mark.parametrize("experts", [0, 2])
def test_cls_capped_sets_too(monkeypatch, experts):
    monkeypatch.setattr(stored, "CAP", 10)
    monkeypatch.setattr(stored, "KEPT", 3)
    predictions = {"test": cls_set(np.random.default_rng(0), experts=experts)}
    assert "top_logits" in predictions["test"]
    rows = evaluate_cls(predictions, CLS, Trained())
    assert_ones_are_the_rows(units_cls(predictions, CLS, Trained()), rows, CLS_KEYS)


def test_cls_scores_that_a_method_adapts():
    def infer(arrays, prior, unlabelled=None):
        return arrays["logits"] - np.log(prior + 1e-3)

    predictions = {"test": cls_set(np.random.default_rng(1), absent=(2, 3))}
    trained = Trained(infer=infer)
    rows = evaluate_cls(predictions, CLS, trained)
    units = units_cls(predictions, CLS, trained)
    assert_ones_are_the_rows(units, rows, CLS_KEYS)
    stored_ones = units_cls(predictions, CLS, Trained())
    ones = np.ones((1, units.count))
    assert units.score(ones)["top1"] != stored_ones.score(ones)["top1"]


def test_cls_weights_are_repeated_images():
    rng = np.random.default_rng(2)
    arrays = cls_set(rng, 60)
    weights = bootstrap.unit_weights(60, 25)
    found = units_cls({"test": arrays}, CLS, Trained()).score(weights)
    for r, row in enumerate(weights):
        chosen = np.repeat(np.arange(60), row)
        again = {"test": {key: array[chosen] for key, array in arrays.items()}}
        rows = {x.key: x.value for x in evaluate_cls(again, CLS, Trained()) if x.class_ is None}
        for key in CLS_KEYS:
            assert found[key][r] == pytest.approx(
                np.nan if rows[key] is None else rows[key], nan_ok=True
            )


def test_cls_without_a_test_set():
    with pytest.raises(RecordError, match="test"):
        units_cls({"val": cls_set(np.random.default_rng(0))}, CLS, Trained())


# -- longtail-seg

SEG = {
    "classes": list("abcdefghijk"),
    "groups": {"head": [0, 1, 2, 3], "tail": [8, 9, 10]},
    "group_rule": "",
}
SEG_KEYS = tuple(
    f"{m}{g}" for m in ("mIoU", "mAcc", "aAcc") for g in ("", "[group=head]", "[group=tail]")
)


def seg_set(rng, count=20, absent=()):
    confusion = rng.integers(0, 2000, (count, 11, 11)).astype(np.uint32)
    confusion[:, list(absent), :] = 0
    return {"test": {"confusion": confusion}}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("absent", [(), (9,), (8, 9, 10)])
def test_seg_ones_are_the_evaluation(seed, absent):
    predictions = seg_set(np.random.default_rng(seed), absent=absent)
    rows = _confusion_rows(_confusion(predictions["test"], 11), SEG, {})
    rows = [
        r
        if r.value is None or r.value == r.value
        else type(r)(metric=r.metric, subset=r.subset, value=None)
        for r in rows
    ]
    assert_ones_are_the_rows(seg.units(predictions, SEG, Trained()), rows, SEG_KEYS)


def test_seg_weights_are_repeated_images():
    predictions = seg_set(np.random.default_rng(3), 12)
    weights = bootstrap.unit_weights(12, 20)
    found = seg.units(predictions, SEG, Trained()).score(weights)
    for r, row in enumerate(weights):
        total = np.repeat(predictions["test"]["confusion"], row, axis=0).sum(axis=0, dtype=np.int64)
        rows = {x.key: x.value for x in _confusion_rows(total, SEG, {}) if x.class_ is None}
        for key in SEG_KEYS:
            assert found[key][r] == pytest.approx(rows[key])


@pytest.mark.parametrize(
    "confusion",
    [
        None,
        np.ones((3, 2, 2), np.uint32),
        np.ones((3, 11, 11)),
        -np.ones((3, 11, 11), int),
        np.ones((0, 11, 11), int),
    ],
)
def test_seg_arrays_of_another_form(confusion):
    arrays = {} if confusion is None else {"confusion": confusion}
    with pytest.raises(RecordError, match="confusion"):
        seg.units({"test": arrays}, SEG, Trained())
