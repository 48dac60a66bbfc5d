"""Rows, test units and stored form of `multilabel`: known answers, loops, bad arrays."""

from types import SimpleNamespace

import numpy as np
import pytest
from cls_scores import small_caps, values  # noqa: F401
from ml_scores import FIVE, FIVE_LABELS, SIX, SIX_LABELS, naive, naive_ap, naive_f1, sample

from suite.base.errors import RecordError, UserError
from suite.boards.classes import counted, groups_of
from suite.boards.confusions import CONFUSION
from suite.define.metrics import canonical_key, split_key
from suite.define.task import Task, Trained, default_keys
from suite.exchange.consistency import row_problems
from suite.stats.bootstrap import UNITS, unit_difference, unit_interval, unit_scores, unit_weights
from tasks.multilabel import evaluation
from tasks.multilabel.evaluation import (
    COLUMNS,
    METRICS,
    OFFERS,
    PRIMARY,
    VERSION,
    evaluate,
    sample_means,
    settings,
    units,
)
from tasks.multilabel.stored import checked, restore, store
from tasks.vision import stored


def about(labels, k=3, **groups):
    return {"classes": [f"label {c}" for c in range(labels)], "groups": groups, "k": k}


def rows_of(logits, labels, k=3, **groups):
    return evaluate({"test": store(logits, labels)}, about(labels.shape[1], k, **groups), Trained())


def scores(logits, labels, k=3, **groups):
    return values(rows_of(logits, labels, k, **groups))


# -- known answers


def test_known_answers_come_out_as_rows():
    found = scores(SIX, SIX_LABELS, 4)
    expected = {
        "tkpr[k=K]": 0.4444444,
        "tkpr[k=1]": 0,
        "tkpr[k=3]": 0.3333333,
        "tkpr[k=5]": 0.5833333,
        "tkpr[alpha=n+,k=K]": 1 / 3,
        "map_at_k[k=K]": 0.3333333,
        "map_at_k[k=3]": 0.1666667,
        "ndcg[k=K]": 0.4981893,
        "ndcg[k=5]": 0.6797311,
        "precision[k=K]": 1 / 2,
        "precision[k=5]": 3 / 5,
        "recall[k=K]": 2 / 3,
        "recall[k=5]": 1,
        "ranking_loss": 5 / 9,
        "coverage": 5,
        "one_error": 1,
        "instances_without_label": 0,
        "labels_without_positive": 3,
        "mAP": 1,
        # .1, .35 and .6 are logits above 0: all present labels are called
        "f1": 1,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=5e-8)
    found = scores(FIVE, FIVE_LABELS)
    assert found["ndcg[k=K]"] == found["ndcg[k=3]"] == pytest.approx(0.7039181, abs=5e-8)
    assert found["map_at_k[k=3]"] == pytest.approx(5 / 9)
    assert found["ranking_loss"] == pytest.approx(0.5)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("levels", [None, 2])
def test_every_row_is_the_mean_of_a_loop(k, levels):
    logits, labels = sample(70, 7, 1, levels=levels)
    labels[:, 4] = False
    labels[1] = [True] * 4 + [False] + [True] * 2
    groups = {"head": [0, 1, 2], "tail": [3, 4], "none": [4]}
    rows = rows_of(logits, labels, k, **groups)
    found = values(rows)
    names = {
        "tkpr[{}]": "i",
        "tkpr[alpha=n+,{}]": "n",
        "map_at_k[{}]": "ap",
        "ndcg[{}]": "ndcg",
        "precision[{}]": "precision",
        "recall[{}]": "recall",
    }
    expected = {}
    for where, value in {"k=K": k, "k=1": 1, "k=3": 3, "k=5": 5}.items():
        each = [naive(*one, value) for one in zip(logits, labels, strict=True)]
        for key, name in names.items():
            known = [one[name] for one in each if one[name] is not None]
            expected[key.format(where)] = np.mean(known)
    for key, name in {
        "ranking_loss": "loss",
        "coverage": "coverage",
        "one_error": "one_error",
    }.items():
        expected[key] = np.mean([one[name] for one in each if one[name] is not None])
    columns = list(zip(logits.T.tolist(), labels.T.tolist(), strict=True))
    ap, f1 = ([of(*one) for one in columns] for of in (naive_ap, naive_f1))
    assert ap[4] is f1[4] is None
    for whole, metric, by_label in (("mAP", "ap", ap), ("f1", "f1", f1)):
        expected[whole] = np.mean([v for v in by_label if v is not None])
        expected[f"{metric}[group=head]"] = np.mean(by_label[:3])
        expected[f"{metric}[group=tail]"] = by_label[3]
        expected[f"{metric}[group=none]"] = None
        rows_by_label = {r.class_: r.value for r in rows if r.metric == metric and r.class_}
        assert rows_by_label == pytest.approx(
            {f"label {c}": value for c, value in enumerate(by_label)}
        )
    expected |= {
        "instances_without_label": (~labels.any(axis=1)).sum(),
        "labels_without_positive": 1,
    }
    assert found == pytest.approx(expected)
    keys = [(row.metric, row.subset, row.class_) for row in rows]
    assert len(keys) == len(set(keys))


# -- what is undefined or left out


def test_rows_of_k_above_the_number_of_labels_are_left_out():
    logits, labels = sample(20, 4)
    found = scores(logits, labels, 2)
    assert {key for key in found if key.startswith("recall")} == {
        "recall[k=K]",
        "recall[k=1]",
        "recall[k=3]",
    }
    one = scores(logits[:, :1], labels[:, :1], 1)
    assert {key for key in one if key.startswith("ndcg")} == {"ndcg[k=K]", "ndcg[k=1]"}
    assert (one["ndcg[k=K]"], one["ranking_loss"], one["coverage"]) == (1, None, 1)


def test_a_k_above_the_number_of_labels_is_told():
    logits, labels = sample(20, 4)
    with pytest.raises(UserError, match=r"K = 5 of the top-K measures is not in 1\.\.4"):
        scores(logits, labels, 5)
    with pytest.raises(UserError, match=r"K = 0"):
        units({"test": store(logits, labels)}, about(4, 0), Trained())


def test_without_any_label_all_is_null_and_counted():
    rows = rows_of(np.zeros((3, 5)), np.zeros((3, 5), bool), tail=[1])
    known = {row.key: row.value for row in rows if row.value is not None}
    assert known == {"instances_without_label": 3, "labels_without_positive": 5}
    made = units({"test": store(np.zeros((3, 5)), np.zeros((3, 5), bool))}, about(5), Trained())
    assert all(np.isnan(v).all() for v in made.score(np.ones((2, 3), int)).values())


def test_other_sets_carry_their_name():
    logits, labels = sample()
    sets = {"test": store(logits, labels), "val": store(logits[:20], labels[:20])}
    rows = evaluate(sets, about(7, tail=[5]), Trained())
    found = values(rows)
    alone = scores(logits[:20], labels[:20], tail=[5])
    for key, value in alone.items():
        metric, where = split_key(key)
        beside = canonical_key(f"{metric}[{','.join(filter(None, [where, 'split=val']))}]")
        assert found[beside] == value
    assert len(found) == 2 * len(alone)
    assert {row.subset for row in rows if row.class_} == {"", "split=val"}


def test_groups_follow_the_training_counts():
    logits, labels = sample()
    settings = {**about(7), "group_thresholds": [99, 20]}
    trained = Trained(class_counts=(100, 99, 20, 19, 0, 500, 1))
    found = values(evaluate({"test": store(logits, labels)}, settings, trained))
    expected = scores(logits, labels, head=[0, 5], medium=[1, 2], tail=[3, 4, 6])
    assert found == expected
    with pytest.raises(RecordError, match="counts of 0 classes, the groups need those of 7"):
        evaluate({"test": store(logits, labels)}, settings, Trained())


# -- invariances


def test_renaming_labels_changes_nothing_without_ties():
    logits, labels = sample(50, 6, 3)
    order = [3, 1, 5, 0, 2, 4]
    place = np.argsort(order)
    before = scores(logits, labels, head=[0, 3], tail=[4])
    after = scores(logits[:, order], labels[:, order], head=[place[0], place[3]], tail=[place[4]])
    assert after == pytest.approx(before)


def test_a_constant_per_sample_changes_rankings_of_no_sample_but_scores_of_labels():
    logits, labels = sample(60, 6, 2)
    logits = np.round(logits * 8) / 8  # float32 holds the sums exactly
    shift = np.random.default_rng(0).integers(-20, 20, (60, 1)).astype(np.float32)
    before, after = scores(logits, labels), scores(logits + shift, labels)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"mAP", "f1"}


# -- test units


def test_ones_give_the_rows_of_evaluate_exactly():
    for seed, levels in ((0, None), (1, 3)):
        logits, labels = sample(300, 12, seed, levels=levels)
        labels[:, 3] = False
        groups = {"head": [0, 1, 2], "tail": [3, 4, 5, 6]}
        predictions = {"test": store(logits, labels)}
        made = units(predictions, about(12, **groups), Trained())
        ones = made.score(np.ones((1, 300), np.int32))
        rows = scores(logits, labels, **groups)
        assert rows.keys() - ones.keys() == {"instances_without_label", "labels_without_positive"}
        assert {key: value[0] for key, value in ones.items()} == {key: rows[key] for key in ones}


def test_a_weight_is_how_often_a_sample_is_there():
    logits, labels = sample(40, 6, 1, levels=4)
    groups = {"head": [0, 1], "tail": [4, 5]}
    weights = unit_weights(40, 5)
    made = units({"test": store(logits, labels)}, about(6, **groups), Trained())
    found = made.score(weights)
    for one, weight in enumerate(weights):
        chosen = np.repeat(np.arange(40), weight)
        expected = scores(logits[chosen], labels[chosen], **groups)
        assert {key: v[one] for key, v in found.items()} == pytest.approx(
            {key: expected[key] for key in found}
        )
    # a single sample, whose labels alone have an AP
    alone = made.score(np.eye(40, dtype=int)[5:6])
    assert alone["mAP"][0] == 1
    empty = made.score(np.eye(40, dtype=int)[:1])  # the first has no label
    assert all(np.isnan(v[0]) for v in empty.values())


def test_units_are_paired_by_their_labels():
    logits, labels = sample(50, 9)
    made = units({"test": store(logits, labels)}, about(9), Trained())
    other = units({"test": store(-logits, labels)}, about(9), Trained())
    assert made.digest == other.digest and made.count == 50
    changed = labels.copy()
    changed[4, 8] ^= True
    assert units({"test": store(logits, changed)}, about(9), Trained()).digest != made.digest
    wider = np.pad(labels, ((0, 0), (0, 1)))  # the same bytes
    third = units({"test": store(np.pad(logits, ((0, 0), (0, 1))), wider)}, about(10), Trained())
    assert third.digest != made.digest
    weights = unit_weights(50, 200)
    a, b = unit_scores([made], weights), unit_scores([other], weights)
    for key in ("tkpr[k=K]", "mAP"):
        interval = unit_interval(a, key)
        assert interval.low < interval.mean < interval.high
        gap, p = unit_difference(a, b, key)
        assert gap.low > 0 and p < 0.02


def test_large_sets_are_not_resampled_label_by_label(small_caps):
    logits, labels = sample(50, 9)
    small_caps(449, 10_000, 256)
    made = units({"test": store(logits, labels)}, about(9, tail=[2]), Trained())
    found = made.score(np.ones((1, 50), int))
    rows = scores(logits, labels, tail=[2])
    assert rows.keys() - found.keys() == {
        "instances_without_label",
        "labels_without_positive",
        "mAP",
        "ap[group=tail]",
        "f1",
        "f1[group=tail]",
    }
    assert {key: v[0] for key, v in found.items()} == {key: rows[key] for key in found}


def test_no_test_set_has_no_units():
    with pytest.raises(RecordError, match="hold no set 'test'"):
        units({}, about(3), Trained())


# -- the task


def test_settings_hold_k_of_the_data_set(monkeypatch):
    asked = []
    monkeypatch.setattr(evaluation, "top_k", lambda name: asked.append(name) or 2)
    data = SimpleNamespace(
        name="d", classes=("a", "b"), groups={}, group_rule="by hand", group_thresholds=(99, 20)
    )
    assert settings(SimpleNamespace(dataset=data)) == {
        "classes": ["a", "b"],
        "groups": {},
        "group_rule": "by hand",
        "group_thresholds": [99, 20],
        "k": 2,
    }
    assert asked == ["d"]
    monkeypatch.setattr(evaluation, "top_k", lambda name: 3)
    with pytest.raises(UserError, match=r"data set 'd': K = 3 .* is not in 1\.\.2"):
        settings(SimpleNamespace(dataset=data))


def test_every_row_has_a_metric_and_every_column_a_row():
    task = Task(
        name="multilabel",
        question="",
        protocols=(),
        default_protocol="quick",
        metrics=METRICS,
        primary=PRIMARY,
        columns=COLUMNS,
        version=VERSION,
        settings=lambda protocol: {**about(3), "group_thresholds": [99, 20]},
        evaluate=evaluate,
        offers=OFFERS,
    )
    logits, labels = sample()
    rows = rows_of(logits, labels, head=[0], medium=[1, 2], tail=[3])
    assert not row_problems(rows, task)
    assert {row.metric for row in rows} == {metric.name for metric in METRICS}
    keys = {row.key for row in rows if row.class_ is None}
    assert {*PRIMARY, *COLUMNS} <= keys
    assert default_keys({"multilabel": task})["multilabel", "ranking_loss"] is False
    assert default_keys({"multilabel": task})["multilabel", "tkpr[k=K]"] is True
    # pages ask for these
    assert UNITS.of(task) is not None and CONFUSION.of(task) is None
    assert counted(task) == "instances"
    protocol = SimpleNamespace(dataset=SimpleNamespace(classes=("a", "b", "c"), groups={}))
    assert groups_of(task, protocol, (500, 50, 5)) == ("head", "medium", "tail")


def test_means_for_mmengine_are_rows():
    logits, labels = sample()
    rows = scores(logits, labels)
    assert sample_means(checked(store(logits, labels), 7), 3) == {
        "tkpr": rows["tkpr[k=K]"],
        "map_at_k": rows["map_at_k[k=K]"],
    }


# -- the stored form


def test_float32_and_labels_come_back_as_they_were():
    logits, labels = sample(50, 11)
    logits[3, 2] = -np.inf
    arrays = store(logits, labels)
    assert {k: (a.dtype, a.shape) for k, a in arrays.items()} == {
        "labels": (np.uint8, (50, 2)),
        "logits": (np.float32, (50, 11)),
    }
    np.testing.assert_array_equal(arrays["labels"], np.packbits(labels, axis=1))
    back, relevant = restore(arrays, 11)
    np.testing.assert_array_equal(back, logits)
    np.testing.assert_array_equal(relevant, labels)
    back[:] = 0
    np.testing.assert_array_equal(arrays["logits"], logits)
    for kind in (np.int64, np.uint8):
        np.testing.assert_array_equal(
            store(logits, labels.astype(kind))["labels"], arrays["labels"]
        )


def test_float16_keeps_the_scores_of_a_label_comparable(small_caps):
    logits, labels = sample(200, 7)
    logits += np.random.default_rng(0).normal(scale=6, size=(200, 1)).astype(np.float32)
    logits[0] = [1000, 1000.1, 0, 0, 0, 0, 0]  # one number in float16, were it not for the shift
    logits[1] = [1e6, 0, -np.inf, 0, 0, 0, 0]
    full = scores(logits[2:], labels[2:], tail=[5, 6])
    small_caps(10, 10_000, 256)
    arrays = store(logits, labels)
    assert {k: (a.dtype, a.shape) for k, a in arrays.items()} == {
        "labels": (np.uint8, (200, 1)),
        "logits": (np.float16, (200, 7)),
        "peak": (np.float32, (200,)),
    }
    np.testing.assert_array_equal(arrays["peak"], logits.max(axis=1))
    assert (arrays["logits"].max(axis=1) == 0).all()
    back, _ = restore(arrays, 7)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back[0, :2], logits[0, :2])
    assert back[1].tolist() == [1e6, 1e6 - 65504, -np.inf, *[1e6 - 65504] * 4]
    np.testing.assert_allclose(back[2:], logits[2:], atol=2e-2)
    half = scores(logits[2:], labels[2:], tail=[5, 6])
    for key in ("mAP", "ap[group=tail]", "tkpr[k=K]", "f1"):
        assert half[key] == pytest.approx(full[key], abs=3e-3)
    # without the peak it would not be
    lost = scores((logits - logits.max(axis=1, keepdims=True))[2:], labels[2:])
    assert abs(lost["mAP"] - full["mAP"]) > 0.02


def test_the_cap_keeps_the_largest_in_order_and_changes_no_score_that_it_allows(small_caps):
    logits, labels = sample(150, 12, 4, levels=3)  # many ties, at the last place too
    full = scores(logits, labels, k=4, tail=[3])
    small_caps(10, 100, 4)
    arrays = store(logits, labels)
    assert {k: (a.dtype, a.shape) for k, a in arrays.items()} == {
        "labels": (np.uint8, (150, 2)),
        "top_logits": (np.float32, (150, 4)),
        "top_classes": (np.uint16, (150, 4)),
    }
    order = np.argsort(-logits, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(arrays["top_classes"], order)
    back, relevant = restore(arrays, 12)
    kept = np.zeros(logits.shape, bool)
    np.put_along_axis(kept, order, True, axis=1)
    np.testing.assert_array_equal(back, np.where(kept, logits, -np.inf))
    np.testing.assert_array_equal(relevant, labels)
    rows = rows_of(logits, labels, k=4, tail=[3])
    capped = values(rows)
    nothing = {key for key, value in capped.items() if value is None}
    assert nothing == {
        *("ranking_loss", "coverage", "mAP", "ap[group=tail]", "f1", "f1[group=tail]"),
        *(key for key in full if "k=5" in key),
    }
    assert {key: capped[key] for key in full.keys() - nothing} == {
        key: full[key] for key in full.keys() - nothing
    }
    assert all(row.value is None for row in rows if row.class_)
    made = units({"test": arrays}, about(12, 4, tail=[3]), Trained())
    ones = made.score(np.ones((1, 150), int))
    counts = {"instances_without_label", "labels_without_positive"}
    assert ones.keys() == full.keys() - nothing - counts
    assert all(ones[key][0] == full[key] for key in ones)
    with pytest.raises(RecordError, match="whose first 4 labels are known"):
        sample_means(checked(arrays, 12), 5)


@pytest.mark.parametrize("caps", [(10**6, 10**6, 4), (10, 10**6, 4), (10, 10, 4)])
def test_rows_of_a_stored_set_are_a_stored_set(caps, small_caps):
    logits, labels = sample(150, 12)
    small_caps(*caps)
    chosen = np.arange(2, 150, 7)
    part = {key: array[chosen] for key, array in store(logits, labels).items()}
    some = store(logits[chosen], labels[chosen])
    assert part.keys() == some.keys()
    for key, array in some.items():
        np.testing.assert_array_equal(part[key], array)
    assert values(evaluate({"test": part}, about(12), Trained())) == scores(
        logits[chosen], labels[chosen]
    )


def test_blocks_of_rows_and_labels_change_nothing(monkeypatch):
    logits, labels = sample(60, 70, 5)
    whole = scores(logits, labels, tail=[40, 69])
    monkeypatch.setattr(stored, "_BLOCK", 500)
    monkeypatch.setattr(evaluation, "_WIDTH", 8)
    assert scores(logits, labels, tail=[40, 69]) == whole


def test_many_labels_need_wider_numbers(small_caps):
    small_caps(1, 1, 2)
    logits = np.zeros((1, (1 << 16) + 1), np.float32)
    logits[0, -1] = 1
    arrays = store(logits, logits > 0)
    assert arrays["top_classes"].dtype == np.int32
    assert arrays["top_classes"].tolist() == [[1 << 16, 0]]
    assert sample_means(checked(arrays, (1 << 16) + 1), 1)["map_at_k"] == 1


@pytest.mark.parametrize(
    ("logits", "labels", "problem"),
    [
        (np.zeros(3), np.zeros(3, bool), r"logits have shape \(3,\), expected \(N, L\)"),
        (np.zeros((2, 0)), np.zeros((2, 0), bool), r"logits have shape \(2, 0\)"),
        (np.zeros((2, 3, 4)), np.zeros((2, 4), bool), r"logits have shape \(2, 3, 4\)"),
        (np.zeros((2, 3), int), np.zeros((2, 3), bool), "logits are int64"),
        (
            np.zeros((2, 3)),
            np.zeros((3, 3), bool),
            r"labels are bool of shape \(3, 3\), .* \(2, 3\)",
        ),
        (np.zeros((2, 3)), np.zeros(2, int), r"labels are int64 of shape \(2,\)"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "labels are float64"),
        (np.zeros((0, 3)), np.zeros((0, 3), bool), "of no sample"),
        (np.zeros((1, 3)), np.array([[0, 1, 2]]), r"labels lie in 0\.\.2, expected 0 and 1"),
        (np.zeros((1, 3)), np.array([[0, 1, -1]]), r"labels lie in -1\.\.1"),
        (np.array([[0, 0, np.nan]]), np.zeros((1, 3), bool), r"sample 0 \(1 of 1 .* hold nan"),
        (np.array([[0, 0, 1e300]]), np.zeros((1, 3), bool), "logits of sample 0 .* hold inf"),
        (np.full((1, 3), -np.inf), np.zeros((1, 3), bool), "hold only -inf"),
    ],
)
def test_what_is_not_stored(logits, labels, problem):
    with pytest.raises(RecordError, match=problem):
        store(logits, labels)


LOGITS = np.array([[0, -1, 2], [3, 3, -np.inf]], np.float32)
BITS = np.packbits(np.array([[1, 0, 1], [0, 1, 0]], bool), axis=1)
FULL = {"labels": BITS, "logits": LOGITS}
HALF = {
    "labels": BITS,
    "logits": np.array([[-2, -3, 0], [0, 0, -np.inf]], np.float16),
    "peak": np.array([2, 3], np.float32),
}
CAPPED = {
    "labels": BITS,
    "top_logits": np.array([[2, 0], [3, 3]], np.float32),
    "top_classes": np.array([[2, 0], [0, 1]], np.uint16),
}


def test_the_forms_that_the_bad_ones_are_made_of_are_good():
    for arrays in (FULL, HALF):
        np.testing.assert_array_equal(restore(arrays, 3)[0], LOGITS)
    assert restore(CAPPED, 3)[0].tolist() == [[0, -np.inf, 2], [3, 3, -np.inf]]
    for arrays in (FULL, HALF, CAPPED):
        assert restore(arrays, 3)[1].tolist() == [[True, False, True], [False, True, False]]
        assert values(evaluate({"test": arrays}, about(3, 1), Trained()))["precision[k=1]"] == 0.5


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({}, "hold no 'labels'; expected labels, logits"),
        ({"labels": BITS}, "hold no 'logits'"),
        ({"logits": LOGITS}, "hold no 'labels'"),
        ({"label": BITS, "logits": LOGITS}, "hold no 'labels'"),
        ({**CAPPED, "logits": LOGITS}, "hold 'logits' beside 'top_logits'"),
        ({**CAPPED, "peak": HALF["peak"]}, "hold 'peak' beside 'top_logits'"),
        (
            {**FULL, "logits": LOGITS[:, :2]},
            r"float32 of shape \(2, 2\), expected float32 .* \(2, 3\)",
        ),
        ({**FULL, "logits": LOGITS[:1]}, r"shape \(1, 3\)"),
        ({**FULL, "logits": LOGITS.astype(float)}, "are float64 .* expected float32"),
        ({**FULL, "logits": HALF["logits"]}, "are float16 .* expected float32 .* without 'peak'"),
        ({**FULL, "logits": LOGITS * np.nan}, "stored logits of sample 0 .* hold nan"),
        ({**FULL, "logits": np.full((2, 3), np.inf, np.float32)}, "hold inf"),
        (
            {**FULL, "labels": np.zeros((2, 2), np.uint8)},
            r"shape \(2, 2\), expected uint8 .* \(2, 1\)",
        ),
        ({**FULL, "labels": BITS.astype(int)}, "labels are int64"),
        ({**FULL, "labels": BITS > 0}, "labels are bool"),
        ({**FULL, "labels": np.array(1, np.uint8)}, r"labels are uint8 of shape \(\)"),
        ({**FULL, "labels": BITS | 1}, "bits set beyond the last of 3 labels"),
        ({k: a[:0] for k, a in FULL.items()}, "of no sample"),
        ({k: a[:0] for k, a in CAPPED.items()}, "of no sample"),
        ({**HALF, "logits": LOGITS}, "are float32 .* expected float16 .* beside 'peak'"),
        ({**HALF, "peak": np.array([2, np.nan], np.float32)}, "peak is not 2 finite float32"),
        ({**HALF, "peak": np.array([2, 3])}, "peak is not 2 finite float32"),
        ({**HALF, "peak": HALF["peak"][:1]}, "peak is not 2 finite float32"),
        (
            {**HALF, "logits": HALF["logits"] - np.float16(1)},
            "sample 0 are not less their own maximum",
        ),
        ({**HALF, "logits": HALF["logits"] * np.float16(np.nan)}, "of sample 0 .* hold nan"),
        ({k: a for k, a in CAPPED.items() if k != "top_classes"}, "hold no 'top_classes'"),
        ({**CAPPED, "top_logits": np.zeros((2, 2, 2), np.float32)}, r"expected \(N, K\)"),
        ({**CAPPED, "top_logits": np.zeros((2, 4), np.float32)}, r"expected \(2, 1 to 3\)"),
        ({**CAPPED, "top_logits": np.array([[1.0, np.nan]] * 2)}, "stored top_logits .* hold nan"),
        ({**CAPPED, "top_logits": np.array([[1.0, 2]] * 2)}, "not in descending order"),
        ({**CAPPED, "top_classes": np.zeros((2, 2))}, "top_classes are float64"),
        ({**CAPPED, "top_classes": np.array([[0, 3]] * 2)}, r"a class outside 0..2"),
        ({**CAPPED, "top_classes": np.array([[1, 1]] * 2)}, "a class twice"),
        ({**CAPPED, "top_classes": np.array([[2, 0], [1, 0]])}, "not in the order of their labels"),
    ],
)
def test_what_is_no_stored_form(arrays, problem):
    for use in (
        lambda: restore(arrays, 3),
        lambda: evaluate({"test": arrays}, about(3, 1), Trained()),
        lambda: units({"test": arrays}, about(3, 1), Trained()),
    ):
        with pytest.raises(RecordError, match=problem) as error:
            use()
        assert "\n" not in str(error.value)
