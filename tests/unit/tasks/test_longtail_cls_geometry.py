"""The geometry of the last layer among the scores of `longtail-cls`: rows beside those that were there before."""

import numpy as np
import pytest
from cls_scores import LABEL, LOGITS, NAMES, THREE, values

from suite.base.errors import RecordError
from suite.define.catalog import Catalog
from suite.define.task import Trained
from suite.stats.correlation import CORRELATES
from tasks.longtail_cls import TASK
from tasks.longtail_cls.evaluation import VERSION, evaluate
from tasks.test_agnostic import TASK as AGNOSTIC
from tasks.vision.geometry.stored import SETS, TEST, TRAIN, accumulate, join
from tasks.vision.stored import store

COUNTS = (3, 2, 1)
TRAINED = Trained(class_counts=COUNTS)
SCORES = {"test": store(LOGITS, LABEL)}


def looked(seed=0, samples=12):
    rng = np.random.default_rng(seed)
    label = np.arange(samples) % 3
    features = rng.normal(size=(samples, 4)) + 3 * np.eye(3, 4)[label]
    weight = np.eye(3, 4)
    return accumulate(features, label, features @ weight.T, weight)


def scored(sets, trained=TRAINED):
    return evaluate({**SCORES, **sets}, THREE, trained)


def test_rows_that_were_there_before_stay_as_they_are():
    before = scored({})
    after = scored({TRAIN: looked(), TEST: looked(1)})
    assert after[: len(before)] == before
    assert VERSION == 1  # or every run would be evaluated anew


def test_there_are_rows_of_both_splits_of_groups_and_of_classes():
    found = scored({TRAIN: looked(), TEST: looked(1)})
    keys = values(found)
    for split in ("train", "test"):
        for name in (
            "nc1",
            "nc1_trace",
            "cdnv",
            "nc2_means",
            "nc3",
            "duality",
            "nc4",
            "margin_min",
        ):
            assert keys[f"{name}[split={split}]"] is not None, name
        assert f"min_angle[group=tail,of=weights,split={split}]" in keys
    assert keys["nc1[split=train]"] != keys["nc1[split=test]"]
    of_classes = {row.class_ for row in found if row.key == "margin_q01[split=train]"}
    assert of_classes >= set(NAMES)
    declared = {metric.name for metric in TASK.metrics}
    assert {row.metric for row in found} <= declared


def test_seli_is_of_the_training_counts():
    found = values(scored({TRAIN: looked()}))
    other = values(scored({TRAIN: looked()}, Trained(class_counts=(100, 10, 1))))
    assert found["seli_weights[split=train]"] != other["seli_weights[split=train]"]


def test_accuracy_on_the_training_images_is_told_once():
    alone = values(scored({TRAIN: looked()}))
    assert alone["top1[split=train]"] == looked()["correct"].sum() / 12
    both = scored({"train": store(LOGITS, LABEL), TRAIN: looked()})
    told = [row for row in both if row.key in ("top1[split=train]", "nll[split=train]")]
    assert [row.metric for row in told] == ["top1", "nll"]
    assert told[0].value == pytest.approx(4 / 6)


def test_of_a_method_that_changes_scores_it_is_the_networks_own():
    def infer(arrays, prior=None, unlabelled=None):
        return arrays["logits"][:, ::-1]

    found = values(scored({TRAIN: looked()}, Trained(class_counts=COUNTS, infer=infer)))
    assert "top1[split=train]" not in found
    assert found["top1[scores=unadapted,split=train]"] == looked()["correct"].sum() / 12


def test_experts_have_rows_of_their_own():
    found = values(
        scored({TRAIN: join({"": looked(), "expert0": looked(1), "expert1": looked(2)})})
    )
    assert found["nc1[expert=0,split=train]"] != found["nc1[split=train]"]
    assert "cdnv[expert=1,group=head,split=train]" in found
    keys = [
        (row.key, row.class_) for row in scored({TRAIN: join({"": looked(), "expert0": looked()})})
    ]
    assert len(set(keys)) == len(keys)


def test_a_head_without_a_linear_layer_has_nulls():
    arrays = {k: v for k, v in looked().items() if k not in ("weight", "bias")}
    arrays["margin_norm"] = np.full(12, np.nan, np.float32)
    found = values(scored({TRAIN: arrays}))
    for name in ("nc2_weights", "nc3", "duality", "nc4", "seli_weights", "margin_norm"):
        assert found[f"{name}[split=train]"] is None, name
    assert found["nc1[split=train]"] is not None


@pytest.mark.parametrize(
    "change", [lambda a: a.pop("mean"), lambda a: a.update(correct=a["correct"] + 1)]
)
def test_damaged_arrays_are_refused(change):
    arrays = looked()
    change(arrays)
    with pytest.raises(RecordError, match="stored geometry"):
        scored({TRAIN: arrays})


# -- what it is of


@pytest.mark.parametrize("name", ["smoke", "quick", "quick:carved", "cpu-cifar", "imagenet-lt"])
def test_protocols_offer_it_outside_of_their_identity(name):
    protocol = Catalog.load().protocol(TASK, name)
    assert set(SETS) <= set(protocol.extra_sets)
    assert not set(SETS) & set(protocol.prediction_sets)
    assert "collapse" not in str(protocol.identity)


@pytest.mark.slow
def test_a_config_has_a_hook_for_each():
    config, _ = Catalog.load().protocol(TASK, "smoke").build(None)
    hooks = config["prediction_hooks"]
    assert {name: hooks[name] for name in SETS} == {
        "collapse": {"type": "CollapseHook", "split": "train"},
        "collapse=test": {"type": "CollapseHook", "split": "test"},
    }
    assert "tasks.vision.geometry.hook" in config["custom_imports"]["imports"]


def test_the_other_task_on_these_runs_leaves_them_alone():
    assert not {"nc1", "cdnv"} & {metric.name for metric in AGNOSTIC.metrics}


def test_what_is_held_against_the_tail_is_among_the_rows():
    asked = CORRELATES.of(TASK)
    keys = {row.key for row in scored({TRAIN: looked()})}
    assert {asked.of, asked.beside, *asked.by} <= keys
    assert asked.stored in SETS
