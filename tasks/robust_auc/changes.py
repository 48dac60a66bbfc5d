"""How a corruption changes the scores of single test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from suite.base.errors import RecordError
from suite.boards.confusions import MAX_PREDICTIONS
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Predictions
from suite.records.attempt import Attempt
from suite.records.fingerprint import stored_fingerprint
from suite.runs.evaluate import stored_predictions
from tasks.robust_auc.measures import auc
from tasks.robust_auc.stored import checked

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Order = Literal["pairs lost", "score changed"]
ORDERS: tuple[Order, ...] = ("pairs lost", "score changed")


@dataclass(frozen=True, eq=False)
class Changes:
    """Scores of the same N images clean and corrupted.

    Attributes:
        label: (N,) bool, whether positive.
        clean, corrupted: (N,) float, logits.
        won, won_corrupted: (N,) float64, the share of the images of the other class that an image is ranked on the
            right side of, ties one half; of either class their mean is the AUC. NaN where the other class has no image.
    """

    label: Array
    clean: Array
    corrupted: Array
    won: Array
    won_corrupted: Array


def read(attempt: Attempt, protocol: Protocol, catalog: Catalog) -> Predictions:
    """The stored sets of a finished attempt. Raises RecordError, with what to type where predictions are missing."""
    path = attempt.path / "predictions.npz"
    size = sum(size for _, size in (stored_fingerprint(path) or {}).values())
    if size > MAX_PREDICTIONS:
        raise RecordError(f"{path}: unpacks to {size:,} bytes, more than {MAX_PREDICTIONS:,}")
    return stored_predictions(attempt, protocol, catalog)


def changes(predictions: Mapping[str, Mapping[str, Array]], name: str) -> Changes:
    """Of the images of `test` in the set `name`. Raises RecordError: not stored, in no stored form, other images."""
    import numpy as np

    label, clean = checked(predictions, "test")
    other, corrupted = checked(predictions, name)
    if not np.array_equal(label, other):
        raise RecordError(
            f"stored set {name!r} holds other labels than the test set: expected the same images in the same order"
        )
    positive = label == 1
    return Changes(positive, clean, corrupted, won(positive, clean), won(positive, corrupted))


def won(positive: Array, score: Array) -> Array:
    """(N,) float64: of each image the share of the other class that it is ranked on the right side of (`Changes.won`)."""
    import numpy as np

    made = np.full(len(score), np.nan)
    own, other = np.sort(score[positive]), np.sort(score[~positive])
    if len(own) and len(other):
        made[positive] = _below(score[positive], other)
        made[~positive] = 1 - _below(score[~positive], own)
    return made


def most(found: Changes, order: Order, count: int) -> tuple[list[int], list[int]]:
    """(positives, negatives): numbers of the `count` images of each class that changed most, those first.

    `pairs lost`: whose share of pairs won fell most, and of equal ones whose score moved further to the wrong side;
    `score changed`: by the size of the score's change, whichever way.
    """
    import numpy as np

    change = found.corrupted.astype(np.float64) - found.clean
    if order == "score changed":
        keys = [-np.abs(change)]
    else:
        lost = np.nan_to_num(found.won - found.won_corrupted)
        # what differs by rounding does not differ
        keys = [np.where(found.label, change, -change), -np.round(lost, 9)]
    ranked = np.lexsort(keys)
    return (
        ranked[found.label[ranked]][:count].tolist(),
        ranked[~found.label[ranked]][:count].tolist(),
    )


def auc_text(found: Changes, *, corrupted: bool) -> str:
    """The AUC of these scores in percent, as the board has it; "undefined" where it is."""
    value = auc(found.label, found.corrupted if corrupted else found.clean)
    return f"{100 * value:.2f} %" if value == value else "undefined"


def numbers(text: str, count: int) -> tuple[list[int], list[str]]:
    """(numbers of images that a text names, each once, in its order; what in it is none of 0..count - 1)."""
    found: dict[int, None] = {}
    wrong = []
    for word in text.replace(",", " ").split():
        # what int() takes beside digits, such as 1_000, nobody means
        number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else -1
        if 0 <= number < count:
            found[number] = None
        else:
            wrong.append(word)
    return list(found), wrong


def _below(values: Array, others: Array) -> Array:
    """For each of `values` the share of `others`, ascending and not empty, that are smaller, ties one half."""
    import numpy as np

    twice = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    share: Array = twice / (2 * len(others))
    return share
