"""Scores and labels of several labels a sample, and their measures in plain loops."""

import math

import numpy as np

# sheet: ranks of the relevant labels 5, 4, 2
SIX = np.array([[0.1, 0.8, 0.35, 0.6, 0.05, 0.4]])
SIX_LABELS = np.array([[1, 0, 1, 1, 0, 0]], bool)
FIVE = np.array([[0.9, 0.8, 0.7, 0.4, 0.2]])
FIVE_LABELS = np.array([[1, 0, 1, 0, 1]], bool)


def sample(samples=60, labels=7, seed=0, *, levels=None, share=0.35):
    """Scores that know a little of the labels, float32; with `levels` they are one of so many numbers, so that many tie.

    The first sample has no label, the second all.
    """
    generator = np.random.default_rng(seed)
    relevant = generator.random((samples, labels)) < share
    relevant[:1], relevant[1:2] = False, True
    scores = generator.normal(size=(samples, labels)) + relevant
    if levels:
        scores = np.round(scores * levels / 4)
    return scores.astype(np.float32), relevant


def order_of(scores):
    """Labels by descending score, of equal ones the first."""
    return sorted(range(len(scores)), key=lambda label: (-scores[label], label))


def naive(scores, relevant, k):
    """{measure: value} of one sample, from the formulas; None where undefined."""
    labels, positives = len(scores), int(sum(relevant))
    order = order_of(scores)
    y = [bool(relevant[label]) for label in order]
    if not positives:
        return dict.fromkeys(
            [
                "precision",
                "recall",
                "ap",
                "ndcg",
                "coverage",
                "one_error",
                "loss",
                "listed",
                *"1nmi",
            ]
        )
    ranks = [place + 1 for place, hit in enumerate(y) if hit]
    listed = sum(y[j - 1] * (k + 1 - j) for j in range(1, k + 1)) / k
    best = min(k, positives)
    wrong = [
        1.0 if scores[i] < scores[j] else 0.5 if scores[i] == scores[j] else 0.0
        for i in range(labels)
        for j in range(labels)
        if relevant[i] and not relevant[j]
    ]
    return {
        "precision": sum(y[:k]) / k,
        "recall": sum(y[:k]) / positives,
        "ap": sum(sum(y[:j]) / j for j in range(1, k + 1) if y[j - 1]) / best,
        "ndcg": sum(1 / math.log2(j + 1) for j in range(1, k + 1) if y[j - 1])
        / sum(1 / math.log2(j + 1) for j in range(1, best + 1)),
        "coverage": max(ranks),
        "one_error": float(not y[0]),
        "loss": sum(wrong) / len(wrong) if wrong else None,
        "1": listed,
        "n": listed / positives,
        "m": listed / best,
        "i": listed / (sum(k + 1 - j for j in range(1, best + 1)) / k),
    }


def naive_ap(scores, relevant, weights=None):
    """AP of one label, equal scores reached together; None without positive mass."""
    weights = [1.0] * len(scores) if weights is None else weights
    total = sum(w for w, own in zip(weights, relevant, strict=True) if own)
    if not total:
        return None
    area = reached = hit = 0.0
    for level in sorted(set(scores), reverse=True):
        here = [(w, own) for s, w, own in zip(scores, weights, relevant, strict=True) if s == level]
        new = sum(w for w, own in here if own)
        reached, hit = reached + sum(w for w, _ in here), hit + new
        if new:
            area += new / total * hit / reached
    return area


def naive_f1(scores, relevant, weights=None):
    weights = [1.0] * len(scores) if weights is None else weights
    cells = {(c, r): 0.0 for c in (False, True) for r in (False, True)}
    for s, own, w in zip(scores, relevant, weights, strict=True):
        cells[bool(s >= 0), bool(own)] += w
    both, wrong = cells[True, True], cells[True, False] + cells[False, True]
    return 2 * both / (2 * both + wrong) if both + cells[False, True] else None


def nones(values):
    return [None if math.isnan(value) else value for value in values]
