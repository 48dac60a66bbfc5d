"""Scores and stored form of `longtail-cls`: known answers, other implementations, bad arrays."""

from types import SimpleNamespace

import numpy as np
import pytest
from cls_scores import (
    LABEL,
    LOGITS,
    NAMES,
    THREE,
    naive_auc,
    naive_ece,
    plain_settings,
    small_caps,  # noqa: F401
    softmax,
    values,
)
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from suite.base.errors import RecordError, UserError
from suite.define.task import Trained
from tasks.longtail_cls.evaluation import (
    calibration_error,
    class_auc,
    evaluate,
    settings,
)
from tasks.vision import stored
from tasks.vision.groups import resolve_groups
from tasks.vision.stored import restore, store


def scores(logits, label, about=THREE, trained=None):
    return values(evaluate({"test": store(logits, label)}, about, trained or Trained()))


def sample(samples=200, classes=6, seed=0, present=None):
    """Logits that know a little of the labels; only the classes `present` have samples."""
    generator = np.random.default_rng(seed)
    label = generator.choice(present if present is not None else classes, samples)
    logits = generator.normal(size=(samples, classes))
    logits[np.arange(samples), label] += 1
    return logits.astype(np.float32), label


# -- known answers


def test_accuracies_by_hand():
    found = scores(LOGITS, LABEL)
    recall = [2 / 3, 1 / 2, 1]
    assert found["top1"] == pytest.approx(4 / 6)
    assert found["balanced_accuracy"] == pytest.approx(sum(recall) / 3)
    assert found["worst_class"] == 0.5
    assert found["g_mean"] == pytest.approx((1 / 3) ** (1 / 3))
    assert found["h_mean"] == pytest.approx(3 / (1.5 + 2 + 1))
    assert [found[f"top1[group={g}]"] for g in THREE["groups"]] == pytest.approx(recall)
    rows = evaluate({"test": store(LOGITS, LABEL)}, THREE, Trained())
    by_class = {row.class_: row.value for row in rows if row.metric == "recall"}
    assert by_class == pytest.approx(dict(zip(NAMES, recall, strict=True)))


def test_group_accuracy_is_the_mean_over_classes_not_over_images():
    about = plain_settings(3, head=[0, 1])
    # 2 of 3 and 1 of 2: by images 3 of 5
    assert scores(LOGITS, LABEL, about)["top1[group=head]"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_likelihood_and_auc_by_hand():
    logits = np.log(np.array([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.1, 0.9]]))
    found = scores(logits, np.array([0, 0, 1, 1]), plain_settings(2, tail=[1]))
    assert found["nll"] == pytest.approx(-np.log([0.5, 0.2, 0.5, 0.9]).mean())
    # class 0: 0.5 against 0.5 (a tie) and 0.1, 0.2 against 0.5 and 0.1: 2.5 of 4, both ways
    assert found["auc_ovo"] == found["auc_ovo[group=tail]"] == 2.5 / 4


def test_a_recall_of_zero_makes_both_means_zero():
    found = scores(np.eye(2)[[0, 0, 0]], np.array([0, 0, 1]), plain_settings(2))
    assert (found["g_mean"], found["h_mean"], found["worst_class"]) == (0, 0, 0)
    assert found["balanced_accuracy"] == 0.5


def test_of_equal_logits_the_lowest_class_is_predicted():
    assert scores(np.zeros((2, 3)), np.array([0, 1]))["top1"] == 0.5


def test_confidence_on_an_edge_falls_into_the_bin_below():
    # 1/3 closes bin 5 together with 0.3: 0.3 + 1/3 - 1; apart from it the sum would be larger
    confidence, correct = np.array([0.3, 5 / 15]), np.array([False, True])
    assert calibration_error(confidence, correct) == pytest.approx(abs(0.3 + 1 / 3 - 1) / 2)
    # ... and 0.34 opens the next
    confidence = np.array([0.3, 0.34])
    assert calibration_error(confidence, correct) == pytest.approx((0.3 + 0.66) / 2)
    assert calibration_error(np.array([]), np.array([], bool)) is None


def test_on_a_balanced_test_set_top1_is_the_weighted_mean_of_the_groups():
    counts = [int(500 * 0.01 ** (c / 99)) for c in range(100)]
    about = {**plain_settings(100), "group_thresholds": [100, 20]}
    logits, _ = sample(2000, 100)
    label = np.repeat(np.arange(100), 20)
    logits[np.arange(2000), label] += 2
    found = scores(logits, label, about, Trained(class_counts=tuple(counts)))
    head, medium, tail = (found[f"top1[group={g}]"] for g in ("head", "medium", "tail"))
    assert found["top1"] == pytest.approx((35 * head + 35 * medium + 30 * tail) / 100)
    assert found["top1"] == pytest.approx(found["balanced_accuracy"])
    assert 0.1 < found["top1"] < 0.9


# -- against other implementations


@pytest.mark.parametrize("seed", range(3))
def test_calibration_is_that_of_a_plain_loop(seed):
    logits, label = sample(300, 5, seed)
    found = scores(logits, label, plain_settings(5, tail=[1, 4]))
    assert found["ece"] == pytest.approx(naive_ece(logits, label))
    tail = np.isin(label, [1, 4])
    assert found["ece[group=tail]"] == pytest.approx(naive_ece(logits[tail], label[tail]))


def tied(samples=200, classes=5):
    """Samples drawn from nine distinct rows, among them probabilities of exactly 0 and 1."""
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(9, classes))
    rows[0, 2] = 900
    return rows[generator.integers(9, size=samples)].astype(np.float32)


AUC_CASES = {
    "random": sample(200, 5),
    "ties": (tied(), sample(200, 5)[1]),
    "classes missing": sample(150, 6, present=[0, 2, 5]),
    "one sample of a class": (sample(50, 3)[0], np.array([2] + [0, 1] * 24 + [0])),
    "binary": sample(80, 2),
}


@pytest.mark.parametrize("case", AUC_CASES)
def test_auc_is_that_of_all_pairs_and_of_sklearn(case):
    logits, label = AUC_CASES[case]
    classes = logits.shape[1]
    found = scores(logits, label, plain_settings(classes, odd=list(range(1, classes, 2))))
    pairs = naive_auc(logits, label)
    assert found["auc_ovo"] == pytest.approx(np.nanmean(pairs), abs=1e-12)
    odd = found["auc_ovo[group=odd]"]
    assert odd == (
        pytest.approx(np.nanmean(pairs[1::2]), abs=1e-12)
        if np.isin(label, [1, 3, 5]).any()
        else None
    )
    if case != "binary":  # sklearn takes no (N, 2) scores
        theirs = roc_auc_score(
            label, softmax(logits), multi_class="ovo", average="macro", labels=range(classes)
        )
        assert found["auc_ovo"] == pytest.approx(theirs, abs=1e-12)


def test_auc_does_not_depend_on_how_classes_are_blocked(monkeypatch):
    logits, label = sample(100, 7, present=[0, 1, 3, 4, 6])
    whole = class_auc(logits, label)
    monkeypatch.setattr(stored, "_BLOCK", 200)
    np.testing.assert_array_equal(class_auc(logits, label), whole)
    assert np.isnan(whole[[2, 5]]).all()
    pairs = naive_auc(logits, label)[[0, 1, 3, 4, 6]]
    np.testing.assert_allclose(whole[[0, 1, 3, 4, 6]], np.nanmean(pairs, axis=1))


# -- invariances


@given(seed=st.integers(0, 10_000), order=st.permutations(range(5)))
@examples(max_examples=30, deadline=None)
def test_renaming_classes_changes_nothing(seed, order):
    logits, label = sample(60, 5, seed)
    before = scores(logits, label, plain_settings(5, head=[0, 3], tail=[4]))
    place = np.argsort(order)  # class c is now place[c]
    after = scores(
        logits[:, order],
        place[label],
        plain_settings(5, head=[place[0], place[3]], tail=[place[4]]),
    )
    assert after == pytest.approx(before)


@given(seed=st.integers(0, 10_000))
@examples(max_examples=30, deadline=None)
def test_a_constant_per_sample_changes_nothing(seed):
    logits, label = sample(60, 3, seed)
    generator = np.random.default_rng(seed)
    # steps of 1/8: float32 holds the sums exactly
    logits = np.round(logits * 8) / 8
    shifted = logits + generator.integers(-1000, 1000, size=(60, 1))
    assert scores(shifted, label) == scores(logits, label)


# -- undefined values


def test_classes_and_groups_without_samples_are_null():
    rows = evaluate({"test": store(LOGITS[:5], LABEL[:5])}, THREE, Trained())
    found = values(rows)
    assert found["top1[group=tail]"] is found["ece[group=tail]"] is None
    assert found["auc_ovo[group=tail]"] is None
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["g_mean"] == pytest.approx((2 / 3 * 1 / 2) ** (1 / 2))
    assert found["h_mean"] == pytest.approx(2 / (1.5 + 2))
    assert {row.class_: row.value for row in rows if row.metric == "recall"}["c"] is None


def test_a_single_class_has_no_auc_and_a_likelihood_of_zero_is_null():
    logits = np.array([[0, -np.inf, 0], [1, 0, 0]], np.float32)
    found = scores(logits, np.array([1, 1]))
    assert found["auc_ovo"] is found["nll"] is None
    assert found["top1"] == 0


# -- sets and adapted scores


def test_other_sets_carry_their_name():
    sets = {"test": store(LOGITS, LABEL), "val": store(LOGITS[:3], LABEL[:3])}
    found = values(evaluate(sets, THREE, Trained()))
    assert found["top1"] == pytest.approx(4 / 6)
    assert found["top1[split=val]"] == pytest.approx(2 / 3)
    assert found["ece[group=head,split=val]"] == found["ece[split=val]"]


def test_adapted_scores_are_the_main_rows_and_the_stored_ones_stand_beside():
    asked = []

    def infer(arrays, prior=None, unlabelled=None):
        asked.append((sorted(arrays), prior.tolist(), unlabelled))
        arrays["logits"][:, 0] -= 10  # in place: the stored logits must survive it
        return arrays["logits"]

    sets = {"test": store(LOGITS, LABEL), "val": store(LOGITS, LABEL)}
    rows = evaluate(sets, THREE, Trained(infer=infer))
    found = values(rows)
    # told the label distribution of the set
    shares = (np.bincount(LABEL, minlength=3) / len(LABEL)).tolist()
    assert asked == [(["logits"], shares, None)] * 2
    # without class 0: 1 1 1 | 1 1 | 2
    assert found["top1"] == found["top1[split=val]"] == pytest.approx(3 / 6)
    assert found["top1[group=head]"] == 0
    plain, adapted = scores(LOGITS, LABEL), scores(LOGITS - [10, 0, 0], LABEL)
    for key, value in plain.items():
        metric, _, group = key.partition("[")
        where = group.rstrip("]")
        assert found[key] == adapted[key]
        unadapted = ",".join(filter(None, [where, "scores=unadapted"]))
        assert found[f"{metric}[{unadapted}]"] == value
        assert found[f"{metric}[{unadapted},split=val]"] == value
    np.testing.assert_array_equal(sets["test"]["logits"], LOGITS)
    keys = [(row.metric, row.subset, row.class_) for row in rows]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (np.zeros((6, 2)), r"float64 of shape \(6, 2\), expected floats of shape \(6, 3\)"),
        (np.zeros((6, 3), int), "are int64"),
        (None, "are object"),
        (np.full((6, 3), np.nan), r"sample 0 \(6 of 6 samples\) hold nan"),
        (np.array([[0, 0, 0]] * 5 + [[0, np.inf, 0]]), r"sample 5 \(1 of 6 samples\) hold inf"),
        (np.array([[0.0, -np.inf, 0]] * 5 + [[-np.inf] * 3]), "sample 5 .* hold only -inf"),
    ],
)
def test_bad_adapted_scores(result, problem):
    trained = Trained(infer=lambda arrays, prior, unlabelled: result)
    with pytest.raises(RecordError, match=r"infer\(\) returned .*" + problem):
        evaluate({"test": store(LOGITS, LABEL)}, THREE, trained)


# -- settings and groups


def test_settings_hold_classes_and_groups_or_thresholds():
    data = SimpleNamespace(
        name="d", classes=("a", "b"), groups={"head": (0,), "tail": (1,)}, group_rule="by hand"
    )
    protocol = SimpleNamespace(dataset=data)
    grouped = {"classes": ["a", "b"], "groups": {"head": [0], "tail": [1]}, "group_rule": "by hand"}
    assert settings(protocol) == grouped
    data.groups, data.group_thresholds = {}, (100, 20)
    assert settings(protocol) == {**grouped, "groups": {}, "group_thresholds": [100, 20]}
    data.group_thresholds = None
    with pytest.raises(UserError, match="'d' has neither groups nor group_thresholds"):
        settings(protocol)


def test_groups_by_counts_are_strict_at_both_ends():
    about = {**plain_settings(5), "group_thresholds": [100, 20]}
    expected = {"head": [0], "medium": [1, 2, 3], "tail": [4]}
    assert resolve_groups(about, (101, 100, 50, 20, 19)) == expected
    assert resolve_groups(THREE, ()) == THREE["groups"]
    assert resolve_groups(plain_settings(5), (101, 100, 50, 20, 19)) == {}
    with pytest.raises(RecordError, match="counts of 0 classes, the groups need those of 5"):
        resolve_groups(about, ())


def test_float32_is_stored_as_it_is():
    logits, label = sample(50, 4)
    arrays = store(logits, label)
    assert {k: (a.dtype, a.shape) for k, a in arrays.items()} == {
        "label": (np.int32, (50,)),
        "logits": (np.float32, (50, 4)),
    }
    np.testing.assert_array_equal(restore(arrays, 4), logits)


def test_float16_keeps_predictions_and_probabilities(small_caps):
    logits, label = sample(200, 5)
    logits[0] = [1000, 1000.1, 0, 0, 0]  # one number in float16, were it not for the shift
    logits[1] = [1e6, 0, -np.inf, 0, 0]
    full = scores(logits, label, plain_settings(5))
    small_caps(10, 10_000, 256)
    arrays = store(logits, label)
    assert arrays["logits"].dtype == np.float16
    restored = restore(arrays, 5)
    assert restored.dtype == np.float32
    np.testing.assert_array_equal(restored.argmax(1), logits.argmax(1))
    np.testing.assert_allclose(softmax(restored), softmax(logits), atol=2e-3)
    assert restored[1].tolist() == [0, -65504, -np.inf, -65504, -65504]
    half = scores(logits, label, plain_settings(5))
    for key in ("top1", "balanced_accuracy", "worst_class"):
        assert half[key] == full[key]


def test_the_cap_keeps_the_largest_in_order(small_caps):
    logits, label = sample(90, 8)
    logits = np.round(logits * 2) / 2  # many ties, at the last place too
    small_caps(10, 700, 3)
    arrays = store(logits, label)
    assert {k: (a.dtype, a.shape) for k, a in arrays.items()} == {
        "label": (np.int32, (90,)),
        "top_logits": (np.float32, (90, 3)),
        "top_classes": (np.uint16, (90, 3)),
        "logsumexp": (np.float32, (90,)),
    }
    order = np.argsort(-logits, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(arrays["top_classes"], order)
    np.testing.assert_array_equal(arrays["top_logits"], np.take_along_axis(logits, order, 1))
    np.testing.assert_allclose(
        arrays["logsumexp"], np.log(np.exp(logits.astype(float)).sum(1)), rtol=1e-6
    )
    restored = restore(arrays, 8)
    kept = np.zeros(logits.shape, bool)
    np.put_along_axis(kept, order, True, axis=1)
    np.testing.assert_array_equal(restored, np.where(kept, logits, -np.inf))


def test_the_cap_changes_no_score_that_it_allows(small_caps):
    logits, label = sample(300, 8)
    logits[0] = 0  # every class ties
    about = plain_settings(8, tail=[6, 7])
    full = scores(logits, label, about)
    small_caps(10, 1000, 5)
    capped = scores(logits, label, about)
    assert full.keys() - capped.keys() == {"auc_ovo", "auc_ovo[group=tail]"}
    assert capped.pop("nll") is None  # some true classes were not kept
    for key, value in capped.items():
        assert value == pytest.approx(full[key], abs=1e-6 if "ece" in key else 0)
    small_caps(10, 1000, 8)
    assert scores(logits, label, about)["nll"] == pytest.approx(full["nll"], abs=1e-6)


def test_adapting_capped_scores_sees_the_kept_classes(small_caps):
    logits, label = sample(300, 8)
    small_caps(10, 1000, 5)

    def infer(arrays, prior, unlabelled):
        assert (np.isfinite(arrays["logits"]).sum(1) == 5).all()
        return arrays["logits"] - np.arange(8.0)

    arrays = store(logits, label)
    found = values(evaluate({"test": arrays}, plain_settings(8), Trained(infer=infer)))
    adapted = (restore(arrays, 8) - np.arange(8)).argmax(1)
    assert found["top1"] == pytest.approx((adapted == label).mean())
    # the classes that were dropped would be adapted too: their mass is not known
    assert found["ece"] is found["nll"] is None
    assert found["ece[scores=unadapted]"] == pytest.approx(naive_ece(logits, label), abs=1e-6)


def test_rows_of_a_stored_set_are_a_stored_set(small_caps):
    logits, label = sample(300, 8)
    chosen = np.arange(0, 300, 7)
    full = scores(logits[chosen], label[chosen], plain_settings(8))
    small_caps(10, 1000, 5)
    some = {key: array[chosen] for key, array in store(logits, label).items()}
    capped = values(evaluate({"test": some}, plain_settings(8), Trained()))
    assert capped["balanced_accuracy"] == pytest.approx(full["balanced_accuracy"])


def test_a_logsumexp_rounded_below_the_largest_logit_is_a_probability_of_one():
    certain = {
        "label": np.array([1]),
        "top_logits": np.array([[1, -90]], np.float32),
        "top_classes": np.array([[1, 0]], np.uint16),
        "logsumexp": np.nextafter(np.array([1], np.float32), np.float32(0)),
    }
    found = values(evaluate({"test": certain}, THREE, Trained()))
    assert (found["nll"], found["ece"]) == (0, 0)


def test_many_classes_need_wider_numbers(small_caps):
    small_caps(1, 1, 2)
    logits = np.zeros((1, (1 << 16) + 1), np.float32)
    logits[0, -1] = 1
    arrays = store(logits, np.array([1 << 16]))
    assert arrays["top_classes"].dtype == np.int32
    assert arrays["top_classes"].tolist() == [[1 << 16, 0]]


@pytest.mark.parametrize(
    ("logits", "label", "problem"),
    [
        (np.zeros(3), np.zeros(3, int), r"logits have shape \(3,\), expected \(N, C\)"),
        (np.zeros((2, 3), int), np.zeros(2, int), "logits are int64"),
        (np.zeros((2, 3)), np.zeros(3, int), r"labels are int64 of shape \(3,\).* shape \(2,\)"),
        (np.zeros((2, 3)), np.zeros(2), "labels are float64"),
        (np.zeros((0, 3)), np.zeros(0, int), "of no sample"),
        (np.zeros((2, 3)), np.array([0, 3]), r"labels lie in 0..3, expected 0..2"),
        (np.zeros((2, 3)), np.array([-1, 2]), r"labels lie in -1..2, expected 0..2"),
        (np.array([[0, 0, np.nan]]), np.array([0]), r"logits of sample 0 \(1 of 1 .* hold nan"),
        (np.array([[0, 0, 1e300]]), np.array([0]), "logits of sample 0 .* hold inf"),
        (np.full((1, 3), -np.inf), np.array([0]), "hold only -inf"),
    ],
)
def test_what_is_not_stored(logits, label, problem):
    with pytest.raises(RecordError, match=problem):
        store(logits, label)


FULL = {"label": LABEL, "logits": LOGITS}
CAPPED = {
    "label": np.array([0, 2]),
    "top_logits": np.array([[2, 1], [3, 3]], np.float32),
    "top_classes": np.array([[0, 2], [1, 2]], np.uint16),
    "logsumexp": np.array([2.5, 4], np.float32),
}


def test_the_forms_that_the_bad_ones_are_made_of_are_good():
    assert restore(FULL, 3).shape == (6, 3)
    assert restore(CAPPED, 3).tolist() == [[2, -np.inf, 1], [-np.inf, 3, 3]]
    found = values(evaluate({"test": CAPPED}, THREE, Trained()))
    assert found["top1"] == 0.5
    assert found["nll"] == pytest.approx((0.5 + 1) / 2)
    swapped = {**CAPPED, "top_classes": np.array([[0, 2], [2, 1]], np.uint16)}
    assert values(evaluate({"test": swapped}, THREE, Trained()))["top1"] == 0.5


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({}, "hold no 'label'; expected label, logits"),
        ({"label": LABEL}, "hold no 'logits'"),
        ({**CAPPED, "logits": LOGITS}, "hold both full and capped logits"),
        ({**FULL, "logits": LOGITS[:, :2]}, r"shape \(6, 2\), expected floats of shape \(6, 3\)"),
        ({**FULL, "logits": LOGITS[:5]}, r"shape \(5, 3\)"),
        ({**FULL, "logits": LOGITS * np.nan}, "stored logits of sample 0 .* hold nan"),
        ({**FULL, "label": LABEL + 1}, r"labels lie in 1..3, expected 0..2"),
        ({**FULL, "label": np.array(1)}, "labels are int64 of shape"),
        ({k: a[:0] for k, a in FULL.items()}, "of no sample"),
        ({k: a for k, a in CAPPED.items() if k != "logsumexp"}, "hold no 'logsumexp'"),
        ({**CAPPED, "top_logits": np.zeros((2, 4), np.float32)}, r"expected \(2, 1 to 3\)"),
        ({**CAPPED, "top_logits": np.zeros((2, 0), np.float32)}, r"expected \(2, 1 to 3\)"),
        ({**CAPPED, "top_logits": np.array([[1.0, np.nan]] * 2)}, "stored top_logits .* hold nan"),
        ({**CAPPED, "top_logits": np.array([[1.0, 2]] * 2)}, "not in descending order"),
        ({**CAPPED, "top_classes": np.zeros((2, 2))}, "top_classes are float64"),
        ({**CAPPED, "top_classes": np.array([[0, 1, 2]] * 2)}, r"integers of shape \(2, 2\)"),
        ({**CAPPED, "top_classes": np.array([[0, 3]] * 2)}, r"a class outside 0..2"),
        ({**CAPPED, "top_classes": np.array([[-1, 0]] * 2)}, r"a class outside 0..2"),
        ({**CAPPED, "top_classes": np.array([[1, 1]] * 2)}, "a class twice"),
        ({**CAPPED, "logsumexp": np.zeros((2, 1))}, "logsumexp is not 2 finite floats"),
        ({**CAPPED, "logsumexp": np.array([2.5, np.inf])}, "logsumexp is not 2 finite floats"),
        ({**CAPPED, "logsumexp": np.array([1.9, 4])}, "logsumexp is below the largest logit"),
    ],
)
def test_what_is_no_stored_form(arrays, problem):
    for use in (
        lambda: restore(arrays, 3),
        lambda: evaluate({"test": arrays}, THREE, Trained()),
    ):
        with pytest.raises(RecordError, match=problem):
            use()
