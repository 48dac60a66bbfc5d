"""Test-time aggregation of experts on unlabelled test inputs (SADE, NeurIPS 2022), from stored logits.

The weights w of the experts are learnt so that two views of an image agree: with s = softmax(w), minimise

    - mean over images of cos(p', p''),   p = softmax(sum_k s_k v_k)

by SGD; where `entropy` is above 0 (iNaturalist in the released code), minus `entropy` times the sum over both
views of the mean over images and classes of -p log p. Only these E numbers are learnt, so the network is not run: the views' logits are there already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]

MOMENTUM = 0.9
LEAST = 0.05
"""Learning ends after an epoch in which a weight, rounded to two decimals, is below this."""
_FLOOR = -1e4  # logits of classes that were not kept: 0 * -inf is no number
_SEED = 0


def weighted_on_test(
    arrays: Mapping[str, Array],
    class_counts: Sequence[int],
    *,
    unlabelled: Mapping[str, Array],
    adapt_lr: float,
    adapt_decay: float,
    adapt_batch: int,
    adapt_epochs: int,
    adapt_entropy: float = 0.0,
) -> Array:
    """Scores (N, C) of `logits` (3, N, C): experts weighted by what `unlabelled`, views (3, V, M, C), teach."""
    return aggregate(
        arrays["logits"],
        unlabelled["logits"],
        lr=adapt_lr,
        decay=adapt_decay,
        batch=adapt_batch,
        epochs=adapt_epochs,
        entropy=adapt_entropy,
    )


def aggregate(logits: Array, views: Array, **settings: Any) -> Array:
    """Scores (N, C): the experts' logits (E, N, C) weighted by what was learnt on `views` (E, V, M, C) with
    `settings` of `learn_weights`."""
    weights = learn_weights(views, **settings)
    # an expert of no weight has no say, not even in classes that it did not keep: 0 * -inf is no number
    used = weights > 0
    scores: Array = np.tensordot(weights[used].astype(logits.dtype), logits[used], 1)
    return scores


def learn_weights(
    views: Array, *, lr: float, decay: float, batch: int, epochs: int, entropy: float = 0.0
) -> Array:
    """Weights (E,) of the experts, >= 0 with sum 1; equal ones where there is nothing to learn from.

    SGD with Nesterov momentum 0.9 and weight decay, from equal weights, in batches of an order that is
    drawn anew, from a fixed seed, each epoch. Ends early as `LEAST` says.

    Args:
        views: logits (E, V, M, C) of V views of M images. Epoch e (from 0) takes the views 2e and 2e + 1,
            and begins again where they are used up; V >= 2.
        lr, decay: learning rate and weight decay.
        batch: images a step.
        epochs: passes over the images at most.
        entropy: how much the views' entropies are rewarded; 0: not at all.

    Raises ValueError for fewer than two views.
    """
    experts, count, images, _ = views.shape
    if count < 2:
        raise ValueError(f"{count} view of the test images, at least two are needed")
    raw = np.full(experts, 1 / experts)
    moment = np.zeros(experts)
    drawn = np.random.default_rng(_SEED)
    for epoch in range(epochs if images else 0):
        first = 2 * epoch % (count - count % 2)
        order = drawn.permutation(images)
        one, other = views[:, first][:, order], views[:, first + 1][:, order]
        for start in range(0, images, batch):
            part = slice(start, start + batch)
            gradient = -agreement(raw, one[:, part], other[:, part])[1] + decay * raw
            if entropy:
                spread = sum(mean_entropy(raw, view[:, part])[1] for view in (one, other))
                gradient = gradient - entropy * spread
            moment = MOMENTUM * moment + gradient
            raw = raw - lr * (gradient + MOMENTUM * moment)
        if np.round(_softmax(raw), 2).min() < LEAST:
            break
    return _softmax(raw)


def agreement(raw: Array, one: Array, other: Array) -> tuple[float, Array]:
    """Mean cosine of the two views' probabilities under softmax(raw), and its gradient in `raw` (E,).

    `one`, `other`: logits (E, B, C) of the views.
    """
    shares = _softmax(raw)
    views = [np.maximum(view, _FLOOR) for view in (one, other)]
    p, q = (_softmax(np.tensordot(shares.astype(view.dtype), view, 1)) for view in views)
    length_p, length_q = (np.sqrt((x * x).sum(1)) for x in (p, q))
    cosine = (p * q).sum(1) / (length_p * length_q)
    slope = np.zeros(len(raw))
    for x, y, view in ((p, q, views[0]), (q, p, views[1])):
        along = y / (length_p * length_q)[:, None] - x * (cosine / (x * x).sum(1))[:, None]
        inner = x * (along - (x * along).sum(1, keepdims=True))
        slope += np.tensordot(view, inner, 2)
    slope /= len(cosine)
    return float(cosine.mean()), shares * (slope - shares @ slope)


def mean_entropy(raw: Array, view: Array) -> tuple[float, Array]:
    """Mean over images and classes of -p log p under softmax(raw), and its gradient in `raw` (E,).

    `view`: logits (E, B, C).
    """
    shares, view = _softmax(raw), np.maximum(view, _FLOOR)
    joint = np.tensordot(shares.astype(view.dtype), view, 1)
    joint = joint - joint.max(-1, keepdims=True)
    log_p = joint - np.log(np.exp(joint).sum(-1, keepdims=True))
    p = np.exp(log_p)
    negative = (p * log_p).sum(1, keepdims=True)
    inner = p * (negative - log_p) / log_p.size
    slope = np.tensordot(view, inner, 2)
    return float(-negative.sum() / log_p.size), shares * (slope - shares @ slope)


def _softmax(values: Array) -> Array:
    shifted = np.exp(values - values.max(-1, keepdims=True))
    normalised: Array = shifted / shifted.sum(-1, keepdims=True)
    return normalised
