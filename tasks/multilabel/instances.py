"""What a stored test set says of single samples: a sample's scores and labels, and its own measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from suite.base.errors import RecordError
from suite.boards.confusions import MAX_PREDICTIONS
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.records.attempt import Attempt
from suite.records.fingerprint import stored_fingerprint
from suite.runs.evaluate import stored_predictions
from tasks.multilabel import measures
from tasks.multilabel.measures import Ranks
from tasks.multilabel.stored import Stored, checked
from tasks.vision.stored import blocks

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class Kept(NamedTuple):
    """A run's stored test set, and the TKPR@K (N,) of its samples, NaN where it is undefined."""

    found: Stored
    scores: Array


def read(attempt: Attempt, protocol: Protocol, catalog: Catalog, k: int) -> Kept:
    """The set `test` of a finished attempt. Raises RecordError, with what to type where predictions are missing."""
    path = attempt.path / "predictions.npz"
    size = sum(size for _, size in (stored_fingerprint(path) or {}).values())
    if size > MAX_PREDICTIONS:
        raise RecordError(f"{path}: unpacks to {size:,} bytes, more than {MAX_PREDICTIONS:,}")
    sets = stored_predictions(attempt, protocol, catalog)
    if "test" not in sets:
        raise RecordError(f"{path}: holds no set 'test'")
    try:
        found = checked(sets["test"], len(protocol.dataset.classes))
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None
    return Kept(found, top_k_scores(found, k))


def same_samples(a: Kept, b: Kept) -> bool:
    """Whether two runs were tested on samples of the same labels."""
    import numpy as np

    return np.array_equal(a.found.packed, b.found.packed)


def top_k_scores(found: Stored, k: int) -> Array:
    """TKPR@K of each sample, (N,) float64 in [0, 1]; NaN for one without a relevant label. Raises UserError for K
    outside 1..L."""
    import numpy as np

    made = np.empty(found.samples)
    for rows in blocks(found.samples, found.labels):
        made[rows] = measures.tkpr(_ranks(found, rows), k)
    return made


def sample(found: Stored, number: int) -> tuple[Array, Array]:
    """(scores (L,) float32, relevant (L,) bool) of a sample, 0..N-1; -inf for labels whose score was not kept."""
    import numpy as np

    rows = slice(number, number + 1)
    relevant: Array = found.relevant(rows)[0]
    if not found.capped:
        return found.scores(rows)[0], relevant
    scores = np.full(found.labels, -np.inf, np.float32)
    scores[found.order(rows)[0]] = found.logits[number]
    return scores, relevant


def sample_measures(found: Stored, number: int, k: int) -> dict[str, float | None]:
    """What the board's measures say of one sample alone, by their keys; None for what is undefined or not known.

    Of one sample `map_at_k` is its AP@K.
    """
    import numpy as np

    ranked = _ranks(found, slice(number, number + 1))
    at_k = {
        "tkpr": measures.tkpr,
        "map_at_k": measures.average_precision,
        "ndcg": measures.ndcg,
        "precision": measures.precision,
        "recall": measures.recall,
    }
    whole = {
        "ranking_loss": measures.ranking_loss,
        "coverage": measures.coverage,
        "one_error": measures.one_error,
    }
    values = {f"{name}[k={k}]": of(ranked, k) for name, of in at_k.items()}
    values |= {name: of(ranked) for name, of in whole.items()}
    return {
        key: float(value[0]) if np.isfinite(value[0]) else None for key, value in values.items()
    }


def _ranks(found: Stored, rows: slice) -> Ranks:
    if found.capped:
        return measures.ranks_listed(found.order(rows), found.relevant(rows))
    return measures.ranks(found.scores(rows), found.relevant(rows))
