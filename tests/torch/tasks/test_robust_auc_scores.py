"""What the test loop of `robust-auc` keeps."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS
from sklearn.metrics import average_precision_score, roc_auc_score

from suite.base.errors import RecordError
from tasks.robust_auc.scores import BinaryScores


def batch(logits, label):
    return {"logits": torch.as_tensor(logits), "label": torch.as_tensor(label)}


def two_batches(metric):
    metric.process(None, [batch([[0.5], [2.0], [-1.0]], [0, 1, 0])])
    metric.process(None, [batch([[0.25], [0.5]], [1, 1])])


def test_logits_and_labels_in_the_order_of_the_loop():
    metric = METRICS.build({"type": "BinaryScores"})
    two_batches(metric)
    arrays = metric.arrays()
    assert arrays["label"].tolist() == [0, 1, 0, 1, 1]
    assert arrays["score"].tolist() == [0.5, 2, -1, 0.25, 0.5]
    assert (arrays["label"].dtype, arrays["score"].dtype) == (np.uint8, np.float32)
    assert metric.samples() == {}
    found = metric.evaluate(5)
    assert found == {
        "binary/auc": pytest.approx(roc_auc_score(arrays["label"], arrays["score"])),
        "binary/average_precision": pytest.approx(
            average_precision_score(arrays["label"], arrays["score"])
        ),
    }


def test_a_new_loop_begins_anew():
    metric = BinaryScores()
    two_batches(metric)
    metric.evaluate(5)
    metric.process(None, [batch([[3.0], [4.0]], [1, 0])])
    assert metric.arrays()["score"].tolist() == [3, 4]
    assert metric.evaluate(2)["binary/auc"] == 0


def test_what_the_model_writes_over_is_kept():
    metric = BinaryScores()
    sample = batch(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]))
    metric.process(None, [sample])
    sample["logits"].zero_()
    sample["label"].zero_()
    assert metric.arrays()["score"].tolist() == [1, 2]
    assert metric.arrays()["label"].tolist() == [0, 1]


def test_half_precision_logits_are_stored_as_float32():
    metric = BinaryScores()
    metric.process(None, [batch(torch.tensor([[1.5], [2.0]], dtype=torch.bfloat16), [0, 1])])
    assert metric.arrays()["score"].dtype == np.float32


def test_undefined_is_nan_and_not_a_half():
    metric = BinaryScores()
    metric.process(None, [batch([[1.0], [1.0]], [0, 1])])
    assert all(math.isnan(value) for value in metric.evaluate(2).values())


@pytest.mark.parametrize(
    ("logits", "label", "problem"),
    [
        ([0.5, 1.0], [0, 1], r"logits of shape \(2,\) .* expected \(B, 1\) and \(B,\)"),
        ([[0.5, 1.0]], [0], r"logits of shape \(1, 2\)"),
        ([[0.5], [1.0]], [[0], [1]], r"labels of shape \(2, 1\)"),
        ([[0.5], [1.0]], [0, 2], r"labels lie in 0..2, expected 0 \(negative\) and 1"),
        ([[0.5], [1.0]], [-1, 0], r"labels lie in -1..0"),
    ],
)
def test_other_tensors(logits, label, problem):
    with pytest.raises(RecordError, match=problem):
        BinaryScores().process(None, [batch(logits, label)])


def test_a_loop_without_images_and_logits_that_are_not_finite():
    metric = BinaryScores()
    with pytest.raises(RecordError, match="no logits were collected"):
        metric.arrays()
    metric.process(None, [batch([[0.5], [math.nan]], [0, 1])])
    with pytest.raises(RecordError, match=r"scores hold nan \(image 1"):
        metric.arrays()
