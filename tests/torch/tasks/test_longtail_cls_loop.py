"""Logits as they come out of a test loop."""

from itertools import pairwise

import numpy as np
import pytest
from cls_scores import LABEL, LOGITS

from suite.base.errors import RecordError

# -- collecting in mmengine's test loop


@pytest.fixture
def collector():
    from mmengine.evaluator import Evaluator

    import tasks.vision.scores  # noqa: F401

    evaluator = Evaluator([dict(type="ClassScores", classes=3)])
    return evaluator, evaluator.metrics[0]


def feed(evaluator, *bounds):
    import torch

    for start, stop in pairwise(bounds):
        logits = torch.tensor(LOGITS[start:stop], requires_grad=True)
        label = torch.tensor(LABEL[start:stop])
        evaluator.process([{"logits": logits, "label": label}], data_batch={})
        with torch.no_grad():
            logits.zero_()  # a model may use its buffer again
    return evaluator.evaluate(len(LABEL))


def test_batches_come_together_in_order(collector):
    evaluator, metric = collector
    found = feed(evaluator, 0, 4, 6)
    assert found == pytest.approx(
        {"cls/top1": 4 / 6, "cls/balanced_accuracy": (2 / 3 + 1 / 2 + 1) / 3}
    )
    arrays = metric.arrays()
    np.testing.assert_array_equal(arrays["logits"], LOGITS)
    np.testing.assert_array_equal(arrays["label"], LABEL)
    assert metric.samples() == {}


def test_a_second_loop_starts_anew(collector):
    evaluator, metric = collector
    feed(evaluator, 0, 2, 6)
    feed(evaluator, 0, 3)
    np.testing.assert_array_equal(metric.arrays()["logits"], LOGITS[:3])


def test_a_batch_may_come_in_parts_and_in_half_precision(collector):
    import torch

    evaluator, metric = collector
    part = {"logits": torch.tensor(LOGITS).bfloat16(), "label": torch.tensor(LABEL)}
    evaluator.process([part, part], data_batch={})
    arrays = metric.arrays()
    assert arrays["logits"].dtype == np.float32
    np.testing.assert_array_equal(arrays["logits"], np.concatenate([LOGITS, LOGITS]))


def test_what_a_model_may_not_return(collector):
    import torch

    evaluator, metric = collector
    with pytest.raises(RecordError, match="holds no sample, or was not tested"):
        metric.arrays()
    for logits, label, problem in (
        (torch.zeros(2, 4), torch.zeros(2).long(), r"shape \(2, 4\) .* expected \(B, 3\)"),
        (torch.zeros(2, 3), torch.zeros(3).long(), r"labels of shape \(3,\)"),
        (torch.zeros(3), torch.zeros(3).long(), r"logits of shape \(3,\)"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), r"labels lie in 0..3, expected 0..2"),
    ):
        with pytest.raises(RecordError, match=problem):
            evaluator.process([{"logits": logits, "label": label}], data_batch={})
    good = {"logits": torch.full((2, 3), torch.nan), "label": torch.zeros(2).long()}
    evaluator.process([good], data_batch={})
    with pytest.raises(RecordError, match=r"logits of sample 0 .* hold nan"):
        metric.arrays()
