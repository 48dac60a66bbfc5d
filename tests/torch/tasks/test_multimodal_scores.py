"""What the test loop of `multimodal` keeps."""

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

import tasks.multimodal.fusions
import tasks.multimodal.networks
import tasks.multimodal.objectives  # noqa: F401
from suite.base.errors import RecordError, UserError
from suite.define.task import Trained
from suite.engine.keys import PREDICTION_SET
from tasks.multimodal import stored
from tasks.multimodal.evaluation import evaluate
from tasks.multimodal.networks import MultimodalClassifier, proper_subsets
from tasks.multimodal.scores import ModalityScores

NAMES = ["a", "b", "c"]
WIDTH = 4
CLASSES = 3


def built(fusion="ConcatFusion", modalities=None):
    torch.manual_seed(0)
    model = MultimodalClassifier(
        encoders={
            name: {"type": "VectorEncoder", "in_features": 2, "widths": [WIDTH]} for name in NAMES
        },
        fusion={"type": fusion, "widths": dict.fromkeys(NAMES, WIDTH), "classes": CLASSES},
        objective={"type": "JointCrossEntropy"},
        data_preprocessor={"type": "ModalityBatch", "statistics": {}},
        modalities=modalities,
    )
    return model.eval()


def batches(sizes=(5, 3), seed=0):
    drawn = torch.Generator().manual_seed(seed)
    return [
        {
            "inputs": {name: torch.randn(size, 2, generator=drawn) for name in NAMES},
            "label": torch.randint(CLASSES, (size,), generator=drawn),
            "index": torch.arange(size),
        }
        for size in sizes
    ]


@torch.no_grad()
def collected(model, given, of="test"):
    metric = METRICS.build({"type": "ModalityScores", "classes": CLASSES, "modalities": NAMES})
    metric.dataset_meta = {PREDICTION_SET: of} if of != "test" else None
    for batch in given:
        metric.process(batch, model.test_step(batch))
    return metric


def test_what_a_model_predicts_is_kept_in_the_order_of_the_loop():
    model, given = built(), batches()
    arrays = collected(model, given).arrays()
    assert {key: value.shape for key, value in arrays.items()} == {
        "label": (8,),
        "logits": (8, 3),
        "modality_logits": (8, 3, 3),
        "subset_logits": (8, 6, 3),
        **{f"features_{name}": (8, WIDTH) for name in NAMES},
    }
    assert arrays["label"].tolist() == torch.cat([batch["label"] for batch in given]).tolist()
    with torch.no_grad():
        whole = {name: torch.cat([batch["inputs"][name] for batch in given]) for name in NAMES}
        features = model.features(whole)
        logits = model.fusion(features).numpy()
    np.testing.assert_allclose(arrays["logits"], logits, atol=1e-6)
    np.testing.assert_allclose(arrays["modality_logits"].sum(1), logits, atol=1e-5)
    np.testing.assert_allclose(arrays["features_b"], features["b"].numpy(), rtol=1e-3, atol=1e-6)


def test_subsets_are_numbered_alike_where_they_are_made_and_read():
    assert stored.subsets(NAMES) == proper_subsets(NAMES)
    model, given = built(), batches()
    arrays = collected(model, given).arrays()
    with torch.no_grad():
        features = model.features(given[0]["inputs"])
        for place, subset in enumerate(stored.subsets(NAMES)):
            expected = model.fusion(features, subset).numpy()
            np.testing.assert_allclose(arrays["subset_logits"][:5, place], expected, atol=1e-6)


@pytest.mark.parametrize("fusion", ["ConcatFusion", "SumFusion", "MeanProbability"])
def test_a_run_is_evaluated(fusion):
    model = built(fusion)
    sets = {
        "test": collected(model, batches()).arrays(),
        "train": collected(model, batches((9, 9), seed=1), of="train").arrays(),
    }
    assert set(sets["train"]) == {"label", *(f"features_{name}" for name in NAMES)}
    about = {"classes": ["x", "y", "z"], "groups": {}, "modalities": NAMES, "missing": "zero"}
    found = {row.key: row.value for row in evaluate(sets, about, Trained()) if not row.class_}
    assert found["top1"] == pytest.approx(
        sum(found[f"shapley[modality={name}]"] for name in NAMES) + 1 / 3
    )
    label = sets["test"]["label"]
    assert (
        found["top1[modality=c]"]
        == (sets["test"]["modality_logits"][:, 2].argmax(1) == label).mean()
    )


def test_a_run_on_some_modalities():
    arrays = collected(built(modalities=["b"]), batches()).arrays()
    assert set(arrays) == {"label", "logits", "modality_logits", "features_b"}
    np.testing.assert_allclose(arrays["modality_logits"][:, 0], arrays["logits"], atol=1e-6)
    arrays = collected(built(modalities=["a", "c"]), batches()).arrays()
    assert arrays["subset_logits"].shape == (8, 2, 3) and "features_b" not in arrays


def test_scores_for_mmengines_tools():
    metric = collected(built(), batches())
    arrays = metric.arrays()
    right = arrays["logits"].argmax(1) == arrays["label"]
    found = metric.evaluate(8)
    assert found["multimodal/top1"] == right.mean()
    own = arrays["modality_logits"].argmax(2) == arrays["label"][:, None]
    assert found["multimodal/top1_b"] == own[:, 1].mean()
    classes = np.unique(arrays["label"])
    assert found["multimodal/balanced_accuracy"] == pytest.approx(
        np.mean([right[arrays["label"] == c].mean() for c in classes])
    )
    assert collected(built(), batches(), of="train").evaluate(8) == {}


def test_a_new_loop_begins_anew():
    model = built()
    metric = collected(model, batches())
    metric.evaluate(8)
    (batch,) = batches((2,), seed=5)
    with torch.no_grad():
        metric.process(batch, model.test_step(batch))
    assert metric.arrays()["label"].tolist() == batch["label"].tolist()


def sample(**changes):
    made = {
        "label": torch.tensor([0, 1]),
        "logits": torch.zeros(2, 3),
        "features": {"a": torch.ones(2, 4)},
    }
    return {**made, **changes}


def test_what_the_model_writes_over_is_kept():
    metric, one = ModalityScores(3, NAMES), sample()
    metric.process(None, [one])
    for values in (one["label"], one["logits"], one["features"]["a"]):
        values.fill_(2)
    arrays = metric.arrays()
    assert arrays["label"].tolist() == [0, 1]
    assert not arrays["logits"].any() and (arrays["features_a"] == 1).all()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"logits": torch.zeros(2, 4)}, r"logits of shape \(2, 4\)"),
        ({"label": torch.tensor([0, 1, 1])}, r"labels of shape \(3,\)"),
        ({"label": torch.tensor([0, 3])}, "labels lie in 0..3"),
        ({"features": {"d": torch.ones(2, 4)}}, "features of 'd', which is none"),
    ],
)
def test_what_a_batch_may_not_be(changes, match):
    with pytest.raises(RecordError, match=match):
        ModalityScores(3, NAMES).process(None, [sample(**changes)])


def test_what_is_found_at_the_end():
    metric = ModalityScores(3, NAMES)
    with pytest.raises(RecordError, match="no logits were collected"):
        metric.arrays()
    assert metric.evaluate(1) == {}
    metric.process(None, [sample()])
    with pytest.raises(RecordError, match="every batch needs the same"):
        metric.process(None, [sample(modality_logits=torch.zeros(2, 1, 3))])
    nan = ModalityScores(3, NAMES)
    nan.process(None, [sample(logits=torch.full((2, 3), float("nan")))])
    with pytest.raises(RecordError, match="logits of sample 0"):
        nan.arrays()


def test_more_modalities_than_subsets_are_counted_of():
    with pytest.raises(UserError, match="11 modalities, at most 10"):
        ModalityScores(3, [f"m{k}" for k in range(11)])
