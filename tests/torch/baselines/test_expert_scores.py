"""Stored logits of experts, (N, E, C): the stored forms, the scores, what methods adapt to."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cls_scores import (
    LABEL,
    THREE,
    naive_auc,
    naive_ece,
    plain_settings,
    small_caps,  # noqa: F401
    softmax,
    values,
)
from cls_training import train
from mmengine.registry import DATASETS, HOOKS

from baselines.test_agnostic import sade
from suite.base.errors import RecordError
from suite.define.task import Trained
from tasks.longtail_cls.evaluation import evaluate
from tasks.longtail_cls.sharpness import choose
from tasks.vision.predicted import adapted, restore_views
from tasks.vision.stored import checked, plain, restore, store


def sample(samples=200, classes=6, seed=0, experts=3, sharp=1.0):
    """Logits (N, E, C) of experts of which each knows a little more than the one before."""
    rng = np.random.default_rng(seed)
    label = rng.integers(classes, size=samples)
    logits = rng.normal(size=(samples, experts, classes))
    logits[np.arange(samples), :, label] += np.linspace(0.2, 1.5, experts)
    return (sharp * logits).astype(np.float32), label


# -- the stored form


@pytest.mark.parametrize("experts", [1, 2, 3, 7])
def test_float32_is_stored_as_it_is(experts):
    logits, label = sample(50, 4, experts=experts)
    arrays = store(logits, label)
    assert {k: (a.dtype, a.shape) for k, a in arrays.items()} == {
        "label": (np.int32, (50,)),
        "logits": (np.float32, (50, experts, 4)),
    }
    restored = restore(arrays, 4)
    np.testing.assert_array_equal(restored, logits)
    restored[:] = 0  # a copy
    np.testing.assert_array_equal(arrays["logits"], logits)
    found, capped = checked(arrays, 4)
    assert found.tolist() == label.tolist() and not capped


def test_plain_scores_are_the_mean_over_experts():
    logits, _ = sample(9)
    np.testing.assert_allclose(plain(logits), sum(logits[:, k] for k in range(3)) / 3, rtol=1e-5)
    np.testing.assert_array_equal(plain(logits[:, :1]), logits[:, 0])
    assert plain(logits[:, 0]) is not None
    np.testing.assert_array_equal(plain(logits[:, 0]), logits[:, 0])


def test_the_size_that_counts_is_that_of_all_experts(small_caps):
    logits, label = sample(10, 4)  # 120 values
    small_caps(119, 10_000, 256)
    assert store(logits, label)["logits"].dtype == np.float16
    small_caps(120, 10_000, 256)
    assert store(logits, label)["logits"].dtype == np.float32
    small_caps(10, 119, 256)
    assert "top_logits" in store(logits, label)
    small_caps(10, 120, 256)
    assert "logits" in store(logits, label)


def test_float16_keeps_predictions_and_probabilities(small_caps):
    logits, label = sample(200, 5)
    # one number in float16, were not each expert's own largest taken off
    logits[0, 0] = [1000, 1000.1, 0, 0, 0]
    logits[0, 1:] = 0
    logits[1, 2] = [1e6, 0, -np.inf, 0, 0]
    full = values(evaluate({"test": store(logits, label)}, plain_settings(5), Trained()))
    small_caps(10, 10_000, 256)
    arrays = store(logits, label)
    assert arrays["logits"].dtype == np.float16 and arrays["logits"].shape == (200, 3, 5)
    restored = restore(arrays, 5)
    assert restored.dtype == np.float32
    assert (restored.max(-1) == 0).all()
    np.testing.assert_array_equal(restored.argmax(-1), logits.argmax(-1))
    np.testing.assert_array_equal(plain(restored).argmax(1), plain(logits).argmax(1))
    assert restored[1, 2].tolist() == [0, -65504, -np.inf, -65504, -65504]
    # of every weighted sum of the experts, the mean among them
    for weights in ([1 / 3] * 3, [0.7, 0.2, 0.1]):
        mixed = [np.einsum("e,nec->nc", weights, x[2:]) for x in (restored, logits)]
        np.testing.assert_allclose(*map(softmax, mixed), atol=2e-3)
    half = values(evaluate({"test": arrays}, plain_settings(5), Trained()))
    for key in ("top1", "balanced_accuracy", "worst_class"):
        assert half[key] == full[key]


def test_the_cap_keeps_the_classes_with_the_largest_mean(small_caps):
    logits, label = sample(90, 8)
    logits = np.round(logits * 2) / 2  # exact in float16, and with many ties
    small_caps(10, 700, 3)
    arrays = store(logits, label)
    assert {k: (a.dtype, a.shape) for k, a in arrays.items()} == {
        "label": (np.int32, (90,)),
        "top_logits": (np.float32, (90, 3, 3)),
        "top_classes": (np.uint16, (90, 3)),
        "logsumexp": (np.float32, (90,)),
    }
    mean = logits.mean(1)
    order = np.argsort(-mean, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(arrays["top_classes"], order)
    for k in range(3):
        own = np.take_along_axis(logits[:, k], order, axis=1)
        np.testing.assert_array_equal(arrays["top_logits"][:, k], own)
    np.testing.assert_allclose(
        arrays["logsumexp"], np.log(np.exp(mean.astype(float)).sum(1)), rtol=1e-6
    )
    restored = restore(arrays, 8)
    kept = np.zeros((90, 8), bool)
    np.put_along_axis(kept, order, True, axis=1)
    np.testing.assert_array_equal(restored, np.where(kept[:, None], logits, -np.inf))


@pytest.mark.parametrize("sharp", [1.0, 1e-4, 1e4])
@pytest.mark.parametrize("experts", [2, 3, 9])
def test_what_is_stored_capped_can_be_read(small_caps, experts, sharp):
    logits, label = sample(100, 40, experts=experts, sharp=sharp)
    logits[:, 0] -= logits[:, 1]  # experts that cancel out leave little of the mean
    small_caps(10, 700, 25)
    restored = restore(store(logits, label), 40)
    assert (np.isfinite(restored).sum(-1) == 25).all()


def test_half_precision_of_experts_can_be_read(small_caps):
    logits, label = sample(200, 60, sharp=10.0)
    small_caps(10, 700, 50)
    assert restore(store(logits.astype(np.float16), label), 60).shape == (200, 3, 60)


@pytest.mark.filterwarnings("error")
def test_few_classes_with_finite_logits(small_caps):
    logits, label = sample(100, 8)
    label %= 2
    logits[:, :, 2:] = -np.inf
    small_caps(10, 700, 4)
    restored = restore(store(logits, label), 8)
    np.testing.assert_array_equal(restored, logits)


def test_the_cap_changes_no_score_that_it_allows(small_caps):
    logits, label = sample(300, 8)
    logits[0] = 0  # every class ties
    about = plain_settings(8, tail=[6, 7])
    full = values(evaluate({"test": store(logits, label)}, about, Trained()))
    small_caps(10, 1000, 5)
    arrays = store(logits, label)
    capped = values(evaluate({"test": arrays}, about, Trained()))
    assert full.keys() - capped.keys() == {"auc_ovo", "auc_ovo[group=tail]"}
    assert capped.pop("nll") is None
    for key, value in capped.items():
        assert value == pytest.approx(full[key], abs=1e-6 if "ece" in key else 0), key
    # rows chosen from a stored set are one
    chosen = {key: array[::7] for key, array in arrays.items()}
    some = values(evaluate({"test": chosen}, about, Trained()))
    assert some["top1"] == (plain(logits).argmax(1) == label)[::7].mean()


@pytest.mark.parametrize(
    ("logits", "problem"),
    [
        (np.zeros((2, 3, 3, 1)), r"shape \(2, 3, 3, 1\), expected \(N, C\) or \(N, E, C\)"),
        (np.zeros((2, 2, 3), int), "logits are int64"),
        (np.zeros((3, 2, 3)), r"expected integers of shape \(3,\)"),
        (np.zeros((2, 0, 3)), "expected"),
        (np.zeros((2, 2, 1)), r"labels lie in 0\.\.1, expected 0\.\.0"),
        (np.array([[[0, 0.0], [0, np.nan]], [[0, 0], [0, 0]]]), r"sample 0 \(1 of 2 .* hold nan"),
        (np.array([[[0, 0.0], [0, 0]], [[np.inf, 0], [0, 0]]]), r"sample 1 .* hold inf"),
        # the mean of the other experts would hide it
        (np.array([[[0, 0.0], [0, 0]], [[0, 0], [-np.inf, -np.inf]]]), "sample 1 .* only -inf"),
        (np.array([[[np.inf, 0], [-np.inf, 0.0]]] * 2), "sample 0 .* hold inf"),
    ],
)
def test_what_is_not_stored(logits, problem):
    with pytest.raises(RecordError, match=problem):
        store(logits, np.array([0, 1]))


FULL = {"label": LABEL, "logits": np.arange(54.0, dtype=np.float32).reshape(6, 3, 3) % 7}
CAPPED = {
    "label": np.array([0, 2]),
    "top_logits": np.array([[[3, 0], [1, 2]], [[5, 3], [1, 3]]], np.float32),
    "top_classes": np.array([[0, 2], [1, 2]], np.uint16),
    "logsumexp": np.array([2.5, 4], np.float32),
}


def test_the_forms_that_the_bad_ones_are_made_of_are_good():
    assert restore(FULL, 3).shape == (6, 3, 3)
    none = -np.inf
    assert restore(CAPPED, 3).tolist() == [
        [[3, none, 0], [1, none, 2]],
        [[none, 5, 3], [none, 1, 3]],
    ]
    found = values(evaluate({"test": CAPPED}, THREE, Trained()))
    # means (2, 1) and (3, 3): of equal ones the lower class, which is wrong
    assert found["top1"] == 0.5
    assert found["nll"] == pytest.approx((0.5 + 1) / 2)


LOST = np.array([[[3, 0], [1, -np.inf]], [[5, 3], [-np.inf] * 2]], np.float32)
UNORDERED = np.array([[[-np.inf, 9], [1, 2]], [[5, 3], [1, 3]]], np.float32)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({**FULL, "logits": FULL["logits"][:, :0]}, r"expected floats of shape \(6, 3\)"),
        ({**FULL, "logits": FULL["logits"][:, :, :2]}, r"expected floats of shape \(6, 3, 3\)"),
        ({**FULL, "logits": FULL["logits"][:5]}, r"expected floats of shape \(6, 3, 3\)"),
        ({**FULL, "logits": FULL["logits"][:, None]}, r"shape \(6, 1, 3, 3\), expected"),
        ({**FULL, "logits": FULL["logits"] * np.nan}, "stored logits of sample 0 .* hold nan"),
        ({**CAPPED, "top_logits": np.zeros((2, 2, 4), np.float32)}, r"\(2, E, 1 to 3\)"),
        ({**CAPPED, "top_logits": np.zeros((2, 2, 0), np.float32)}, r"\(2, E, 1 to 3\)"),
        ({**CAPPED, "top_logits": np.zeros((2, 0, 2), np.float32)}, r"expected"),
        ({**CAPPED, "top_logits": np.zeros((2, 1, 2, 2), np.float32)}, r"\(2, E, 1 to 3\)"),
        ({**CAPPED, "top_logits": CAPPED["top_logits"].astype(int)}, "top_logits are int64"),
        ({**CAPPED, "top_logits": CAPPED["top_logits"][..., ::-1]}, "not in descending order"),
        ({**CAPPED, "top_logits": UNORDERED}, "not in descending order"),
        ({**CAPPED, "top_logits": LOST}, r"top_logits of sample 1 .* only -inf"),
        ({**CAPPED, "top_classes": np.zeros((2, 2, 2), int)}, r"integers of shape \(2, 2\)"),
        ({**CAPPED, "top_classes": np.array([[1, 1]] * 2)}, "a class twice"),
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


# -- scores


def test_rows_are_those_of_the_mean():
    logits, label = sample(300, 5)
    about = plain_settings(5, head=[0, 1], tail=[4])
    found = evaluate({"test": store(logits, label)}, about, Trained())
    assert found == evaluate({"test": store(logits.mean(1), label)}, about, Trained())
    rows = values(found)
    mean = logits.mean(1)
    assert rows["top1"] == (mean.argmax(1) == label).mean()
    assert rows["ece"] == pytest.approx(naive_ece(mean, label))
    assert rows["auc_ovo"] == pytest.approx(np.nanmean(naive_auc(mean, label)), abs=1e-12)
    # not those of an expert, nor of the mean of their probabilities
    single = values(evaluate({"test": store(logits[:, 2], label)}, about, Trained()))
    assert single["nll"] != rows["nll"]
    shares = -np.log(np.mean([softmax(logits[:, k]) for k in range(3)], axis=0))
    assert rows["nll"] != pytest.approx(shares[np.arange(300), label].mean(), abs=1e-4)


def views_of(logits, label, count=2, seed=1):
    """Prediction sets `view=1` ... of the same images, telling apart view and expert."""
    rng = np.random.default_rng(seed)
    made = {}
    for k in range(1, count + 1):
        noisy = logits + 0.5 * rng.normal(size=logits.shape)
        made[f"view={k}"] = store(noisy.astype(np.float32), label)
    return made


class Asked:
    """An `infer` that notes what it was given and weighs the experts."""

    def __init__(self, weights=(0.1, 0.2, 0.7)):
        self.calls, self.weights = [], np.array(weights, np.float32)

    def __call__(self, arrays, prior=None, unlabelled=None):
        self.calls.append((arrays, prior, unlabelled))
        scores = np.tensordot(self.weights, arrays["logits"], 1)
        arrays["logits"][:] = 0  # in place: the stored logits must survive it
        return scores


def test_a_method_is_given_the_experts_first():
    logits, _ = sample(40, 5)
    infer = Asked()
    prior = np.full(5, 0.2)
    views = np.stack([logits + k for k in range(4)])
    scores = adapted(Trained(infer=infer), logits, prior, views)
    ((arrays, told, unlabelled),) = infer.calls
    assert sorted(arrays) == sorted(unlabelled) == ["logits"]
    assert arrays["logits"].shape == (3, 40, 5)
    assert unlabelled["logits"].shape == (3, 4, 40, 5)
    assert told is prior
    np.testing.assert_allclose(scores, np.einsum("e,nec->nc", infer.weights, logits), rtol=1e-5)
    assert np.abs(logits).min() > 0
    for k in range(3):
        for v in range(4):
            np.testing.assert_array_equal(unlabelled["logits"][k, v], logits[:, k] + v)
    # no experts, no views
    infer = Asked([1.0] * 40)
    with pytest.raises(RecordError, match=r"infer\(\) returned"):
        adapted(Trained(infer=infer), logits[:, 0], prior, None)
    assert infer.calls[0][0]["logits"].shape == (40, 5) and infer.calls[0][2] is None
    # a single network has views too
    given = []
    plain_infer = lambda arrays, prior, unlabelled: given.append(unlabelled) or arrays["logits"]  # noqa: E731
    adapted(Trained(infer=plain_infer), logits[:, 0], prior, views[:, :, 0])
    assert given[0]["logits"].shape == (4, 40, 5)


def test_adapted_scores_have_no_expert():
    logits, label = sample(6, 3)
    trained = Trained(infer=lambda arrays, prior, unlabelled: arrays["logits"])
    with pytest.raises(RecordError, match=r"shape \(3, 6, 3\), expected floats of shape \(6, 3\)"):
        evaluate({"test": store(logits, label)}, THREE, trained)


def test_scores_adapted_to_views_stand_beside_those_of_the_mean():
    logits, label = sample(300, 5)
    about = plain_settings(5, tail=[4])
    infer = Asked()
    views = views_of(logits, label, 3)
    sets = {"test": store(logits, label), "train": store(logits[:60], label[:60]), **views}
    rows = evaluate(sets, about, Trained(infer=infer, adapts=True))
    keys = [(row.metric, row.subset, row.class_) for row in rows]
    assert len(keys) == len(set(keys))
    found = values(rows)
    # asked for the test set alone: other sets have no views
    ((_, prior, unlabelled),) = infer.calls
    assert prior == pytest.approx(np.bincount(label, minlength=5) / 300)
    for v in range(3):
        stored = views[f"view={v + 1}"]["logits"]
        np.testing.assert_array_equal(unlabelled["logits"][:, v], np.moveaxis(stored, 1, 0))
    weighted = np.einsum("e,nec->nc", infer.weights, logits)
    expected = values(evaluate({"test": store(weighted, label)}, about, Trained()))
    mean = values(evaluate({"test": store(logits, label)}, about, Trained()))
    for key, value in mean.items():
        metric, _, group = key.partition("[")
        where = group.rstrip("]")
        unadapted = ",".join(filter(None, [where, "scores=unadapted"]))
        assert found[key] == pytest.approx(expected[key], abs=1e-5)
        assert found[f"{metric}[{unadapted}]"] == value
    of_train = {row.subset for row in rows if "split=train" in row.subset}
    assert of_train and all("scores=unadapted" in where for where in of_train)
    top = (logits[:60].mean(1).argmax(1) == label[:60]).mean()
    assert found["top1[scores=unadapted,split=train]"] == pytest.approx(top)
    assert not any("view" in row.subset for row in rows)


def test_a_method_that_needs_no_views_adapts_on_every_set():
    logits, label = sample(60, 5)
    infer = Asked()
    sets = {"test": store(logits, label), "train": store(logits[:30], label[:30])}
    sets |= views_of(logits, label)
    found = values(evaluate(sets, plain_settings(5), Trained(infer=infer)))
    assert [call[0]["logits"].shape for call in infer.calls] == [(3, 60, 5), (3, 30, 5)]
    assert all(call[2] is None for call in infer.calls)
    assert infer.calls[1][1] == pytest.approx(np.bincount(label[:30], minlength=5) / 30)
    weighted = np.einsum("e,nec->nc", infer.weights, logits[:30])
    top = (weighted.argmax(1) == label[:30]).mean()
    assert found["top1[split=train]"] == pytest.approx(top)


def test_views_are_no_scores_of_a_method_that_needs_none():
    logits, label = sample(60, 5)
    sets = {"test": store(logits, label), **views_of(logits, label)}
    rows = evaluate(sets, plain_settings(5), Trained())
    assert rows == evaluate({"test": sets["test"]}, plain_settings(5), Trained())


def test_views_come_in_the_order_of_their_numbers():
    logits, label = sample(6, 3)
    shuffled = {f"view={k}": store(0 * logits + k, label) for k in (10, 2, 1, 11, 9)}
    found = restore_views({"test": store(logits, label), **shuffled}, label, 3)
    assert found.shape == (5, 6, 3, 3)
    assert found[:, 0, 0, 0].tolist() == [1, 2, 9, 10, 11]
    single = {"view=1": store(logits[:, 0], label)}
    assert restore_views(single, label, 3).shape == (1, 6, 3)


def test_views_that_are_missing_or_of_other_images():
    logits, label = sample(60, 5)
    trained = Trained(infer=Asked(), adapts=True)

    def refused(problem, views):
        sets = {"test": store(logits, label), **views}
        with pytest.raises(RecordError, match=problem) as caught:
            evaluate(sets, plain_settings(5), trained)
        assert "\n" not in str(caught.value)

    refused("no views of the test images are stored", {})
    good = views_of(logits, label)
    other = (label + 1) % 5
    refused("'view=2' is of other images", {**good, "view=2": store(logits, other)})
    refused("'view=1' is of other images", {**good, "view=1": store(logits[:9], label[:9])})
    refused("stored predictions hold no 'label'", {**good, "view=1": {}})


@pytest.mark.parametrize("views", ["one has two experts", "one has none", "all have two"])
def test_views_of_another_network(views):
    logits, label = sample(60, 5)
    sets = {"test": store(logits, label), **views_of(logits, label)}
    if views == "one has two experts":
        sets["view=2"] = store(logits[:, :2], label)
    elif views == "one has none":
        sets["view=2"] = store(logits[:, 0], label)
    else:
        sets |= views_of(logits[:, :2], label)
    trained = Trained(infer=sade_infer, adapts=True)
    with pytest.raises(RecordError, match="view") as caught:
        evaluate(sets, plain_settings(5), trained)
    assert "\n" not in str(caught.value)


def sade_infer(arrays, prior, unlabelled):
    settings = {"adapt_lr": 0.1, "adapt_decay": 0.0, "adapt_batch": 16, "adapt_epochs": 1}
    return sade.infer(arrays, [1] * 5, unlabelled=unlabelled, **settings)


def test_adapting_capped_scores_sees_the_kept_classes(small_caps):
    logits, label = sample(300, 8)
    small_caps(10, 1000, 5)
    infer = Asked()
    arrays, views = store(logits, label), views_of(logits, label)
    found = values(
        evaluate({"test": arrays, **views}, plain_settings(8), Trained(infer=infer, adapts=True))
    )
    _, _, unlabelled = infer.calls[0]
    assert unlabelled["logits"].shape == (3, 2, 300, 8)
    assert (np.isfinite(unlabelled["logits"]).sum(-1) == 5).all()
    # each view has its own classes
    kept = np.isfinite(unlabelled["logits"])
    assert (kept[:, 0] != kept[:, 1]).any() and (kept[0] == kept[1]).all()
    weighted = np.einsum("e,nec->nc", infer.weights, restore(arrays, 8))
    assert found["top1"] == pytest.approx((weighted.argmax(1) == label).mean())
    assert found["ece"] is found["nll"] is None
    mean = plain(logits)
    assert found["ece[scores=unadapted]"] == pytest.approx(naive_ece(mean, label), abs=1e-6)


# -- collecting, and what looks at a trained model


def test_logits_of_experts_are_collected_in_order():
    from mmengine.evaluator import Evaluator

    import tasks.vision.scores  # noqa: F401

    logits, label = sample(20, 3)
    evaluator = Evaluator([dict(type="ClassScores", classes=3)])
    for part in (slice(0, 12), slice(12, 20)):
        data = {"logits": torch.tensor(logits[part]), "label": torch.tensor(label[part])}
        evaluator.process([data], data_batch={})
    found = evaluator.evaluate(20)
    assert found["cls/top1"] == pytest.approx((logits.mean(1).argmax(1) == label).mean())
    arrays = evaluator.metrics[0].arrays()
    np.testing.assert_array_equal(arrays["logits"], logits)
    for shape in ((2, 3, 4), (2, 2, 3, 3)):
        bad = {"logits": torch.zeros(shape), "label": torch.zeros(2).long()}
        with pytest.raises(RecordError, match=r"expected \(B, 3\) or \(B, experts, 3\)"):
            evaluator.process([bad], data_batch={})


def test_sharpness_of_experts_is_that_of_their_mean(tmp_path):
    runner = train(tmp_path, "sade", 6)
    model = runner.model
    cfg = runner.cfg.prediction_hooks["sharpness"]
    hook = HOOKS.build({**cfg, "images": 12, "iterations": 4})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    hook.after_train(runner)
    found = hook.arrays()
    assert sorted(found["group"]) == ["head", "medium", "tail"]
    assert all(np.isfinite(array).all() for key, array in found.items() if key != "group")
    assert (found["lambda_max"] >= found["lambda_min"]).all()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    dataset = DATASETS.build(cfg["dataset"])
    model.eval()
    for group, loss in zip(found["group"], found["loss"], strict=True):
        chosen = choose(dataset.labels, cfg["groups"][str(group)], 12)
        batch = dataset.__getitems__(chosen)
        data = model.data_preprocessor({k: batch[k] for k in ("inputs", "label")}, False)
        with torch.no_grad():
            (sample_,) = model(**data, mode="predict")
            scores = model(**data, mode="tensor")
        torch.testing.assert_close(scores, sample_["logits"].mean(1))
        expected = F.cross_entropy(scores, data["label"]).item()
        assert loss == pytest.approx(expected, rel=1e-5)
    sets = {"test": store(*sample(30, 10)), "sharpness": found}
    about = plain_settings(10, **{g: list(cfg["groups"][g]) for g in cfg["groups"]})
    rows = values(evaluate(sets, about, Trained()))
    assert {f"hessian_max[group={g},split=train]" for g in found["group"]} <= rows.keys()
