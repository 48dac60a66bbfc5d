"""Logits and labels made by hand, and scores of them."""

import numpy as np
import pytest

from tasks.vision import stored

NAMES = ["a", "b", "c"]
THREE = {"classes": NAMES, "groups": {"head": [0], "medium": [1], "tail": [2]}}
# Hand-made: predictions 0 0 1 | 1 0 | 2, so recalls 2/3, 1/2, 1 and 4 of 6 are right
LOGITS = np.array(
    [[2, 1, 0], [3, 0, 0], [0, 1, 0], [0, 4, 0], [2, 1, 1], [0, 0, 5]], dtype=np.float32
)
LABEL = np.array([0, 0, 0, 1, 1, 2])


def values(rows):
    """{key: value} of the rows that are not of one class."""
    return {row.key: row.value for row in rows if row.class_ is None}


def plain_settings(classes, **groups):
    return {"classes": [f"class {c}" for c in range(classes)], "groups": groups}


def softmax(logits):
    logits = logits.astype(np.float64)
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    return exponential / exponential.sum(1, keepdims=True)


def naive_auc(logits, label):
    """A(i|j) for every ordered pair, by comparing every sample with every other; NaN if undefined."""
    probability = softmax(logits)
    classes = logits.shape[1]
    auc = np.full((classes, classes), np.nan)
    for i in range(classes):
        for j in range(classes):
            own, other = probability[label == i, i], probability[label == j, i]
            if i != j and len(own) and len(other):
                margin = own[:, None] - other[None]
                auc[i, j] = ((margin > 0) + 0.5 * (margin == 0)).mean()
    return auc


def naive_ece(logits, label):
    probability = softmax(logits)
    confidence, correct = probability.max(1), probability.argmax(1) == label
    total = 0.0
    for k in range(15):
        inside = [i for i, p in enumerate(confidence) if k / 15 < p <= (k + 1) / 15]
        if inside:
            total += abs(correct[inside].mean() - confidence[inside].mean()) * len(inside)
    return total / len(label)


# -- the stored form


@pytest.fixture
def small_caps(monkeypatch):
    def set_caps(full, cap, kept):
        for name, value in (("FULL_FLOAT32", full), ("CAP", cap), ("KEPT", kept)):
            monkeypatch.setattr(stored, name, value)
        monkeypatch.setattr(stored, "_BLOCK", 100)  # several blocks

    return set_caps
