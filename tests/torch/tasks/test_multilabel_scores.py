"""Logits of several labels as they come out of a test loop; a second opinion on their measures."""

from itertools import pairwise

import numpy as np
import pytest
from ml_scores import sample

from suite.base.errors import RecordError, UserError
from tasks.multilabel.evaluation import sample_means
from tasks.multilabel.measures import coverage, ranking_loss, ranks
from tasks.multilabel.stored import checked, restore

LOGITS, LABELS = sample(30, 7)


@pytest.fixture
def collector():
    from mmengine.evaluator import Evaluator

    import tasks.multilabel.scores  # noqa: F401

    evaluator = Evaluator([dict(type="MultiLabelScores", classes=7, k=3)])
    return evaluator, evaluator.metrics[0]


def feed(evaluator, *bounds):
    import torch

    for start, stop in pairwise(bounds):
        logits = torch.tensor(LOGITS[start:stop], requires_grad=True)
        labels = torch.tensor(LABELS[start:stop]).float()
        evaluator.process([{"logits": logits, "label": labels}], data_batch={})
        with torch.no_grad():  # a model may use its buffers again
            logits.zero_()
            labels.zero_()
    return evaluator.evaluate(len(LABELS))


def test_batches_come_together_in_order(collector):
    evaluator, metric = collector
    found = feed(evaluator, 0, 13, 30)
    arrays = metric.arrays()
    logits, labels = restore(arrays, 7)
    np.testing.assert_array_equal(logits, LOGITS)
    np.testing.assert_array_equal(labels, LABELS)
    expected = sample_means(checked(arrays, 7), 3)
    assert found == {f"multilabel/{name}": value for name, value in expected.items()}
    assert 0 < found["multilabel/map_at_k"] < found["multilabel/tkpr"] + 0.2 < 1.2
    assert metric.samples() == {}


def test_a_second_loop_starts_anew(collector):
    evaluator, metric = collector
    feed(evaluator, 0, 20, 30)
    feed(evaluator, 0, 3)
    np.testing.assert_array_equal(metric.arrays()["logits"], LOGITS[:3])


def test_half_precision_and_any_kind_of_labels(collector):
    import torch

    evaluator, metric = collector
    part = {"logits": torch.tensor(LOGITS).bfloat16()}
    for kind in (torch.bool, torch.uint8, torch.int64, torch.float32):
        evaluator.process([{**part, "label": torch.tensor(LABELS).to(kind)}], data_batch={})
    evaluator.evaluate(4 * len(LABELS))
    logits, labels = restore(metric.arrays(), 7)
    np.testing.assert_array_equal(labels, np.tile(LABELS, (4, 1)))
    np.testing.assert_allclose(logits[:30], LOGITS, rtol=1e-2)


@pytest.mark.parametrize(
    ("logits", "labels", "problem"),
    [
        ((2, 6), (2, 6), r"logits of shape \(2, 6\) .* expected \(B, 7\)"),
        ((2, 3, 7), (2, 3, 7), r"shape \(2, 3, 7\)"),
        ((2, 7), (2,), r"labels of shape \(2,\)"),
        ((2, 7), (1, 7), r"labels of shape \(1, 7\)"),
    ],
)
def test_tensors_of_another_shape(collector, logits, labels, problem):
    import torch

    part = {"logits": torch.zeros(logits), "label": torch.zeros(labels)}
    with pytest.raises(RecordError, match=problem):
        collector[0].process([part], data_batch={})


@pytest.mark.parametrize("value", [-1, 2, 0.5, float("nan")])
def test_labels_that_are_neither_0_nor_1(collector, value):
    import torch

    labels = torch.zeros(2, 7)
    labels[1, 3] = value
    with pytest.raises(RecordError, match=rf"labels hold {value:g}, expected 0 and 1"):
        collector[0].process([{"logits": torch.zeros(2, 7), "label": labels}], data_batch={})


def test_scores_that_are_not_finite_and_a_loop_without_batch(collector):
    import torch

    evaluator, metric = collector
    with pytest.raises(RecordError, match="no logits were collected"):
        metric.arrays()
    assert metric.compute_metrics([]) == {}
    part = {"logits": torch.full((2, 7), float("nan")), "label": torch.zeros(2, 7)}
    evaluator.process([part], data_batch={})
    with pytest.raises(RecordError, match=r"logits of sample 0 .* hold nan"):
        metric.arrays()


@pytest.mark.parametrize("k", [0, 8])
def test_a_k_outside_of_the_labels(k):
    from tasks.multilabel.scores import MultiLabelScores

    with pytest.raises(UserError, match=rf"K = {k} .* is not in 1\.\.7"):
        MultiLabelScores(classes=7, k=k)


def test_measures_are_those_of_torchmetrics_on_ranks():
    import torch

    functional = pytest.importorskip("torchmetrics.functional.classification")
    scores, labels = sample(60, 8, 3)
    scores, labels = scores[2:], labels[2:]
    some = labels.any(axis=1) & ~labels.all(axis=1)
    scores, labels = scores[some], labels[some]
    # it takes scores outside [0, 1] for logits, whose sigmoids tie in float32: ranks as fractions
    place = np.argsort(np.argsort(scores, axis=1), axis=1) / 8
    arguments = torch.tensor(place), torch.tensor(labels.astype(int)), 8
    found = ranks(scores, labels)
    for measure, theirs in (
        (ranking_loss, functional.multilabel_ranking_loss),
        (coverage, functional.multilabel_coverage_error),
    ):
        assert measure(found).mean() == pytest.approx(float(theirs(*arguments)), rel=1e-6)
