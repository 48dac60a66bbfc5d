"""Single samples of a stored test set, and which keys of a board are measures."""

from dataclasses import replace

import numpy as np
import pytest
from records import TASK

from suite.define.task import Metric
from tasks.multilabel import instances
from tasks.multilabel.measure_keys import comparable, spelled, usual
from tasks.multilabel.stored import checked, store
from tasks.vision import stored

SCORES = np.array(
    [[0.1, 0.8, 0.35, 0.6, 0.05, 0.4], [3, 3, 2, 1, 0, 0], [1, 2, 3, 4, 5, 6]], np.float32
)
SHOWN = np.array([[1, 0, 1, 1, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool)


def test_scores_of_each_sample():
    found = checked(store(SCORES, SHOWN), 6)
    assert instances.top_k_scores(found, 3) == pytest.approx([1 / 3, 2 / 3, np.nan], nan_ok=True)
    scores, relevant = instances.sample(found, 0)
    assert scores.tolist() == SCORES[0].tolist() and relevant.tolist() == SHOWN[0].tolist()


def test_measures_of_the_example_of_six_labels():
    found = checked(store(SCORES, SHOWN), 6)
    assert instances.sample_measures(found, 0, 3) == {
        "tkpr[k=3]": pytest.approx(1 / 3),
        "map_at_k[k=3]": pytest.approx(1 / 6),
        "ndcg[k=3]": pytest.approx(0.2960820, abs=1e-7),
        "precision[k=3]": pytest.approx(1 / 3),
        "recall[k=3]": pytest.approx(1 / 3),
        "ranking_loss": pytest.approx(5 / 9),
        "coverage": 5,
        "one_error": 1,
    }
    assert set(instances.sample_measures(found, 2, 3).values()) == {None}


def test_only_the_largest_are_kept(monkeypatch):
    full = checked(store(SCORES, SHOWN), 6)
    monkeypatch.setattr(stored, "FULL_FLOAT32", 1)
    monkeypatch.setattr(stored, "CAP", 2)
    monkeypatch.setattr(stored, "KEPT", 4)
    found = checked(store(SCORES, SHOWN), 6)
    assert found.capped
    for k in (1, 3):
        np.testing.assert_array_equal(
            instances.top_k_scores(found, k), instances.top_k_scores(full, k)
        )
    scores, _ = instances.sample(found, 0)
    assert np.isneginf(scores[[0, 4]]).all() and np.isfinite(scores[[1, 2, 3, 5]]).all()
    measured = instances.sample_measures(found, 0, 3)
    assert measured["ranking_loss"] is None and measured["coverage"] is None
    assert measured["tkpr[k=3]"] == pytest.approx(1 / 3)


def test_blocks_of_samples(monkeypatch):
    drawn = np.random.default_rng(0)
    scores, shown = drawn.normal(size=(50, 6)), drawn.random((50, 6)) < 0.3
    found = checked(store(scores, shown), 6)
    whole = instances.top_k_scores(found, 2)
    monkeypatch.setattr(stored, "_BLOCK", 20)
    np.testing.assert_array_equal(instances.top_k_scores(found, 2), whole)


# -- keys


OF = replace(
    TASK,
    metrics=(
        Metric(name="tkpr"),
        Metric(name="ranking_loss", higher_is_better=False),
        Metric(name="mAP"),
        Metric(name="ap"),
        Metric(name="labels_without_positive", unit="labels"),
    ),
)
KEYS = (
    *("ap[group=tail]", "ap[group=head]", "mAP", "tkpr[k=10]", "tkpr[k=3]", "tkpr[k=K]"),
    *("tkpr[alpha=n+,k=K]", "ap[group=medium]"),
    *("labels_without_positive", "mAP[split=val]", "ranking_loss", "loss of a stranger"),
)


def test_measures_in_the_order_of_the_task():
    groups = ["ap[group=head]", "ap[group=medium]", "ap[group=tail]"]
    found = comparable(OF, KEYS)
    assert found == ["tkpr[k=K]", "tkpr[k=3]", "tkpr[k=10]", "ranking_loss", "mAP", *groups]
    assert usual(found) == ["tkpr[k=K]", "ranking_loss", "mAP", *groups]
    assert [spelled(OF, key) for key in ("mAP", "ranking_loss")] == ["mAP", "ranking_loss ↓"]
