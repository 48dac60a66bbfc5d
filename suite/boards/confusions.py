"""Who is taken for whom: confusions of stored predictions, and what changes between two of them.

A confusion (C, C) counts test units (images, pixels) by (true, predicted) class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError, UserError
from suite.define.catalog import Catalog
from suite.define.task import Ability, Predictions, Task, Trained
from suite.records.attempt import Attempt
from suite.records.fingerprint import stored_fingerprint
from suite.runs.evaluate import stored_predictions, trained

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Confusion = Callable[[Predictions, Mapping[str, Any], Trained], "Array"]
"""(predictions, settings, trained) -> (C, C) int64, units of the set `test` by (true, predicted) class, of the
scores whose rows carry no subset. Pure. Raises RecordError as `Task.evaluate` does."""
CONFUSION = Ability[Confusion]("confusion")

MOST_CLASSES = 2000
"""Of more classes no confusion is made: a matrix of iNaturalist's 8142 takes half a gigabyte."""
MAX_PREDICTIONS = 1 << 31
"""Bytes of stored predictions, unpacked, that are read to make one."""


def confusion_of(attempt: Attempt, task: Task, catalog: Catalog) -> Array:
    """Confusion (C, C) int64 of a finished attempt, from its stored predictions.

    Raises UserError: the task has none, or the protocol is none of today's; RecordError, with what to type
    where predictions are missing.
    """
    confusion = CONFUSION.of(task)
    if confusion is None:
        raise UserError(f"task {task.name} offers no confusion of classes")
    record = attempt.record()
    spec = record.spec
    protocol = catalog.accepted(task, spec.protocol_hash, spec.protocol)
    if protocol is None:
        raise UserError(f"run {attempt.run_id}: its protocol is none of {task.name} today")
    classes = len(protocol.dataset.classes)
    if classes > MOST_CLASSES:
        raise UserError(f"no confusion is made of {classes:,} classes, more than {MOST_CLASSES:,}")
    path = attempt.path / "predictions.npz"
    size = sum(size for _, size in (stored_fingerprint(path) or {}).values())
    if size > MAX_PREDICTIONS:
        raise RecordError(f"{path}: unpacks to {size:,} bytes, more than {MAX_PREDICTIONS:,}")
    predictions = stored_predictions(attempt, protocol, catalog)
    about = trained(attempt, record, predictions, task, catalog)
    found = confusion(predictions, task.evaluation(protocol), about)
    return found


@dataclass(frozen=True)
class Flow:
    """What class `payer` loses to class `gainer` when B takes the place of A.

    Attributes:
        lost: units of the payer that B calls the gainer, less those that A calls so, per seed.
        won: units of the gainer that A calls the payer, less those that B calls so, per seed.
        lost_share, won_share: of all units of the payer, and of the gainer.
    """

    payer: int
    gainer: int
    lost: float
    won: float
    lost_share: float
    won_share: float


def flows(a: Array, b: Array, seeds: int, most: int = 20) -> list[Flow]:
    """The pairs of classes of which one loses most to the other, by the payer's share of units; at most
    `most`.

    `a` and `b` are confusions of the same test units, summed over `seeds` seeds. Raises UserError where
    they are of others.
    """
    import numpy as np

    change, units = _change(a, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(units[:, None] > 0, change / units[:, None], 0.0)
    off = share.copy()
    np.fill_diagonal(off, 0.0)
    order = np.argsort(-off, axis=None, kind="stable")[:most]
    found = []
    for payer, gainer in zip(*np.unravel_index(order, off.shape), strict=True):
        if off[payer, gainer] <= 0:
            break
        back = change[gainer, payer]
        found.append(
            Flow(
                payer=int(payer),
                gainer=int(gainer),
                lost=float(change[payer, gainer] / seeds),
                won=float(-back / seeds),
                lost_share=float(off[payer, gainer]),
                won_share=float(-share[gainer, payer]),
            )
        )
    return found


def share_difference(a: Array, b: Array) -> Array:
    """Difference B - A of row-normalised confusions, (C, C) in [-1, 1]: each row sums to 0. NaN in the rows
    of classes without test units. Raises UserError where they are of other units."""
    import numpy as np

    change, units = _change(a, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        made: Array = np.where(units[:, None] > 0, change / units[:, None], np.nan)
    return made


def row_shares(confusion: Array) -> Array:
    """Share of each true class's units by predicted class, (C, C); NaN in rows without units."""
    import numpy as np

    units = confusion.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        made: Array = np.where(units > 0, confusion / units, np.nan)
    return made


def busiest(difference: Array, most: int = 30) -> list[int]:
    """At most `most` classes, in their own order: those in whose row and column most has changed."""
    import numpy as np

    size = np.abs(np.nan_to_num(difference))
    moved = size.sum(axis=0) + size.sum(axis=1)
    return sorted(np.argsort(-moved, kind="stable")[:most].tolist())


def largest_confusions(confusion: Array, most: int = 20) -> list[tuple[int, int, int, float]]:
    """(true class, called, units, share of the true class's units), the largest shares first."""
    import numpy as np

    shares = np.nan_to_num(row_shares(confusion))
    np.fill_diagonal(shares, 0.0)
    order = np.argsort(-shares, axis=None, kind="stable")[:most]
    return [
        (int(i), int(j), int(confusion[i, j]), float(shares[i, j]))
        for i, j in zip(*np.unravel_index(order, shares.shape), strict=True)
        if shares[i, j] > 0
    ]


def _change(a: Array, b: Array) -> tuple[Array, Array]:
    """(B - A, units of each class)."""
    units = a.sum(axis=1)
    if a.shape != b.shape or (units != b.sum(axis=1)).any():
        raise UserError(
            "the two rows were tested on other test sets: their confusions do not compare"
        )
    return b - a, units
